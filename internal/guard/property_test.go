package guard_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/guard"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/rulegen"
)

// TestNoHarmWhereNoneIsSeen: where Check finds nothing, random rules change nothing that a connection
// depends on in random packets of it, by the reference.
func TestNoHarmWhereNoneIsSeen(t *testing.T) {
	t.Parallel()
	const programs, packets = 1500, 12
	r := rand.New(rand.NewPCG(17, 2))
	var refused, shown, acted int
	for range programs {
		style := rulegen.Style{Operands: r.IntN(2) == 0, Chance: r.IntN(2) == 0, Replies: r.IntN(4) == 0, OnlyPass: r.IntN(3) > 0, Redirect: []string{"eth2"}}
		p, err := rule.Check(style.Program(r))
		if err != nil {
			continue
		}
		c := connectionFor(r, p)
		leaves := r.IntN(2) == 0
		harm := guard.Check(p, leaves, []guard.Connection{c})
		if harm != nil {
			refused++
		}
		seen := false
		for range packets {
			rules, out := p, leaves
			if p.Replies != nil && r.IntN(2) == 0 {
				rules, out = p.Replies, !leaves
			}
			in := packetOf(t, r, c, out)
			got := reference.RunDrawn(field.Ethernet, rules, in, reference.Seeded(r.Uint64()))
			hurts := whatHurts(in, got)
			if harm == nil && hurts != "" {
				t.Fatalf("%s\n%+v, leaves %v: %s by rule %d, and Check says nothing\nin  %x\nout %x", p.Source, c, out, hurts, got.Index+1, in, got.Frame)
			}
			if harm == nil && got.Rewritten {
				acted++
			}
			seen = seen || hurts != ""
		}
		if harm != nil && seen {
			shown++
		}
	}
	t.Logf("%d programs refused, for %d of them a packet shows why; rules acted on %d packets of the others", refused, shown, acted)
	if refused < 150 || shown < refused/3 || acted < 50 {
		t.Errorf("the programs say too little: %d refused, %d shown, %d acted on", refused, shown, acted)
	}
}

// connectionFor is a connection that rules are likely about: one of a frame for them.
func connectionFor(r *rand.Rand, p *rule.Program) guard.Connection {
	c := guard.Connection{
		Name: "it", Protocol: field.TCP, Established: true,
		Link: guard.Link{
			Ethernet: true, Tags: [][]uint16{{}}, Own: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Hop: net.HardwareAddr{2, 0, 0, 0, 0, 2},
			From: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		},
	}
	six := r.IntN(2) == 0
	ends := []string{"192.0.2.1", "198.51.100.7", "192.0.2.254"}
	if six {
		ends = []string{"2001:db8::1", "2001:db8:7::7", "fe80::fe"}
	}
	c.Here = netip.AddrPortFrom(netip.MustParseAddr(ends[0]), 22)
	c.There = netip.AddrPortFrom(netip.MustParseAddr(ends[1]), uint16(r.IntN(1<<16)))
	c.Link.NextHop = netip.MustParseAddr(ends[2])
	for range 5 {
		decoded := gopacket.NewPacket(packetgen.Frame(r, p), layers.LayerTypeEthernet, gopacket.Default)
		var src, dest netip.Addr
		var tags []uint16
		for _, l := range decoded.Layers() {
			switch l := l.(type) {
			case *layers.Dot1Q:
				tags = append(tags, l.VLANIdentifier)
			case *layers.IPv4:
				src, _ = netip.AddrFromSlice(l.SrcIP)
				dest, _ = netip.AddrFromSlice(l.DstIP)
			case *layers.IPv6:
				src, _ = netip.AddrFromSlice(l.SrcIP)
				dest, _ = netip.AddrFromSlice(l.DstIP)
			case *layers.TCP:
				usable := src.IsValid() && src.Is6() == six && !src.IsUnspecified() && !dest.IsUnspecified() && !src.Is4In6() && !dest.Is4In6()
				if usable && len(tags) < 3 && l.SrcPort > 0 && l.DstPort > 0 {
					c.There, c.Here = netip.AddrPortFrom(src, uint16(l.SrcPort)), netip.AddrPortFrom(dest, uint16(l.DstPort))
					c.Link.Tags = [][]uint16{tags}
					return c
				}
			}
		}
	}
	return c
}

