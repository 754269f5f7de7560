package engine

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/test/needs"
	"repacket/test/rulegen"
)

// tracked are rules that between them take every way to enter and to look up flows.
var tracked = []string{
	"if udp_dest 20000-50000 then udp_dest 443 replies tracked",
	"if tcp_dest 1-65535 then tcp_dest 443 ip_dest 10.0.0.1 replies tracked else if udp then ip6_dest 2001:db8::1 udp_dest 53 replies tracked",
	"if ip then ip_src 192.0.2.1 replies tracked",
	"if ip6 then ip6_src hash 2001:db8::/120 replies tracked",
	"if ip_dscp 0 then ip_dest random, udp_dest udp_src replies tracked else if ip6 tcp then tcp_dest hash 1-9, ip6_dest random 2001:db8::/64 replies tracked",
	"if ip_ttl ge 0 then ip_src random 192.0.2.0/30, ip_ttl -1 replies tracked else if ip6 then ip6_dest random 2001:db8::/127, ip6_hlim 9 replies tracked",
	"if icmp then icmp_id 7 replies tracked else if icmp6_type 128 then ip6_dest 2001:db8::1 replies tracked",
	"if udp then swap ip, swap udp replies tracked else if tcp then swap tcp, tcp_check fix replies tracked",
	"if vlan_id 1-9 and udp then udp_src atmost 9000 replies tracked else if cvlan and ip then ip_dest 10.0.0.0/8 replies tracked",
	"if tcp_dest 80 then tcp_dest 8080 replies; if tcp_dest 81-90 then tcp_dest 8080 replies tracked", // the tracked flow decides
	"if ip6 then ip6_src random 2001:db8::/64 ip6_dest random 2001:db8::/32 replies tracked",          // much for the stack
	"if dport 1-40000 then dport atleast 30000 replies tracked; if ip_src 10.16.0.0/12 then ip_src 172.16.0.0/12 replies",
}

// TestTracked: the programs of rules that track flows do what the reference says, over sequences of
// packets and of their answers.
func TestTracked(t *testing.T) {
	for _, text := range tracked {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			p, err := rule.Check(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []LoadOptions{{}, {Fragments: true}, {Hook: bpf.TC}, {Clang: true}, {Hook: bpf.TC, Clang: true}} {
				for _, side := range []*rule.Program{p, p.Replies} {
					o.Answers = nil
					if side == p.Replies {
						o.Answers = p
					}
					tested, err := SelfTest(side, o, 1000)
					if d := (*DifferenceError)(nil); errors.As(err, &d) {
						t.Fatalf("replies %t, hook %d, clang %t: %s", o.Answers != nil, o.Hook, o.Clang, d.Report())
					}
					if err != nil {
						t.Fatalf("replies %t: %+v", o.Answers != nil, err)
					}
					t.Logf("%t %+v", o.Answers != nil, tested)
					if tested.Acted == 0 || len(tested.Unreached) > 0 {
						t.Errorf("replies %t: %+v", o.Answers != nil, tested)
					}
					if n := errorsAboutReplies(side, o, 1000); side == p && n <= 20 {
						t.Errorf("%d errors about replies were rewritten: that says little", n)
					}
				}
			}
		})
	}
}

// errorsAboutReplies counts the packets of a self-test of rules that are ICMP errors about a reply, and get
// what it had been.
func errorsAboutReplies(p *rule.Program, o LoadOptions, packets int) (n int) {
	for _, t := range trials(p, o, packets, p) {
		if t.want.Acted != nil && t.want.Acted.Quote && !bytes.Equal(t.want.Frame, t.frame) {
			n++
		}
	}
	return n
}

// TestTrackedRandom is TestTracked for random rules. What clang makes of their C the kernel takes too.
func TestTrackedRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 5))
	want := 24
	if needs.Few() {
		want = 5
	}
	var acted, aboutReplies, large atomic.Int64
	t.Run("sets", func(t *testing.T) {
		for done := 0; done < want; {
			style := rulegen.Style{Replies: true, Tracked: true, Operands: done%3 > 0, Link: field.Link(done % 4 / 3)}
			source := rulegen.Source{Text: style.Program(r)}
			if done%4 == 1 { // rules that take values from the rows of files
				source = style.Source(r)
			}
			p, err := source.Check()
			if err != nil || p.Replies == nil || !p.Tracks() {
				continue
			}
			done++
			o := LoadOptions{Hook: bpf.Hook(r.IntN(2)), Link: style.Link, Redirect: outlets(p)}
			t.Run(p.Source, func(t *testing.T) {
				t.Parallel()
				for _, o.Clang = range []bool{false, true} {
					testTracked(t, p, o, &acted, &aboutReplies, &large)
				}
			})
		}
	})
	t.Logf("%d packets answered a flow, %d were errors about a reply, %d programs were too large", acted.Load(), aboutReplies.Load(), large.Load())
	if acted.Load() < int64(30*want) || aboutReplies.Load() < int64(5*want) || large.Load() > int64(want/5) {
		t.Errorf("of %d packets %d answered a flow, %d were errors about a reply, %d programs were too large: that says little",
			400*want, acted.Load(), aboutReplies.Load(), large.Load())
	}
}

