package live

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/lab"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// TestBehindRouter: a host leaves checksums to its device, which is a veth, so
// they arrive open at the router. What is rewritten there, where repacket goes
// by default, leaves by a device that needs them made, and they are right.
func TestBehindRouter(t *testing.T) {
	needRoot(t)
	r, err := testnet.NewRouter(testnet.RouterConfig{Offload: true, ServerSide: lab.End{Features: lab.ByteExact()}})
	fatal(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	name := r.Config.ClientSide.Name
	for _, server := range []netip.Addr{r.Config.Server.Addr.Addr(), r.Config.Server.Addr6.Addr()} {
		for _, udp := range []bool{false, true} {
			test := map[bool]string{false: "TCP to ", true: "UDP to "}[udp] + server.String()
			t.Run(test, func(t *testing.T) {
				there := byDefault(t, r.Router, name, run.In, "if dport 5201 then dport 8080")
				byDefault(t, r.Router, name, run.Out, "if sport 8080 then sport 5201")
				seen := watch(t, r.Router, name, testnet.In)
				arrives := openCapture(t, r.Server, r.Config.Server.Name, testnet.CaptureConfig{From: r.Config.ServerSide.MAC})
				got, err := testnet.Stream(testnet.StreamConfig{
					From: r.Client, To: r.Server, UDP: udp, Bytes: 3000, Size: 1000,
					Dial: netip.AddrPortFrom(server, 5201), Listen: netip.AddrPortFrom(server, 8080),
				})
				if err != nil || got.Received != 3000 {
					t.Fatalf("%+v, %v", got, err)
				}
				counts, err := there.Counts()
				fatal(t, err)
				if n := rightOnes(t, arrives); n != int(counts.Rules[0].Rewritten) || n < 3 {
					t.Errorf("%d packets arrived, counted %+v", n, counts)
				}
				skb, err := seen.Receive(time.Now())
				fatal(t, err)
				if c := skb.Checksum; c != testnet.ChecksumPartial && c != testnet.ChecksumUnknown {
					t.Errorf("at the router the sum was %v", c)
				}
			})
		}
	}
	for _, ns := range []*lab.Namespace{r.Router, r.Server} {
		c, err := testnet.CountersOf(ns)
		fatal(t, err)
		if bad := c.Troubles(); len(bad) > 0 {
			t.Errorf("the stack counts %v", bad)
		}
	}
}

// byDefault runs rules where they go if nobody says where.
func byDefault(t *testing.T, ns *lab.Namespace, name string, dir run.Direction, text string) *engine.Session {
	t.Helper()
	p, err := rule.Check(text)
	fatal(t, err)
	var session *engine.Session
	fatal(t, ns.Do(func() (err error) {
		session, err = engine.Start(run.Options{Program: p, Target: run.Target{Interface: name, Direction: dir}})
		return err
	}))
	t.Cleanup(func() {
		_, err := session.Close()
		check(t, err)
	})
	return session
}

// rightOnes counts packets to port 8080, all of whose sums have been made and
// are right.
func rightOnes(t *testing.T, c *testnet.Capture) (n int) {
	t.Helper()
	for {
		p, err := c.Receive(time.Now())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n
		}
		fatal(t, err)
		if p.Checksum != testnet.ChecksumNone || !rightByLibrary(p.Data) || string(p.Data[l4Of(p.Data)+2:][:2]) != "\x1f\x90" {
			t.Errorf("%v, wrong: %q, %x", p.Checksum, wrongSums(p.Data), p.Data)
		}
		n++
	}
}

// TestSuperPacketsAndLimit: a limit counts the packets that a GSO packet stands for,
// and one that would go beyond it passes.
func TestSuperPacketsAndLimit(t *testing.T) {
	for _, s := range tcSites {
		b := newBench(t, s, lab.PairConfig{Offload: true})
		at := b.spot()
		at.limit = 2*superSegments + 1
		b.at = &at
		r := b.use("if udp then udp_dest 8080")
		p := withPayload("udp", superPayload)
		sent, o, err := testnet.Partial(p.frame(), superSegment)
		fatal(t, err)
		p.udp.DstPort = 8080
		rewritten, _, err := testnet.Partial(p.frame(), superSegment)
		fatal(t, err)
		for i := range 3 {
			want := rewritten
			if i == 2 {
				want = sent
			}
			fatal(t, b.left.SendOffloaded(sent, o))
			same(t, s.String(), sent, want, b.next().Data)
		}
		small := newPacket("udp")
		sent = small.frame()
		small.udp.DstPort = 8080
		same(t, s.String(), sent, small.frame(), b.cross(sent))
		same(t, s.String(), sent, sent, b.cross(sent))
		if c := r.counted()[0]; c.Packets != 2*superSegments+1 {
			t.Errorf("%s: counted %+v", s, c)
		}
		// The third, not the packet behind the limit.
		if n := r.alone(bpf.ReasonLimit); n != superSegments {
			t.Errorf("%s: skipped %d, want %d", s, n, superSegments)
		}
	}
}
