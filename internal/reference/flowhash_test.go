package reference_test

import (
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"repacket/internal/reference"
)

// TestFlowHash: what the function of semantics.md 3.11 gives, worked out by another
// program in another language: its first 48 bits, by the packet's flow.
func TestFlowHash(t *testing.T) {
	const (
		udp, tcp, back, icmp = "af5f14234c38", "dd4c1fced1af", "a2291989d18f", "362399108c86"
		fragment, bare       = "0e04fc4e08dc", "8a38dd203601" // of UDP; of protocol 50
		udp6, tcp6, icmp6    = "440019fef9a7", "8467ee41601f", "50659a4cc473"
		fragment6, hopByHop6 = "da9eeb864bc9", "fccd002023ff" // by ip6_next
	)
	lastFrag := []byte{44, 0, 0, 8 << 3, 0, 0, 0, 9}
	turned := udpPacket()
	turned.ip.SrcIP, turned.ip.DstIP = turned.ip.DstIP, turned.ip.SrcIP
	turned.udp.SrcPort, turned.udp.DstPort = 443, 1000
	tagged := udpPacket()
	tagged.tags = []layers.EthernetType{layers.EthernetTypeDot1Q}
	other := icmpPacket()
	other.ip.Protocol = 50
	ip := func(flags uint16) []byte { return put(20, flags)(udpPacket().build(t)) }
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"UDP", udpPacket().build(t), udp},
		{"TCP", tcpPacket().build(t), tcp},
		{"the other way round", turned.build(t), back},
		{"ICMP", icmpPacket().build(t), icmp},
		{"no header that is looked for", other.build(t), bare},
		{"behind a tag", tagged.build(t), udp},
		{"UDP header cut off", udpPacket().build(t)[:41], fragment},
		{"first fragment", ip(0x2000), fragment},
		{"later fragment", ip(0x2005), fragment},
		{"last fragment", ip(0x0005), fragment},
		{"reserved flag and DF", ip(0xc000), udp},
		{"UDP over IPv6", over6(udpPacket()).build(t), udp6},
		{"TCP over IPv6", over6(tcpPacket()).build(t), tcp6},
		{"ICMPv6", icmp6Packet().build(t), icmp6},
		{"behind hop-by-hop options", chain(t, hopByHop), udp6},
		{"ICMPv6 behind hop-by-hop options", icmp6Packet().behind(0, hopByHop).build(t), hopByHop6},
		{"first fragment over IPv6", chain(t, firstFrag), fragment6},
		{"later fragment over IPv6", chain(t, laterFrag), fragment6},
		{"last fragment over IPv6", chain(t, lastFrag), fragment6},
		{"a fragment of its own over IPv6", chain(t, atomic), udp6},
		{"first fragment behind options", chain(t, hopByHop, firstFrag), hopByHop6},
	} {
		got := reference.Run(mustCheck(t, "if all then eth_dest hash"), c.frame)
		if got := hex.EncodeToString(got.Frame[:6]); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if got := reference.Run(mustCheck(t, "if all then eth_dest hash"), arpPacket().build(t)); got.Acted != nil {
		t.Error("ARP has a flow")
	}
}

// TestFlowHashIsMapped: into fields, ranges and prefixes, worked out as above.
func TestFlowHashIsMapped(t *testing.T) {
	for _, c := range []struct{ field, operand, want string }{
		{"ip_src", "hash", "af5f1423"},
		{"ip_tos", "hash", "af"},
		{"ip_src", "hash 10.0.0.0/28", "0a00000a"},
		{"ip_src", "hash 10.0.0.5-10.0.3.236", "0a0002b2"},
		{"udp_src", "hash 49152-65535", "ebd7"},
		{"ip6_src", "hash 2001:db8::/32", "20010db8440019fef9a753a258fa8795"},
		{"ip6_dest", "hash", "440019fef9a753a258fa8795306814d5"},
	} {
		p := mustCheck(t, "if all then "+c.field+" "+c.operand)
		if got := hex.EncodeToString(bytesIn(reference.Run(p, frameFor(t, c.field)).Frame, c.field)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.field, c.operand, got, c.want)
		}
	}
	in := over6(udpPacket()).build(t)
	got := reference.Run(mustCheck(t, "if all then ip6_flow hash"), in).Frame
	if flow := binary.BigEndian.Uint32(got[14:]) & 0xfffff; flow != 278530 { // and not 278529, as with 0
		t.Errorf("ip6_flow is %d", flow)
	}
	// The flow is that of the packet as it arrived.
	got = reference.Run(mustCheck(t, "if udp then ip_src 10.0.0.1 udp_dest 9 ip_tos hash"), udpPacket().build(t)).Frame
	if got[15] != 0xaf {
		t.Errorf("ip_tos is %#x", got[15])
	}
}

// TestFlowHashSpreads: flows that differ little come to all values about as often: the
// sum of squares over 256 values, whose mean is 255 and standard deviation 23 were they
// random, is neither large nor suspiciously small.
func TestFlowHashSpreads(t *testing.T) {
	const flows, values = 1 << 13, 256
	p := mustCheck(t, "if all then ip_tos hash")
	p6 := mustCheck(t, "if all then ip6_hlim hash")
	v4, v6 := udpPacket().build(t), over6(tcpPacket()).build(t)
	for name, change := range map[string]func(i int) byte{
		"ports":     func(i int) byte { put16(v4, 34, uint16(i)); return reference.Run(p, v4).Frame[15] },
		"addresses": func(i int) byte { put16(v4, 32, uint16(i)); return reference.Run(p, v4).Frame[15] },
		"networks":  func(i int) byte { put16(v4, 26, uint16(i)); return reference.Run(p, v4).Frame[15] },
		"both": func(i int) byte {
			put16(v4, 28, uint16(i))
			put16(v4, 32, uint16(i))
			return reference.Run(p, v4).Frame[15]
		},
		"IPv6 hosts":    func(i int) byte { put16(v6, 36, uint16(i)); return reference.Run(p6, v6).Frame[21] },
		"IPv6 networks": func(i int) byte { put16(v6, 42, uint16(i)); return reference.Run(p6, v6).Frame[21] },
	} {
		var count [values]int
		for i := range flows {
			count[change(i)]++
		}
		sum := 0.0
		for _, n := range count {
			off := float64(n) - flows/values
			sum += off * off / (flows / values)
		}
		if sum < 160 || sum > 360 {
			t.Errorf("%s: chi-square is %.0f", name, sum)
		}
	}
}
