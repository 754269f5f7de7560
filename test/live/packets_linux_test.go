package live

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

const portRule = "if udp_dest 5201 then udp_dest 8080"

// TestSixPackets are the packets that nft or tcprewrite get wrong
// (semantics.md 4.1).
func TestSixPackets(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, six := range sixPackets() {
			b.t.Run(six.name, func(t *testing.T) {
				if six.want == nil {
					b.on(t).leaves(portRule, six.sent)
				} else {
					b.on(t).rewrites(portRule, six.sent, six.want)
				}
			})
		}
	})
}

// sixPacket is a packet, and what portRule must make of it; nil is nothing.
type sixPacket struct {
	name       string
	sent, want []byte
}

func sixPackets() []sixPacket {
	none := newPacket("udp")
	none.udp.Checksum = 0
	fragment := newPacket("udp") // its first bytes look like a UDP header to port 5201
	fragment.ip.Flags, fragment.ip.FragOffset = 0, 185
	return []sixPacket{
		toPort8080("plain UDP", newPacket("udp")),
		toPort8080("UDP checksum 0 stays 0", none),
		toPort8080("IPv4 options", withOptions("udp")),
		{"later fragment is untouched", fragment.frame(), nil},
		toPort8080("VLAN-tagged", newPacket("udp").tag(layers.EthernetTypeDot1Q)),
		{"wrong by 1 stays wrong by 1", offByOne(newPacket("udp").frame()), offByOne(toPort8080("", newPacket("udp")).want)},
	}
}

func toPort8080(name string, p *packet) sixPacket {
	sent := p.frame()
	p.udp.DstPort = 8080
	return sixPacket{name, sent, p.frame()}
}

// offByOne makes the UDP checksum of an option-less frame wrong by one.
func offByOne(frame []byte) []byte {
	out := bytes.Clone(frame)
	check := out[14+20+6:]
	binary.BigEndian.PutUint16(check, binary.BigEndian.Uint16(check)+1)
	return out
}

func withOptions(kind string) *packet {
	p := newPacket(kind)
	p.ip.Options = []layers.IPv4Option{
		{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}, // router alert, RFC 2113
		{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0},
	}
	p.finish()
	return p
}

func TestOptionsAreSteppedOver(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		p := withOptions("tcp")
		sent := p.frame()
		p.tcp.Window, p.ip.TOS = 0, 0
		b.rewrites("if tcp_psh on then tcp_window 0 ip_tos 0", sent, p.frame())

		p = withOptions("icmp")
		sent = p.frame()
		setICMP(p, 0, 0)
		b.rewrites("if icmp_type echo-request then icmp_type echo-reply", sent, p.frame())
	})
}

// extensions are headers that RFC 8200 lets one step over: hop-by-hop with
// padding, destination options, and the fragment header of a whole datagram
// (RFC 6946).
func extensions(last layers.IPProtocol) []byte {
	const padN = 1
	return []byte{
		60, 0, padN, 4, 0, 0, 0, 0,
		44, 0, padN, 4, 0, 0, 0, 0,
		byte(last), 0, 0, 0, 0, 0, 0, 9,
	}
}

func TestExtensionHeadersAreSteppedOver(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		p := newPacket("udp6").extend(layers.IPProtocolIPv6HopByHop, extensions(layers.IPProtocolUDP)...)
		sent := p.frame()
		p.udp.DstPort, p.ip6.SrcIP = 8080, address6(0x20010db8dead0001)
		b.rewrites("if udp_dest 5201 then udp_dest 8080 ip6_src "+p.ip6.SrcIP.String(), sent, p.frame())

		p = newPacket("mss6").extend(layers.IPProtocolIPv6HopByHop, extensions(layers.IPProtocolTCP)...)
		sent = p.frame()
		setMSS(p, 1220)
		b.rewrites("if all then tcp_mss 1220", sent, p.frame())

		// A later fragment has no header of layer 4.
		later := extensions(layers.IPProtocolUDP)
		later[19] = 8
		p = newPacket("udp6").extend(layers.IPProtocolIPv6HopByHop, later...)
		b.leaves(portRule, p.frame())

		// Behind a routing header with a segment left the destination is another
		// one (RFC 8200 section 8.1): no sum follows.
		p = newPacket("udp6").extend(layers.IPProtocolIPv6Routing, 17, 0, 4, 1, 0, 0, 0, 0)
		sent = p.frame()
		udpSum := bytes.Clone(sent[p.l4()+6 : p.l4()+8])
		p.ip6.DstIP = address6(0x20010db8dead0001)
		p.udp.Checksum, p.staleL4 = binary.BigEndian.Uint16(udpSum), true
		b.rewrites("if udp then ip6_dest "+p.ip6.DstIP.String(), sent, p.frame())
	})
}

