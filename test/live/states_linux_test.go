package live

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// state is what the kernel knows of a packet's checksum where rules see it, and
// a bench on which it is made.
type state struct {
	name string
	site site
	sum  testnet.Checksum
	// pair is how the bench is made; tunnel: packets come out of one.
	pair   lab.PairConfig
	tunnel bool
	// finished: the kernel makes open sums behind the rules, before packets
	// arrive.
	finished bool
	kinds    string // of packets that can have the state
}

const allKinds = "tcp udp icmp tcp6 udp6 icmp6"

// states are all that there are at tc. Behind a device that leaves sums open,
// they arrive open; one that does not finishes them behind egress.
var states = []state{
	{name: "none", site: tcIngress, sum: testnet.ChecksumNone, kinds: allKinds},
	{name: "none", site: tcEgress, sum: testnet.ChecksumNone, kinds: allKinds},
	{name: "partial", site: tcIngress, sum: testnet.ChecksumPartial, pair: lab.PairConfig{Offload: true}, kinds: "tcp udp tcp6 udp6 icmp6"},
	{name: "partial", site: tcEgress, sum: testnet.ChecksumPartial, pair: lab.PairConfig{Offload: true}, kinds: "tcp udp tcp6 udp6 icmp6"},
	{name: "partial, finished behind it", site: tcEgress, sum: testnet.ChecksumPartial, finished: true, kinds: "tcp udp tcp6 udp6 icmp6"},
	{name: "complete", site: tcIngress, sum: testnet.ChecksumComplete, tunnel: true, kinds: allKinds},
	{
		name: "unnecessary", site: tcIngress, sum: testnet.ChecksumUnnecessary,
		pair: lab.PairConfig{B: lab.End{Features: lab.Features{lab.GRO: true}}}, kinds: "tcp tcp6",
	},
}

func (s state) String() string { return s.site.String() + " " + s.name }

// both ends have IPv6, so that the stack at the right end looks at all.
func withAddresses(cfg lab.PairConfig) lab.PairConfig {
	cfg.A.Addr6, cfg.B.Addr6 = netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("2001:db8::2/64")
	return cfg
}

// stateBench is a bench on which packets have a state.
type stateBench struct {
	*bench
	state state
}

func newStateBench(t *testing.T, s state) *stateBench {
	if !s.tunnel {
		return &stateBench{newBench(t, s.site, withAddresses(s.pair)), s}
	}
	needRoot(t)
	// The tunnel's ends are called as the pair's are elsewhere.
	outer := lab.PairConfig{
		A: lab.End{MAC: mac(0x020000000101), Addr: netip.MustParsePrefix("203.0.113.1/24")},
		B: lab.End{MAC: mac(0x020000000102), Addr: netip.MustParsePrefix("203.0.113.2/24")},
	}
	pair, err := lab.NewPair(outer)
	fatal(t, err)
	t.Cleanup(func() { check(t, pair.Close()) })
	inner := withAddresses(lab.PairConfig{
		A: lab.End{MAC: leftMAC, Addr: netip.MustParsePrefix("192.0.2.1/24")},
		B: lab.End{MAC: rightMAC, Addr: netip.MustParsePrefix("192.0.2.2/24")},
	})
	tunnel, err := testnet.AddVXLAN(pair, testnet.VXLANConfig{A: inner.A, B: inner.B})
	fatal(t, err)
	b := makeBench(t, s.site, pair)
	b.left = openPort(t, pair.A, tunnel.A.Name, leftMAC)
	b.behind = watch(t, pair.B, tunnel.B.Name, testnet.In)
	b.at = &spot{site: s.site, ns: pair.B, name: tunnel.B.Name}
	return &stateBench{b, s}
}

// onto is the bench for a subtest.
func (b *stateBench) onto(t *testing.T) *stateBench { return &stateBench{b.on(t), b.state} }

// send sends a frame in the state. What its checksum was does not matter where
// it is open.
func (b *stateBench) send(frame []byte) {
	b.t.Helper()
	if b.state.sum != testnet.ChecksumPartial {
		fatal(b.t, b.left.Send(frame))
		return
	}
	open, o, err := testnet.Partial(frame, 0)
	fatal(b.t, err)
	fatal(b.t, b.left.SendOffloaded(open, o))
}

