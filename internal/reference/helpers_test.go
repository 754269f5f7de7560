package reference_test

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// packet is a frame as the outside library sees it; nil layers are left out.
type packet struct {
	eth     *layers.Ethernet // nil: the usual one
	tags    []layers.EthernetType
	dot1q   []*layers.Dot1Q // beside tags; nil: the usual ones
	arp     *layers.ARP
	ip      *layers.IPv4
	ip6     *layers.IPv6
	between []byte // extension headers, as bytes
	tcp     *layers.TCP
	udp     *layers.UDP
	icmp    *layers.ICMPv4
	icmp6   *layers.ICMPv6
	payload []byte
}

func tcpPacket() *packet {
	return &packet{
		ip: ipHeader(layers.IPProtocolTCP),
		tcp: &layers.TCP{
			SrcPort: 40000, DstPort: 443, Seq: 0x01020304, Ack: 0xa0b0c0d0,
			ACK: true, PSH: true, Window: 0x7210, Urgent: 0,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}},
		},
		payload: []byte("a payload of odd length"),
	}
}

func udpPacket() *packet {
	return &packet{
		ip:      ipHeader(layers.IPProtocolUDP),
		udp:     &layers.UDP{SrcPort: 1000, DstPort: 443},
		payload: []byte("a payload of odd length"),
	}
}

func icmpPacket() *packet {
	return &packet{
		ip:      ipHeader(layers.IPProtocolICMPv4),
		icmp:    &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 0x1234, Seq: 7},
		payload: []byte("a payload of odd length"),
	}
}

func ipHeader(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TOS: 0x28, Id: 0xbeef, Flags: layers.IPv4DontFragment, TTL: 61, Protocol: proto,
		SrcIP: net.IPv4(192, 0, 2, 1).To4(), DstIP: net.IPv4(198, 51, 100, 77).To4(),
	}
}

func arpPacket() *packet {
	return &packet{arp: &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: []byte{2, 0, 0, 0, 0, 1}, SourceProtAddress: []byte{192, 0, 2, 1},
		DstHwAddress: []byte{2, 0, 0, 0, 0, 9}, DstProtAddress: []byte{192, 0, 2, 2},
	}}
}

// over6 puts p over IPv6.
func over6(p *packet) *packet {
	numbers := map[bool]layers.IPProtocol{p.tcp != nil: layers.IPProtocolTCP, p.udp != nil: layers.IPProtocolUDP, p.icmp6 != nil: layers.IPProtocolICMPv6}
	p.ip = nil
	p.ip6 = &layers.IPv6{
		Version: 6, TrafficClass: 0x29, FlowLabel: 0xabcde, HopLimit: 61, NextHeader: numbers[true],
		SrcIP: net.ParseIP("2001:db8::1:2"), DstIP: net.ParseIP("2001:db8:ffff:1::77"),
	}
	return p
}

func icmp6Packet() *packet {
	return over6(&packet{
		icmp6:   &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)},
		payload: []byte("1234a payload of odd length"),
	})
}

// behind puts extension headers between IPv6 and what follows; each one's
// first byte is filled in: first is the number of the first.
func (p *packet) behind(first byte, extensions ...[]byte) *packet {
	next := byte(p.ip6.NextHeader)
	for i := len(extensions) - 1; i >= 0; i-- {
		e := append([]byte(nil), extensions[i]...)
		e[0], next = next, e[0]
		p.between = append(e, p.between...)
	}
	p.ip6.NextHeader = layers.IPProtocol(first)
	return p
}

// build serializes p; right lengths and checksums unless asked otherwise.
func (p *packet) build(t testing.TB, opts ...gopacket.SerializeOptions) []byte {
	t.Helper()
	opt := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if len(opts) > 0 {
		opt = opts[0]
	}
	chain := append(p.link(), p.network()...)
	chain = append(chain, p.transport(t)...)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, opt, append(chain, gopacket.Payload(p.payload))...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// ethernet is the Ethernet header of p, and tag its i-th tag.
func (p *packet) ethernet() *layers.Ethernet {
	if p.eth == nil {
		p.eth = &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}}
		p.eth.EthernetType = append(p.tags, p.etherType())[0]
	}
	return p.eth
}