// packetOf is a random packet of a connection, or one that finds its next hop.
func packetOf(t *testing.T, r *rand.Rand, c guard.Connection, leaves bool) []byte {
	t.Helper()
	from, to := c.There, c.Here
	eth := &layers.Ethernet{SrcMAC: c.Link.From, DstMAC: c.Link.Own}
	hop, own := c.Link.NextHop, c.Here.Addr()
	if leaves {
		from, to, hop, own = to, from, own, hop
		eth.SrcMAC, eth.DstMAC = c.Link.Own, c.Link.Hop
	}
	var stack []gopacket.SerializableLayer
	find := r.IntN(4) == 0
	var inner layers.EthernetType
	switch {
	case find && own.Is4():
		inner = layers.EthernetTypeARP
		stack = append(stack, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: uint16(1 + r.IntN(2)),
			SourceHwAddress: eth.SrcMAC, DstHwAddress: eth.DstMAC, SourceProtAddress: hop.AsSlice(), DstProtAddress: own.AsSlice(),
		})
	case find:
		inner = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, TrafficClass: uint8(r.Uint32()), HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: hop.AsSlice(), DstIP: own.AsSlice()}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(uint8(133+r.IntN(4)), 0)}
		_ = icmp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip, icmp, gopacket.Payload(make([]byte, 20)))
	default:
		tcp := &layers.TCP{
			SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: r.Uint32(), Ack: r.Uint32(), Window: uint16(r.Uint32()),
			ACK: r.IntN(4) > 0, PSH: r.IntN(2) == 0, FIN: r.IntN(8) == 0, RST: r.IntN(8) == 0, ECE: r.IntN(8) == 0, CWR: r.IntN(8) == 0, URG: r.IntN(8) == 0,
		}
		if from.Addr().Is4() {
			inner = layers.EthernetTypeIPv4
			ip := &layers.IPv4{
				Version: 4, TOS: uint8(r.Uint32()), Id: uint16(r.Uint32()), TTL: uint8(r.Uint32()), Protocol: layers.IPProtocolTCP,
				Flags: layers.IPv4Flag(2 * r.IntN(2)), SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
			}
			_ = tcp.SetNetworkLayerForChecksum(ip)
			stack = append(stack, ip)
		} else {
			inner = layers.EthernetTypeIPv6
			ip := &layers.IPv6{
				Version: 6, TrafficClass: uint8(r.Uint32()), FlowLabel: r.Uint32() >> 12, HopLimit: uint8(r.Uint32()), NextHeader: layers.IPProtocolTCP,
				SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice(),
			}
			_ = tcp.SetNetworkLayerForChecksum(ip)
			stack = append(stack, ip)
		}
		stack = append(stack, tcp, gopacket.Payload(make([]byte, r.IntN(200))))
	}
	return serialized(t, eth, c.Link.Tags[0], inner, stack)
}

// serialized puts Ethernet and tags before the rest.
func serialized(t *testing.T, eth *layers.Ethernet, tags []uint16, inner layers.EthernetType, stack []gopacket.SerializableLayer) []byte {
	t.Helper()
	all := []gopacket.SerializableLayer{eth}
	types := &eth.EthernetType
	for _, id := range tags {
		tag := &layers.Dot1Q{VLANIdentifier: id}
		*types, types = layers.EthernetTypeDot1Q, &tag.Type
		all = append(all, tag)
	}
	*types = inner
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, append(all, stack...)...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// whatHurts says what a connection may not survive of what has become of a packet of it, or "".
func whatHurts(in []byte, out reference.Result) string {
	if out.Verdict != rule.Pass {
		return out.Verdict.String()
	}
	a, b := bytes.Clone(in), bytes.Clone(out.Frame)
	at := 12
	for binary.BigEndian.Uint16(a[at:]) == 0x8100 {
		at += 4
	}
	kind := binary.BigEndian.Uint16(a[at:])
	for _, frame := range [][]byte{a, b} {
		ip := frame[at+2:]
		switch kind {
		case 0x0800:
			ip[1], ip[10], ip[11] = 0, 0, 0 // DSCP and ECN; the checksum
			if in[at+2+6]&0x40 != 0 {
				ip[6] &^= 0x40 // DF may go, and not come
			}
		case 0x86dd:
			ip[0], ip[1], ip[2], ip[3] = ip[0]&0xf0, 0, 0, 0 // DSCP, ECN, flow label
		}
	}
	ttl := map[uint16]int{0x0800: at + 2 + 8, 0x86dd: at + 2 + 7}[kind]
	discovery := kind == 0x86dd && a[at+2+6] == 58
	if ttl > 0 && b[ttl] >= 32 && !discovery {
		a[ttl] = b[ttl]
	}
	if !bytes.Equal(a, b) {
		return "change"
	}
	return ""
}
