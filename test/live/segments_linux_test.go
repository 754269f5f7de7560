package live

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// superPayload is what GSO packets carry, superSegment how much of it each
// packet that they stand for.
const superPayload, superSegment, superSegments = 5000, 1000, 5

// withPayload is a packet that carries so much that no two places look alike.
func withPayload(kind string, n int) *packet {
	p := carrier(kind)
	p.payload = nil
	for i := 0; len(p.payload) < n; i++ {
		p.payload = fmt.Appendf(p.payload, "%d ", i)
	}
	p.payload = p.payload[:n]
	p.finish()
	return p
}

// TestEveryFieldOfSuperPackets: a packet that stands for many is rewritten once
// and counts for all of them; a rule that sets a structural field skips it.
func TestEveryFieldOfSuperPackets(t *testing.T) {
	n, structural := 0, 0
	for _, s := range states {
		if s.name != "partial" {
			continue
		}
		t.Run(s.String(), func(t *testing.T) {
			b := newStateBench(t, s)
			for _, f := range field.Fields() {
				for _, kind := range carriers(f) {
					if !has("tcp tcp6 udp udp6 mss mss6", kind) {
						continue
					}
					n++
					if f.Structural {
						structural++
					}
					b.super(f, kind)
				}
			}
		})
	}
	t.Logf("figure: %d rewrites of GSO packets, %d of them structural", n, structural)
}

func (b *stateBench) super(f *field.Field, kind string) {
	b.t.Helper()
	p := withPayload(kind, superPayload)
	sent, l4 := p.frame(), p.l4()
	text := rewriting(f, p)
	want := p.frame()
	r := b.use(text)
	open, o, err := testnet.Partial(sent, superSegment)
	fatal(b.t, err)
	fatal(b.t, b.left.SendOffloaded(open, o))
	skb := b.next()
	got := whole(skb)
	if skb.Checksum == testnet.ChecksumPartial {
		finishAt(got, l4, l4+checkOffset(p))
	}
	if skb.Segments != superSegments {
		b.t.Errorf("%s: it arrives as %d segments", text, skb.Segments)
	}
	why, left := leavesSuper(f)
	if !left {
		same(b.t, text, nil, want, got)
		r.wants(text, bpf.Counter{Packets: superSegments, Bytes: uint64(len(sent))})
		return
	}
	same(b.t, text, nil, sent, got)
	if n := r.alone(why); n != superSegments || r.counted()[0] != (bpf.Counter{}) {
		b.t.Errorf("%s: counted %+v, want %d packets skipped by reason %d", text, r.counted(), superSegments, why)
	}
	if f.Structural { // and a small packet is not
		small := carrier(kind)
		sent := small.frame()
		rewriting(f, small)
		fatal(b.t, b.left.Send(sent))
		same(b.t, text, sent, small.frame(), whole(b.next()))
	}
}

// leavesSuper tells why a field of a GSO packet is skipped, if it is.
func leavesSuper(f *field.Field) (why bpf.Reason, left bool) {
	switch {
	case f.Structural:
		return bpf.ReasonSegments, true
	case f.Kind == field.Checksum:
		return bpf.ReasonPartial, true
	}
	return 0, false
}

// way is rules on one interface of a router for streams there and what comes
// back.
type way struct {
	name         string
	there, back  spot
	text, answer string
	cfg          testnet.StreamConfig
}

// ways rewrite addresses, ports, DSCP and TTL, at the client's side what
// arrives there (so where it goes to), at the server's side what leaves there
// (so where it comes from), and what comes back the other way round.
func ways(r *testnet.Router) []way {
	at := func(end lab.End, dir run.Direction) spot {
		return spot{site: site{run.TC, dir}, ns: r.Router, name: end.Name}
	}
	client, server := r.Config.ClientSide, r.Config.ServerSide
	stream := func(dial, listen string) testnet.StreamConfig {
		return testnet.StreamConfig{From: r.Client, To: r.Server, Dial: netip.MustParseAddrPort(dial), Listen: netip.MustParseAddrPort(listen)}
	}
	return []way{
		{
			"ingress, IPv4", at(client, run.In), at(client, run.Out),
			"if dport 5201 ip_dest 203.0.113.5 then ip_dest 198.51.100.2 dport 8080 ip_dscp 46 ip_ttl 60",
			"if sport 8080 then ip_src 203.0.113.5 sport 5201 ip_dscp 46 ip_ttl 60",
			stream("203.0.113.5:5201", "198.51.100.2:8080"),
		},
		{
			"ingress, IPv6", at(client, run.In), at(client, run.Out),
			"if dport 5201 ip6_dest 2001:db8:99::5 then ip6_dest 2001:db8:2::2 dport 8080 ip6_dscp 46 ip6_hlim 60 ip6_flow 7",
			"if sport 8080 then ip6_src 2001:db8:99::5 sport 5201 ip6_dscp 46 ip6_hlim 60",
			stream("[2001:db8:99::5]:5201", "[2001:db8:2::2]:8080"),
		},
		{
			"egress, IPv4", at(server, run.Out), at(server, run.In),
			"if dport 5201 ip_src 192.0.2.2 then ip_src 192.0.2.99 dport 8080 ip_dscp 46 ip_ttl 60",
			"if sport 8080 ip_dest 192.0.2.99 then ip_dest 192.0.2.2 sport 5201 ip_dscp 46 ip_ttl 60",
			stream("198.51.100.2:5201", "198.51.100.2:8080"),
		},
		{
			"egress, IPv6", at(server, run.Out), at(server, run.In),
			"if dport 5201 ip6_src 2001:db8:1::2 then ip6_src 2001:db8:1::99 dport 8080 ip6_dscp 46 ip6_hlim 60 ip6_flow 7",
			"if sport 8080 ip6_dest 2001:db8:1::99 then ip6_dest 2001:db8:1::2 sport 5201 ip6_dscp 46 ip6_hlim 60",
			stream("[2001:db8:2::2]:5201", "[2001:db8:2::2]:8080"),
		},
	}
}

