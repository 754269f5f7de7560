package live

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// The ends of the tests' packets.
var (
	leftEnd = lab.End{
		Name: "left", MAC: leftMAC,
		Addr: netip.MustParsePrefix("192.0.2.1/24"), Addr6: netip.MustParsePrefix("2001:db8::1/64"),
	}
	rightEnd = lab.End{
		Name: "right", MAC: rightMAC,
		Addr: netip.MustParsePrefix("192.0.2.2/24"), Addr6: netip.MustParsePrefix("2001:db8::2/64"),
	}
)

// linkCase is a rule for any link, in the outside library's terms. A nil edit
// leaves the packet alone.
type linkCase struct {
	kind, text string
	edit       func(p *packet)
}

var linkCases = []linkCase{
	{"udp", "if all then ip_ttl 65", gives(map[string]uint64{"ip_ttl": 65})},
	{"tcp", "if all then ttl 65", gives(map[string]uint64{"ip_ttl": 65})},
	{"icmp", "if all then ip_ttl 65 icmp_seq 7", gives(map[string]uint64{"ip_ttl": 65, "icmp_seq": 7})},
	{"udp6", "if all then ip_ttl 65", nil},
	{"udp6", "if all then ttl 65 dport 8080", gives(map[string]uint64{"ip6_hlim": 65, "udp_dest": 8080})},
	{"tcp6", "if dport 5201 then dport 8080 ip6_src 2001:db8::4d:77 ip6_flow 7", all(src6, gives(map[string]uint64{"tcp_dest": 8080, "ip6_flow": 7}))},
	{"mss", "if all then tcp_mss 1220 ip_src 192.0.2.77", all(src4, gives(map[string]uint64{"tcp_mss": 1220}))},
	{"icmp6", "if icmp6 then icmp6_code 7", gives(map[string]uint64{"icmp6_code": 7})},
	{"udp", "if udp_dest 5201 then udp_check fix ip_tos 0", gives(map[string]uint64{"ip_tos": 0})},
	{"udp", "if udp_dest 5201 then ip_id 7 udp_dest 8080 ip_dest 10.1.2.3", gives(map[string]uint64{"ip_id": 7, "udp_dest": 8080, "ip_dest": 0x0a010203})},
	{"tcp", "if udp or icmp then ip_ttl 65", nil},
}

func (c linkCase) packets() (sent, want []byte, count uint64) {
	p := newPacket(c.kind)
	sent = p.frame()
	if c.edit == nil {
		return sent, sent, 0
	}
	c.edit(p)
	return sent, p.frame(), 1
}

// wire is a device whose other side the test holds.
type wire struct {
	t    *testing.T
	at   spot
	send func(packet []byte)
	next func() []byte
	bare bool // packets begin with IP
	back bool // packets go to the left end's MAC, where nobody has their address
}

func (w wire) runs(list []linkCase) {
	w.t.Helper()
	var r *rules
	for _, c := range list {
		if r == nil {
			r = w.at.run(w.t, c.text)
		} else {
			r.swap(c.text)
		}
		sent, want, n := c.packets()
		if w.bare {
			sent, want = sent[14:], want[14:]
		}
		if w.back {
			sent, want = turned(sent), turned(want)
		}
		w.send(sent)
		same(w.t, c.text, sent, want, w.next())
		r.wants(c.text, bpf.Counter{Packets: n, Bytes: n * uint64(len(sent))})
	}
}

// turned is the frame with its MACs changed about.
func turned(frame []byte) []byte {
	out := bytes.Clone(frame)
	copy(out, frame[6:12])
	copy(out[6:], frame[:6])
	return out
}

// tunSites are where rules run on a tun or a tap.
func tunSites(tap bool) []site {
	if tap {
		return sites
	}
	return sites[1:] // a tun has no native XDP
}

// TestTunAndTap: rules see what is written into them and what leaves them, with
// and without Ethernet.
func TestTunAndTap(t *testing.T) {
	for _, tap := range []bool{false, true} {
		for _, s := range tunSites(tap) {
			name := map[bool]string{false: "tun ", true: "tap "}[tap] + s.String()
			t.Run(name, func(t *testing.T) {
				w, tun := newTun(t, tap, s, false)
				eyes := watch(t, w.at.ns, w.at.name, testnet.In)
				port := openPort(t, w.at.ns, w.at.name, nil)
				if s.dir == run.In {
					w.send = func(p []byte) { fatal(t, tun.Write(p)) }
					w.next = func() []byte { return nextSkb(t, eyes).Data }
				} else {
					w.send = func(p []byte) { fatal(t, port.Send(p)) }
					w.next = func() []byte { return nextRead(t, tun).Data }
				}
				w.runs(linkCases)
			})
		}
	}
}

