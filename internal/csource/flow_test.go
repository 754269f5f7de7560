package csource

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/plan"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// TestTrackedPrint holds both programs of rules that track flows to what stands in testdata.
func TestTrackedPrint(t *testing.T) {
	p := checked(t, "if udp_dest 20000-50000 then udp_dest 443 ip_dest 10.0.0.1 replies tracked")
	holds(t, "tracked", Print(p, plan.Build(p, field.Ethernet), Options{}))
	holds(t, "trackedreplies", Print(p.Replies, plan.Build(p.Replies, field.Ethernet), Options{Hook: TC}))
	p = checked(t, "if icmp then swap ip icmp_id 7 replies tracked")
	holds(t, "trackedecho", Print(p, plan.Build(p, field.Ethernet), Options{Hook: TC}))
}

// loadTracked loads the programs of rules and of their replies, which share the flows.
func loadTracked(t *testing.T, link field.Link, p *rule.Program, h Hook) (there, back *loaded) {
	t.Helper()
	o := Options{Hook: h, HandedDraws: true}
	there = loadWith(t, link, p, o, nil)
	t.Cleanup(there.close)
	back = loadWith(t, link, p.Replies, o, map[string]*ebpf.Map{FlowsMap: there.flows})
	t.Cleanup(back.close)
	return there, back
}

// TestTrackedInC runs packets through rules that track flows, and answers to them through the
// program of their replies, beside the reference.
func TestTrackedInC(t *testing.T) {
	answer := checked(t, `if ip udp then swap ip swap udp else if ip tcp then swap ip swap tcp
		else if ip icmp_type 8 then swap ip icmp_type 0 else if ip6 udp then swap ip6 swap udp
		else if ip6 tcp then swap ip6 swap tcp else if ip then swap ip else if ip6 then swap ip6`)
	r := rand.New(rand.NewPCG(15, 6))
	for _, text := range []string{
		"if udp_dest 1-50000 then udp_dest 443 replies tracked",
		"if ip_src 0.0.0.0/0 then ip_src random 192.0.2.0/30, ip_ttl -1 replies tracked",
		"if ip6 then ip6_src hash 2001:db8::/120 replies tracked",
		"if tcp then swap tcp, tcp_check fix replies tracked else if icmp then icmp_id 7 replies tracked",
	} {
		p := checked(t, text)
		for _, h := range []Hook{XDP, TC} {
			for _, link := range []field.Link{field.Ethernet, field.RawIP} {
				there, back := loadTracked(t, link, p, h)
				flows, restored := &reference.Flows{}, 0
				for _, frame := range packetgen.FramesOn(link, r, p, 300) {
					if h == TC && !testable(frame) {
						continue
					}
					draws := numbers(r)
					left := reference.RunTracked(link, p, frame, draws, flows)
					leaves(t, there, text, frame, left, draws, h)
					reply := reference.RunOn(link, answer, left.Frame).Frame
					want := reference.RunTracked(link, p.Replies, reply, draws, flows)
					leaves(t, back, text, reply, want, draws, h)
					if want.Rewritten {
						restored++
					}
				}
				if restored < 30 {
					t.Errorf("%s, hook %d, link %d: %d replies were restored: that says little", text, h, link, restored)
				}
			}
		}
	}
}

// leaves runs a frame and compares what leaves.
func leaves(t *testing.T, l *loaded, text string, frame []byte, want reference.Result, draws reference.Draws, h Hook) {
	t.Helper()
	verdict, out := l.run(t, frame, draws)
	if verdict != verdicts[h][want.Verdict] || !bytes.Equal(out, want.Frame) {
		t.Fatalf("%s\n%s\nin   %x\nwant %x\ngot  %x, verdict %d", l.source, text, frame, want.Frame, out, verdict)
	}
}

// TestTrackedPolicy: where two flows look the same behind a rule, the older one of another client
// stays and the packet passes as it is; of one client's the newest wins (semantics.md 5.5).
func TestTrackedPolicy(t *testing.T) {
	p := checked(t, "if udp_dest 1-99 then udp_dest 443 ip_src 192.0.2.1 replies tracked")
	packet := func(source, dest [4]byte, from, to byte) []byte { // UDP without a checksum; the IPv4 one is 0 and wrong
		frame := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0)
		frame = append(append(frame, source[:]...), dest[:]...)
		return append(frame, from>>7, from, to>>7, to, 0, 8, 0, 0)
	}
	server, nat := [4]byte{198, 51, 100, 1}, [4]byte{192, 0, 2, 1}
	client := func(n byte) [4]byte { return [4]byte{10, 0, 0, n} }
	const source, dest = 26, 30
	for _, h := range []Hook{XDP, TC} {
		there, back := loadTracked(t, field.Ethernet, p, h)
		answer := packet(server, nat, 0, 9) // from port 443 to port 9
		answer[34], answer[35] = 443>>8, 443&0xff
		for i, step := range []struct {
			client, port byte
			passes       bool // as it is
			answered     byte // the client who then gets the answer
			from         byte // and from which port
		}{{1, 20, false, 1, 20}, {2, 30, true, 1, 20}, {1, 40, false, 1, 40}, {2, 40, true, 1, 40}} {
			in := packet(client(step.client), server, 9, step.port)
			_, out := there.run(t, in, reference.Zeros)
			if passes := bytes.Equal(out, in); passes != step.passes || !passes && [4]byte(out[source:dest]) != nat {
				t.Errorf("hook %d, packet %d left as %x", h, i, out)
			}
			_, out = back.run(t, answer, reference.Zeros)
			if [4]byte(out[dest:dest+4]) != client(step.answered) || out[34] != 0 || out[35] != step.from {
				t.Errorf("hook %d, answer %d left as %x", h, i, out)
			}
		}
		if got := there.counters(t)[0].Packets; got != 2 {
			t.Errorf("hook %d: counted %d packets, want 2", h, got)
		}
	}
}