// testTracked tests the program of random rules and that of their replies. It adds up how many packets
// answered a flow or were errors about a reply, and how many programs were too large.
func testTracked(t *testing.T, p *rule.Program, o LoadOptions, acted, aboutReplies, large *atomic.Int64) {
	t.Helper()
	for _, side := range []*rule.Program{p, p.Replies} {
		if side == p.Replies {
			o.Answers = p
		}
		tested, err := SelfTest(side, o, 200)
		if d := (*DifferenceError)(nil); errors.As(err, &d) {
			t.Fatalf("replies %t, hook %d, clang %t: %s", o.Answers != nil, o.Hook, o.Clang, d.Report())
		}
		complex, long := (*TooComplexError)(nil), (*bpf.TooLargeError)(nil)
		if errors.As(err, &complex) || errors.As(err, &long) { // rules for all kinds of packets, by their tags
			large.Add(1)
			continue
		}
		if err != nil {
			t.Fatalf("replies %t, hook %d, clang %t: %+v", o.Answers != nil, o.Hook, o.Clang, err)
		}
		if side == p.Replies {
			acted.Add(int64(tested.Acted))
		} else {
			aboutReplies.Add(int64(errorsAboutReplies(side, o, 200)))
		}
	}
}

// TestCollision: of two clients that would look the same behind a rule, the second one's packet passes as
// it is. It is counted as skipped alone, and -c does not count it.
func TestCollision(t *testing.T) {
	p, err := rule.Check("if ip_src 10.0.0.0/8 then ip_src 192.0.2.1 replies tracked")
	if err != nil {
		t.Fatal(err)
	}
	packet := func(client byte) []byte { // UDP from port 999 to port 53; the checksums are 0
		frame := make([]byte, 14, 42)
		frame[12] = 8
		frame = append(frame, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, client, 198, 51, 100, 1)
		return append(frame, 999>>8, 999&0xff, 0, 53, 0, 8, 0, 0)
	}
	for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
		l, err := Load(p, LoadOptions{Hook: h, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for _, step := range []struct {
			client byte
			passes bool // as it is
		}{{1, false}, {2, true}, {1, false}, {2, true}, {2, true}, {1, false}, {1, true}} {
			in, out := packet(step.client), make([]byte, 42)
			if _, err := l.Program.Run(&ebpf.RunOptions{Data: in, DataOut: out}); err != nil {
				t.Fatal(err)
			}
			if source := [4]byte(out[26:30]); (source == [4]byte(in[26:30])) != step.passes || !step.passes && source != [4]byte{192, 0, 2, 1} {
				t.Errorf("hook %d: client %d left as %d", h, step.client, source)
			}
		}
		counts, err := l.Counters()
		if err != nil || counts[0].Packets != 3 {
			t.Errorf("hook %d: %v, %v; want 3 packets", h, counts, err)
		}
		if skipped, err := l.Skipped(); err != nil || skipped[bpf.ReasonCollision] != 3 {
			t.Errorf("hook %d: skipped %v, %v; want 3 collisions", h, skipped, err)
		}
	}
}

// TestTableOfAnotherVersion: a table of flows that is laid out in another way is not used, nor read.
func TestTableOfAnotherVersion(t *testing.T) {
	t.Parallel()
	p, err := rule.Check("if udp_dest 1-9 then udp_dest 53 replies tracked")
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []uint32{0, 64} {
		f, err := NewFlows(p, 100)
		if err != nil {
			t.Fatal(err)
		}
		spec := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: f.table.ValueSize() - other, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if f.table, err = ebpf.NewMap(spec); err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		u, err := f.usage()
		if err != nil || (u != nil) != (other == 0) {
			t.Errorf("%d bytes less: %v, %v", other, u, err)
		}
		next, err := f.followed(p, hook.Meta{}, 0, false)
		if err != nil || (next != nil) != (other == 0) {
			t.Errorf("%d bytes less: followed by %v, %v", other, next, err)
		}
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
}