func newTun(t *testing.T, tap bool, s site, offload bool) (wire, *testnet.Tun) {
	t.Helper()
	ns := namespace(t)
	end := rightEnd
	end.Name = "dev0"
	if !tap {
		end.MAC = nil
	}
	tun, err := testnet.OpenTun(ns, testnet.TunConfig{Tap: tap, End: end, Peer: leftEnd, Offload: offload})
	fatal(t, err)
	t.Cleanup(func() { check(t, tun.Close()) })
	w := wire{t: t, at: spot{site: s, ns: ns, name: "dev0"}, bare: !tap}
	if !tap {
		w.at.link = field.RawIP
	}
	return w, tun
}

func nextSkb(t *testing.T, s *testnet.Skbs) testnet.Skb {
	t.Helper()
	skb, err := s.Receive(time.Now().Add(patience))
	fatal(t, err)
	return skb
}

func nextRead(t *testing.T, tun *testnet.Tun) testnet.Packet {
	t.Helper()
	p, err := tun.Read(time.Now().Add(patience))
	fatal(t, err)
	return p
}

// TestTunOpenSums: packets of guests and of local sockets whose checksums are
// left to the other side, at tc in both directions.
func TestTunOpenSums(t *testing.T) {
	for _, tap := range []bool{false, true} {
		for _, s := range tcSites {
			w, tun := newTun(t, tap, s, true)
			eyes := watch(t, w.at.ns, w.at.name, testnet.In)
			port := openPort(t, w.at.ns, w.at.name, nil)
			send, next := tun.WriteOffloaded, func() []byte { return nextSkb(t, eyes).Data }
			if s.dir == run.Out {
				send, next = port.SendOffloaded, func() []byte { return nextRead(t, tun).Data }
			}
			open, link := testnet.Partial, 0
			if !tap {
				open, link = testnet.PartialIP, 14
			}
			for _, kind := range []string{"udp", "tcp", "udp6", "tcp6"} {
				p := newPacket(kind)
				sent, o, err := open(p.frame()[link:], 0)
				fatal(t, err)
				all(dport(8080), moreTTL)(p)
				r := w.at.run(t, "if dport 5201 then dport 8080 ttl 9")
				fatal(t, send(sent, o))
				got := next()
				finishAt(got, p.l4()-link, p.l4()-link+checkOffset(p))
				same(t, s.String()+" "+kind, sent, p.frame()[link:], got)
				r.counts(1)
				r.stop()
			}
		}
	}
}

// TestTethering: what local sockets send by a tun, which is what the rule is
// for, leaves with the TTL and a right sum.
func TestTethering(t *testing.T) {
	for _, offload := range []bool{false, true} {
		w, tun := newTun(t, false, tcEgress, offload)
		w.at.run(t, "if all then ttl 65")
		for _, to := range []string{"192.0.2.1:5201", "[2001:db8::1]:5201"} {
			var conn net.Conn
			fatal(t, w.at.ns.Do(func() (err error) {
				conn, err = net.Dial("udp", to)
				return err
			}))
			_, err := conn.Write([]byte("what is sent"))
			fatal(t, err)
			got := nextRead(t, tun)
			check(t, conn.Close())
			etherType, ttl, l4 := []byte{0x08, 0}, got.Data[8], 20
			if got.Data[0]>>4 == 6 {
				etherType, ttl, l4 = []byte{0x86, 0xdd}, got.Data[7], 40
			}
			if got.Offload.Partial != offload {
				t.Errorf("the sum is open: %v", got.Offload.Partial)
			} else if offload {
				finishAt(got.Data, l4, l4+6)
			}
			frame := append(append(make([]byte, 12), etherType...), got.Data...)
			if ttl != 65 || !rightByLibrary(frame) || !bytes.HasSuffix(frame, []byte("what is sent")) {
				t.Errorf("%s: TTL %d, wrong: %q, %x", to, ttl, wrongSums(frame), got.Data)
			}
		}
	}
}

// bothWays are rules for a device that streams cross in both directions.
const bothWays = "if dport 5201 then dport 8080 ttl 65 else if sport 8080 then sport 5201 ttl 65"