func (p *packet) tag(i int) *layers.Dot1Q {
	for n := len(p.dot1q); n < len(p.tags); n++ {
		p.dot1q = append(p.dot1q, &layers.Dot1Q{VLANIdentifier: uint16(100 + n), Type: append(p.tags, p.etherType())[n+1]})
	}
	return p.dot1q[i]
}

func (p *packet) etherType() layers.EthernetType {
	switch {
	case p.arp != nil:
		return layers.EthernetTypeARP
	case p.ip6 != nil:
		return layers.EthernetTypeIPv6
	}
	return layers.EthernetTypeIPv4
}

func (p *packet) link() []gopacket.SerializableLayer {
	chain := []gopacket.SerializableLayer{p.ethernet()}
	for i := range p.tags {
		chain = append(chain, p.tag(i))
	}
	return chain
}

func (p *packet) network() []gopacket.SerializableLayer {
	switch {
	case p.arp != nil:
		return []gopacket.SerializableLayer{p.arp}
	case p.ip6 != nil:
		return []gopacket.SerializableLayer{p.ip6, gopacket.Payload(p.between)}
	}
	return []gopacket.SerializableLayer{p.ip}
}

func (p *packet) transport(t testing.TB) []gopacket.SerializableLayer {
	t.Helper()
	var below gopacket.NetworkLayer = p.ip
	if p.ip6 != nil {
		below = p.ip6
	}
	var top interface {
		gopacket.SerializableLayer
		SetNetworkLayerForChecksum(l gopacket.NetworkLayer) error
	}
	switch {
	case p.tcp != nil:
		top = p.tcp
	case p.udp != nil:
		top = p.udp
	case p.icmp6 != nil:
		top = p.icmp6
	case p.icmp != nil:
		return []gopacket.SerializableLayer{p.icmp}
	default:
		return nil
	}
	if err := top.SetNetworkLayerForChecksum(below); err != nil {
		t.Fatal(err)
	}
	return []gopacket.SerializableLayer{top}
}

// is tests a field for one value.
func is(name string, v uint64) rule.Test {
	return rule.Test{Field: field.MustByName(name), In: field.One(field.V(v))}
}

// set is an action that gives a field a value.
func set(name string, v uint64) rule.Action {
	return rule.Action{Field: field.MustByName(name), Op: operand.Set, Value: field.V(v)}
}

// sum is an action on a checksum: fix or bad.
func sum(name string, op operand.Op) rule.Action {
	return rule.Action{Field: field.MustByName(name), Op: op}
}

// only is a program of one rule.
func only(cond rule.Expr, actions ...rule.Action) *rule.Program {
	return program(&rule.Rule{Cond: cond, Actions: actions})
}

func program(rules ...*rule.Rule) *rule.Program {
	return &rule.Program{Rules: rules, Written: make([]rule.Written, len(rules))}
}

// always runs actions on frame and wants a rule to act.
func always(t *testing.T, frame []byte, actions ...rule.Action) []byte {
	t.Helper()
	res := reference.Run(only(rule.All{}, actions...), frame)
	if !res.Rewritten {
		t.Fatalf("no rule acted on %x", frame)
	}
	return res.Frame
}

// at is the place of a header's byte in an untagged frame with no IP options.
func at(proto field.Protocol, offset int) int {
	switch proto {
	case field.IP:
		return 14 + offset
	case field.TCP, field.UDP, field.ICMP:
		return 34 + offset
	}
	return offset
}

func get16(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }

func put16(b []byte, at int, v uint16) { binary.BigEndian.PutUint16(b[at:], v) }