// TestOpenSumsOfRoutes: while a source route has hops left, its last address is the destination
// in the pseudo-header (RFC 791 section 3.1). So an offloaded checksum does not follow ip_dest.
func TestOpenSumsOfRoutes(t *testing.T) {
	for _, dir := range []run.Direction{run.In, run.Out} {
		b := newBench(t, site{run.TC, dir}, lab.PairConfig{Offload: true})
		p := newPacket("udp")
		p.ip.Options = []layers.IPv4Option{{OptionType: 131, OptionLength: 7, OptionData: []byte{4, 198, 51, 100, 9}}, {OptionType: 0}}
		p.finish()
		hop := p.ip.DstIP
		p.ip.DstIP = address(0xc6336409)
		open, o, err := testnet.Partial(p.frame(), 0)
		fatal(t, err)
		p.udp.DstPort = 8080
		finished := binary.BigEndian.Uint16(p.frame()[p.l4()+6:])

		p.ip.DstIP, p.udp.DstPort = hop, 5201
		p.udp.Checksum, p.staleL4 = binary.BigEndian.Uint16(open[p.l4()+6:]), true
		sent := p.frame()
		p.ip.DstIP, p.udp.DstPort, p.udp.Checksum = address(0x0a010203), 8080, finished
		b.use("if udp_dest 5201 then udp_dest 8080 ip_dest 10.1.2.3")
		fatal(t, b.left.SendOffloaded(sent, o))
		got := whole(b.next())
		finishAt(got, p.l4(), p.l4()+6)
		same(t, dir.String(), sent, p.frame(), got)
	}
}

// TestOddOption: behind one byte of padding the option's words lie across those
// that the checksum adds up.
func TestOddOption(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, kind := range []string{"mss", "mss6"} {
			p := newPacket(kind)
			p.tcp.Options = append([]layers.TCPOption{{OptionType: layers.TCPOptionKindNop}}, p.tcp.Options...)
			p.tcp.Options = append(p.tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop}, layers.TCPOption{OptionType: layers.TCPOptionKindNop}, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
			p.finish()
			sent := p.frame()
			setMSS(p, 1220)
			b.rewrites("if tcp_ack on then tcp_mss 1220", sent, p.frame())
		}
	})
}

func TestFragments(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		first := newPacket("udp")
		first.ip.Flags = layers.IPv4MoreFragments
		sent := first.frame()
		first.udp.DstPort = 8080
		b.rewrites(portRule, sent, first.frame())

		// An address is in every fragment, and the layer-4 checksum only in the
		// first: there it follows, in a later one those bytes are payload.
		first = newPacket("udp")
		first.ip.Flags = layers.IPv4MoreFragments
		sent = first.frame()
		first.ip.SrcIP = address(0x0a010203)
		b.rewrites("if all then ip_src 10.1.2.3", sent, first.frame())

		later := newPacket("udp")
		later.ip.Flags, later.ip.FragOffset = 0, 185
		later.staleL4 = true
		sent = later.frame()
		later.ip.SrcIP = address(0x0a010203)
		b.rewrites("if all then ip_src 10.1.2.3", sent, later.frame())

		b.leaves("if udp then udp_check fix", newFragment())
	})
}

func newFragment() []byte {
	p := newPacket("udp")
	p.ip.Flags = layers.IPv4MoreFragments
	return p.frame()
}