func streamsBy(t *testing.T, from, to *lab.Namespace, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		for _, udp := range []bool{false, true} {
			got, err := testnet.Stream(testnet.StreamConfig{
				From: from, To: to, UDP: udp, Bytes: 300_000,
				Dial: netip.AddrPortFrom(a, 5201), Listen: netip.AddrPortFrom(a, 8080),
			})
			if err != nil || got.Received != 300_000 {
				t.Errorf("UDP %v to %v: %+v, %v", udp, a, got, err)
			}
		}
	}
}

// TestLoopback: both what leaves and what arrives, which is the same.
func TestLoopback(t *testing.T) {
	for _, s := range tcSites {
		ns := namespace(t)
		r := spot{site: s, ns: ns, name: "lo"}.run(t, bothWays)
		streamsBy(t, ns, ns, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
		c := r.counted()
		if c[0].Packets == 0 || c[1].Packets == 0 {
			t.Errorf("%s: counted %+v", s, c)
		}
		for i, left := range c[2:] {
			if left.Packets != 0 {
				t.Errorf("%s: %+v skipped by reason %d", s, left, i)
			}
		}
		fatal(t, testnet.AddAddresses(ns, "lo", rightEnd.Addr))
		eyes, port := watch(t, ns, "lo", testnet.In), openPort(t, ns, "lo", nil)
		r.stop()
		wire{
			t: t, at: r.at,
			send: func(p []byte) { fatal(t, port.Send(p)) },
			next: func() []byte { return nextSkb(t, eyes).Data },
		}.runs(linkCases)
	}
}

// TestBridge: rules on a bridge itself see what is for its host and what the
// host sends.
func TestBridge(t *testing.T) {
	pair, err := lab.NewPair(lab.PairConfig{A: leftEnd, B: lab.End{Name: "port0", MAC: mac(0x020000000011), Addr: netip.MustParsePrefix("203.0.113.2/24"), Addr6: netip.MustParsePrefix("2001:db8:9::2/64")}})
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	bridge := rightEnd
	bridge.Name = "br0"
	fatal(t, testnet.AddBridge(pair.B, bridge, "port0"))
	fatal(t, testnet.AddNeighbour(pair.B, "br0", leftEnd))
	fatal(t, testnet.AddNeighbour(pair.A, "left", bridge))
	onDevice(t, pair, bridge)
}

// TestMacvlan: likewise on an interface with a MAC of its own.
func TestMacvlan(t *testing.T) {
	pair, err := lab.NewPair(lab.PairConfig{A: leftEnd, B: lab.End{MAC: mac(0x020000000011), Addr: netip.MustParsePrefix("203.0.113.2/24"), Addr6: netip.MustParsePrefix("2001:db8:9::2/64")}})
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	above := rightEnd
	above.Name = "mv0"
	fatal(t, testnet.AddMacvlan(pair.B, "right", above, leftEnd))
	fatal(t, testnet.AddNeighbour(pair.A, "left", above))
	onDevice(t, pair, above)
}

// onDevice sends packets and streams to and from a device that stands at the
// right end of a pair.
func onDevice(t *testing.T, pair *lab.Pair, device lab.End) {
	t.Helper()
	left, right := openPort(t, pair.A, "left", nil), openPort(t, pair.B, device.Name, nil)
	// What arrives is answered, so what leaves comes first.
	for _, s := range []site{tcEgress, tcIngress, generic} {
		t.Run(s.String(), func(t *testing.T) {
			w := wire{t: t, at: spot{site: s, ns: pair.B, name: device.Name}, back: s == tcEgress}
			from, eyes := left, watch(t, pair.B, device.Name, testnet.In)
			if s.dir == run.Out {
				from, eyes = right, watch(t, pair.A, "left", testnet.In)
			}
			w.send = func(p []byte) { fatal(t, from.Send(p)) }
			w.next = func() []byte { return nextSkb(t, eyes).Data }
			w.runs(linkCases)
		})
	}
	t.Run("streams", func(t *testing.T) {
		in := spot{site: tcIngress, ns: pair.B, name: device.Name}.run(t, bothWays)
		out := spot{site: tcEgress, ns: pair.B, name: device.Name}.run(t, bothWays)
		streamsBy(t, pair.A, pair.B, device.Addr.Addr(), device.Addr6.Addr())
		if in.counted()[0].Packets == 0 || out.counted()[1].Packets == 0 {
			t.Errorf("counted %+v in, %+v out", in.counted(), out.counted())
		}
	})
}