// arrives is the next packet as it would be on a wire, with the state in which
// the receiver's stack gets it.
func (b *stateBench) arrives(l4 int) ([]byte, testnet.Skb) {
	b.t.Helper()
	skb := b.next()
	if got := foldedSum(sumOf(skb.Data[14:])); skb.Checksum == testnet.ChecksumComplete && got != skb.Sum {
		b.t.Errorf("the device's sum is %04x, that of the bytes %04x", skb.Sum, got)
	}
	if skb.Checksum == testnet.ChecksumPartial {
		finish(skb.Data, l4)
	}
	return skb.Data, skb
}

func foldedSum(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// finish makes an offloaded checksum as a device does (RFC 1071): that of all from
// layer 4 on, where the pseudo-header's part is.
func finish(frame []byte, l4 int) { finishAt(frame, l4, l4+checkAt(frame)) }

func finishAt(frame []byte, l4, at int) {
	sum := ^foldedSum(sumOf(frame[l4:]))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(frame[at:], sum)
}

// checkAt is where the checksum is in the layer-4 header of a frame without
// tags and extension headers.
func checkAt(frame []byte) int {
	next := frame[14+9]
	if frame[14]>>4 == 6 {
		next = frame[14+6]
	}
	return map[byte]int{1: 2, 6: 16, 17: 6, 58: 2}[next]
}

// stack counts what the receiver's stack makes of packets: whether it took them
// or found a checksum wrong. Nobody listens, which it says only of packets whose
// checksum is right.
type stack struct {
	ns     *lab.Namespace
	before testnet.Counters
}

var (
	took = map[string]string{
		"tcp": "TcpOutRsts", "tcp6": "TcpOutRsts", "udp": "UdpNoPorts", "udp6": "Udp6NoPorts",
		"icmp": "IcmpInEchos", "icmp6": "Icmp6InEchos",
	}
	refused = map[string]string{
		"tcp": "TcpInCsumErrors", "tcp6": "TcpInCsumErrors", "udp": "UdpInCsumErrors", "udp6": "Udp6InCsumErrors",
		"icmp": "IcmpInCsumErrors", "icmp6": "Icmp6InCsumErrors",
	}
)

func newStack(t *testing.T, ns *lab.Namespace) *stack {
	t.Helper()
	before, err := testnet.CountersOf(ns)
	fatal(t, err)
	return &stack{ns, before}
}

// accepts waits until the stack has counted one packet, and reports whether it
// took it.
func (s *stack) accepts(t *testing.T, kind string) bool {
	t.Helper()
	var grown testnet.Counters
	eventually(t, "the stack counts a packet of "+kind, func() bool {
		now, err := testnet.CountersOf(s.ns)
		fatal(t, err)
		grown = now.Since(s.before)
		s.before = now
		return grown[took[kind]]+grown[refused[kind]]+grown["IpExtInCsumErrors"]+grown["IpInHdrErrors"] > 0
	})
	return grown[took[kind]] == 1
}

// onStates runs a test for all packets of all states.
func onStates(t *testing.T, test func(b *stateBench, kind string)) {
	for _, s := range states {
		t.Run(s.String(), func(t *testing.T) {
			b := newStateBench(t, s)
			for kind := range strings.FieldsSeq(s.kinds) {
				t.Run(kind, func(t *testing.T) {
					test(b.onto(t), kind)
				})
			}
		})
	}
}

// TestStatesAreMade: the packets of the other tests have the states that their
// names say, where rules see them.
func TestStatesAreMade(t *testing.T) {
	onStates(t, func(b *stateBench, kind string) {
		eyes := b.behind
		if b.site.dir == run.Out {
			eyes = watch(b.t, b.pair.A, b.pair.Config.A.Name, testnet.Out)
		}
		p := newPacket(kind)
		b.send(p.frame())
		sees := func(s *testnet.Skbs) testnet.Skb {
			sub := *b.bench
			sub.behind = s
			return sub.next()
		}
		if got := sees(eyes); got.Checksum != b.state.sum && got.Checksum != testnet.ChecksumUnknown {
			b.t.Errorf("%s is %v, want %v", kind, got.Checksum, b.state.sum)
		}
		if eyes != b.behind {
			b.next()
		}
	})
}

// rightByLibrary is the outside library's judgement of a frame's checksums.
func rightByLibrary(frame []byte) bool {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	return p.ErrorLayer() == nil && wrongSums(frame) == ""
}