// routers are networks by where packets are joined and cut.
func routers() map[string]testnet.RouterConfig {
	exact := lab.End{Features: lab.ByteExact()}
	return map[string]testnet.RouterConfig{
		"GSO packets all the way":        {Offload: true},
		"cut behind the router":          {Offload: true, ServerSide: exact},
		"joined by the router, then cut": {Offload: true, Client: exact, ClientSide: lab.End{Features: lab.Features{lab.GRO: true, lab.UDPGRO: true}}, ServerSide: exact},
		"single packets":                 {},
	}
}

// TestStreams: every byte of a stream arrives that is rewritten both ways in a
// router, whether the kernel moves packets or GSO packets, and the counters
// say how many packets there were on the wire.
func TestStreams(t *testing.T) {
	needRoot(t)
	for name, cfg := range routers() {
		t.Run(name, func(t *testing.T) {
			r, err := testnet.NewRouter(cfg)
			fatal(t, err)
			t.Cleanup(func() { check(t, r.Close()) })
			for _, w := range ways(r) {
				for _, udp := range []bool{false, true} {
					w := w
					w.cfg.UDP = udp
					if udp {
						w.cfg.Batch = 16
					}
					t.Run(fmt.Sprintf("%s, UDP %v", w.name, udp), func(t *testing.T) { w.streams(t, r) })
				}
			}
			for _, ns := range []*lab.Namespace{r.Client, r.Router, r.Server} {
				c, err := testnet.CountersOf(ns)
				fatal(t, err)
				if bad := c.Troubles(); len(bad) > 0 {
					t.Errorf("the stack counts %v", bad)
				}
			}
		})
	}
}

func (w way) streams(t *testing.T, r *testnet.Router) {
	there, back := w.there.run(t, w.text), w.back.run(t, w.answer)
	arrives := openCapture(t, r.Server, r.Config.Server.Name, testnet.CaptureConfig{From: r.Config.ServerSide.MAC})
	got, err := testnet.Stream(w.cfg)
	if err != nil || got.Received != 1<<20 {
		t.Fatalf("%+v, %v", got, err)
	}
	packets, bytes := w.onWire(t, arrives)
	if c := there.counted(); c[0].Packets != packets || c[0].Bytes == 0 || packets < 1<<20/1500 {
		t.Errorf("counted %+v, %d packets with %d bytes were on the wire", c, packets, bytes)
	}
	for i, c := range there.counted()[1:] {
		if c != (bpf.Counter{}) {
			t.Errorf("skipped by reason %d: %+v", i, c)
		}
	}
	if c := back.counted(); !w.cfg.UDP && c[0].Packets == 0 {
		t.Errorf("nothing was rewritten on the way back: %+v", c)
	}
}

// onWire counts the packets of a stream that have arrived, which must be as the
// rule makes them: DSCP 46, the flow label, and the sum right where it has been
// made.
func (w way) onWire(t *testing.T, c *testnet.Capture) (packets, length uint64) {
	t.Helper()
	for {
		p, err := c.Receive(time.Now())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return packets, length
		}
		fatal(t, err)
		n := uint64(1)
		if o := p.Offload; o.GSO != testnet.GSONone {
			n = uint64(len(p.Data)-w.headers(p)+int(o.Segment)-1) / uint64(o.Segment)
		} else if p.Checksum == testnet.ChecksumNone && !rightByLibrary(p.Data) {
			t.Errorf("the library finds %s wrong in %x", wrongSums(p.Data), p.Data)
		}
		dscp := p.Data[15] >> 2
		if p.Data[14]>>4 == 6 {
			dscp = p.Data[14]<<2&0x3c | p.Data[15]>>6
		}
		if dscp != 46 || !bytes.Equal(w.port(p.Data), []byte{8080 >> 8, 8080 & 0xff}) {
			t.Errorf("not rewritten: %x", p.Data[:60])
		}
		packets, length = packets+n, length+uint64(len(p.Data))
	}
}