func TestShortAndLyingPackets(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		whole := newPacket("udp").frame()
		b.leaves(portRule, whole[:14+20+7]) // the UDP header is cut off

		p := newPacket("udp")
		p.ip.Length = 27 // and here ip_tot_len says so
		b.leaves(portRule, p.frame())

		p = newPacket("udp")
		p.ip.IHL = 4
		b.leaves(portRule, p.frame())

		p = newPacket("udp")
		p.ip.Version = 6
		b.leaves(portRule, p.frame())

		p = newPacket("udp6")
		p.ip6.Length = 7
		b.leaves(portRule, p.frame())

		p = newPacket("udp6")
		p.ip6.Version = 4
		b.leaves(portRule, p.frame())
	})
}

func TestChecksumsByName(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for _, kind := range []string{"tcp", "udp", "icmp", "tcp6", "udp6", "icmp6"} {
			p := newPacket(kind)
			check, at := checkOf(kind)
			at += p.l4()
			right := p.frame()
			stale := bytes.Clone(right)
			stale[at] ^= 0x5a
			b.rewrites("if all then "+check+" fix", stale, right)
			b.rewrites("if all then "+check+" bad", stale, plusOne(right, at))
			b.rewrites("if all then "+check+" 0xbeef", stale, withWord(right, at, 0xbeef))
		}
		right := withOptions("udp").frame()
		stale := bytes.Clone(right)
		stale[24] ^= 0xa5
		b.rewrites("if all then ip_check fix", stale, right)
		b.rewrites("if all then ip_check bad", stale, plusOne(right, 24))
		b.rewrites("if all then ip_check 0xbeef", stale, withWord(right, 24, 0xbeef))
	})
}

// checkOf is the checksum of a kind of packet, and where it is in its header.
func checkOf(kind string) (name string, at int) {
	switch over, six := cutSuffix(kind); {
	case over == "tcp" || over == "mss":
		return "tcp_check", 16
	case over == "udp":
		return "udp_check", 6
	case six:
		return "icmp6_check", 2
	}
	return "icmp_check", 2
}

// plusOne is the frame with one more, in one's complement, in the word at at.
func plusOne(frame []byte, at int) []byte {
	sum := binary.BigEndian.Uint16(frame[at:]) + 1
	if sum == 0 {
		sum = 1
	}
	return withWord(frame, at, sum)
}

func withWord(frame []byte, at int, v uint16) []byte {
	out := bytes.Clone(frame)
	binary.BigEndian.PutUint16(out[at:], v)
	return out
}

// TestRulesAreAlternatives: the first rule that matches acts, and it alone.
func TestRulesAreAlternatives(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		p := newPacket("udp")
		sent := p.frame()
		p.udp.DstPort = 5202
		b.rewrites("if udp_dest 5201 then udp_dest 5202 else if udp_dest 5201-5202 then udp_dest 9", sent, p.frame())
	})
}

// TestSwaps: source and destination change places, and no checksum changes.
func TestSwaps(t *testing.T) {
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		for kind, words := range map[string]string{"tcp": "ip swap tcp", "udp": "ip swap udp", "tcp6": "ip6 swap tcp", "udp6": "ip6 swap udp"} {
			p := newPacket(kind)
			sent := p.frame()
			p.swap()
			b.rewrites("if all then swap eth swap "+words, sent, p.frame())
		}
	})
}

func (p *packet) swap() {
	p.eth.SrcMAC, p.eth.DstMAC = p.eth.DstMAC, p.eth.SrcMAC
	if p.ip6 != nil {
		p.ip6.SrcIP, p.ip6.DstIP = p.ip6.DstIP, p.ip6.SrcIP
	}
	p.ip.SrcIP, p.ip.DstIP = p.ip.DstIP, p.ip.SrcIP
	if p.tcp != nil {
		p.tcp.SrcPort, p.tcp.DstPort = p.tcp.DstPort, p.tcp.SrcPort
	}
	if p.udp != nil {
		p.udp.SrcPort, p.udp.DstPort = p.udp.DstPort, p.udp.SrcPort
	}
}
