package live

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

const portRule = "if udp_dest 5201 then udp_dest 8080"

// TestSixPackets are the packets that nft or tcprewrite get wrong (part 4 of
// the design), but for the one with a VLAN tag, which a raw socket cannot
// bring to XDP on a veth.
func TestSixPackets(t *testing.T) {
	b := newTestbed(t)
	t.Run("plain UDP", func(t *testing.T) {
		p := newPacket("udp")
		sent := p.frame()
		p.udp.DstPort = 8080
		b.on(t).rewrites(portRule, sent, p.frame())
	})
	t.Run("UDP checksum 0 stays 0", func(t *testing.T) {
		p := newPacket("udp")
		p.udp.Checksum = 0
		sent := p.frame()
		p.udp.DstPort = 8080
		b.on(t).rewrites(portRule, sent, p.frame())
	})
	t.Run("IPv4 options", func(t *testing.T) {
		p := withOptions("udp")
		sent := p.frame()
		p.udp.DstPort = 8080
		b.on(t).rewrites(portRule, sent, p.frame())
	})
	t.Run("later fragment is untouched", func(t *testing.T) {
		p := newPacket("udp") // its first bytes look like a UDP header to port 5201
		p.ip.Flags, p.ip.FragOffset = 0, 185
		b.on(t).leaves(portRule, p.frame())
	})
	t.Run("wrong by 1 stays wrong by 1", func(t *testing.T) {
		p := newPacket("udp")
		sent := offByOne(p.frame())
		p.udp.DstPort = 8080
		b.on(t).rewrites(portRule, sent, offByOne(p.frame()))
	})
}

// on is the testbed for a subtest.
func (b *testbed) on(t *testing.T) *testbed {
	sub := *b
	sub.t = t
	return &sub
}

// offByOne makes the UDP checksum of an option-less frame wrong by one.
func offByOne(frame []byte) []byte {
	out := bytes.Clone(frame)
	check := out[14+20+6:]
	binary.BigEndian.PutUint16(check, binary.BigEndian.Uint16(check)+1)
	return out
}

func withOptions(protocol string) *packet {
	p := newPacket(protocol)
	p.ip.Options = []layers.IPv4Option{
		{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}, // router alert, RFC 2113
		{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0},
	}
	p.finish()
	return p
}

func TestOptionsAreSteppedOver(t *testing.T) {
	b := newTestbed(t)
	p := withOptions("tcp")
	sent := p.frame()
	p.tcp.Window, p.ip.TOS = 0, 0
	b.rewrites("if tcp_psh on then tcp_window 0 ip_tos 0", sent, p.frame())

	p = withOptions("icmp")
	sent = p.frame()
	setICMP(p, 0, 0)
	b.rewrites("if icmp_type echo-request then icmp_type echo-reply", sent, p.frame())
}

func TestFragments(t *testing.T) {
	b := newTestbed(t)
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
}

func newFragment() []byte {
	p := newPacket("udp")
	p.ip.Flags = layers.IPv4MoreFragments
	return p.frame()
}

func TestShortAndLyingPackets(t *testing.T) {
	b := newTestbed(t)
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
}

func TestChecksumsByName(t *testing.T) {
	b := newTestbed(t)
	for _, protocol := range []string{"tcp", "udp", "icmp"} {
		right := newPacket(protocol).frame()
		at := map[string]int{"tcp": 14 + 20 + 16, "udp": 14 + 20 + 6, "icmp": 14 + 20 + 2}[protocol]
		stale := bytes.Clone(right)
		stale[at] ^= 0x5a
		b.rewrites("if "+protocol+" then "+protocol+"_check fix", stale, right)

		// The right sum plus one in one's complement.
		bad := bytes.Clone(right)
		sum := uint32(binary.BigEndian.Uint16(right[at:])) + 1
		if sum > 0xffff {
			sum = 1
		}
		bad[at], bad[at+1] = byte(sum>>8), byte(sum)
		b.rewrites("if "+protocol+" then "+protocol+"_check bad", right, bad)
	}
	p := withOptions("udp")
	right := p.frame()
	stale := bytes.Clone(right)
	stale[24] ^= 0xa5
	b.rewrites("if all then ip_check fix", stale, right)
}

// TestRulesAreAlternatives: the first rule that matches acts, and it alone.
func TestRulesAreAlternatives(t *testing.T) {
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.udp.DstPort = 5202
	b.rewrites("if udp_dest 5201 then udp_dest 5202 else if udp_dest 5201-5202 then udp_dest 9", sent, p.frame())
}