// l4Of is where layer 4 begins in the streams' packets.
func l4Of(frame []byte) int {
	if frame[14]>>4 == 6 {
		return 14 + 40
	}
	return 14 + 20
}

func (w way) port(frame []byte) []byte { return frame[l4Of(frame)+2:][:2] }

func (w way) headers(p testnet.Packet) int {
	l4 := l4Of(p.Data)
	if w.cfg.UDP {
		return l4 + 8
	}
	return l4 + int(p.Data[l4+12]>>4)*4
}

// TestStructuralRuleSparesStreams: a rule that sets a structural field skips
// GSO packets and says so, and the stream arrives whole.
func TestStructuralRuleSparesStreams(t *testing.T) {
	for _, s := range tcSites {
		for _, f := range []string{"ip_id 0xbeef", "tcp_hlen 5 ip_ttl 9", "ip_tot_len 40", "ip6_len 20"} {
			cfg := withAddresses(lab.PairConfig{Offload: true})
			t.Run(s.String()+" "+f, func(t *testing.T) {
				b := newBench(t, s, cfg)
				r := b.use("if tcp_dest 5201 tcp_syn off tcp_fin off then " + f)
				stream := testnet.StreamConfig{From: b.pair.A, To: b.pair.B, Dial: netip.MustParseAddrPort("192.0.2.2:5201")}
				if f[:3] == "ip6" {
					stream.Dial = netip.MustParseAddrPort("[2001:db8::2]:5201")
				}
				if f != "ip_id 0xbeef" { // small packets would not get through
					r = b.use("if tcp_dest 5201 tcp_syn off tcp_fin off tcp_window 1 then " + f + " else if tcp_dest 5201 then tcp_urg_ptr 0")
				}
				got, err := testnet.Stream(stream)
				if err != nil || got.Received != 1<<20 {
					t.Fatalf("%+v, %v", got, err)
				}
				if f == "ip_id 0xbeef" && (r.alone(bpf.ReasonSegments) == 0 || r.counted()[0].Packets == 0) {
					t.Errorf("counted %+v, want some packets skipped and some rewritten", r.counted())
				}
			})
		}
	}
}

// TestBigTCP: GSO packets of more than 64 KiB, which say that they are 0 bytes
// long, are rewritten both ways.
func TestBigTCP(t *testing.T) {
	for _, s := range tcSites {
		for _, dial := range []string{"192.0.2.2:5201", "[2001:db8::2]:5201"} {
			t.Run(s.String()+" "+dial, func(t *testing.T) {
				b := newBench(t, s, withAddresses(lab.PairConfig{Offload: true}))
				check(t, testnet.SetSegmentSize(b.pair.A, "left", 185_000))
				check(t, testnet.SetSegmentSize(b.pair.B, "right", 185_000))
				r := b.use("if tcp_dest 5201 then tcp_dest 8080 dscp 46 ttl 60")
				back := b.spot()
				back.dir = run.In + run.Out - back.dir
				back.run(t, "if tcp_src 8080 then tcp_src 5201 dscp 46")
				arrives := openCapture(t, b.pair.B, "right", testnet.CaptureConfig{From: leftMAC})
				to := netip.MustParseAddrPort(dial)
				got, err := testnet.Stream(testnet.StreamConfig{
					From: b.pair.A, To: b.pair.B, Bytes: 8 << 20, Size: 1 << 20,
					Dial: to, Listen: netip.AddrPortFrom(to.Addr(), 8080),
				})
				if err != nil || got.Received != 8<<20 {
					t.Fatalf("%+v, %v", got, err)
				}
				if big := bigPackets(t, arrives); big == 0 {
					t.Error("no packet was larger than 64 KiB")
				}
				if c := r.counted(); c[0].Packets < 8<<20/1500 || c[1] != (bpf.Counter{}) {
					t.Errorf("counted %+v", c)
				}
			})
		}
	}
}

func bigPackets(t *testing.T, c *testnet.Capture) (n int) {
	t.Helper()
	for {
		p, err := c.Receive(time.Now())
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n
		}
		fatal(t, err)
		if len(p.Data) > 1<<16 {
			n++
		}
	}
}
