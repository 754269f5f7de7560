package reference_test

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// packet is a frame as the outside library sees it; nil layers are left out.
type packet struct {
	tags    []layers.EthernetType
	ip      *layers.IPv4
	tcp     *layers.TCP
	udp     *layers.UDP
	icmp    *layers.ICMPv4
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

// build serializes p; right lengths and checksums unless asked otherwise.
func (p *packet) build(t testing.TB, opts ...gopacket.SerializeOptions) []byte {
	t.Helper()
	opt := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if len(opts) > 0 {
		opt = opts[0]
	}
	eth := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		EthernetType: layers.EthernetTypeIPv4,
	}
	chain := []gopacket.SerializableLayer{eth}
	for i, tag := range p.tags {
		q := &layers.Dot1Q{VLANIdentifier: uint16(100 + i), Type: layers.EthernetTypeIPv4}
		if i == 0 {
			eth.EthernetType = tag
		} else {
			chain[i].(*layers.Dot1Q).Type = tag
		}
		chain = append(chain, q)
	}
	chain = append(chain, p.ip)
	chain = append(chain, p.transport(t)...)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, opt, append(chain, gopacket.Payload(p.payload))...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (p *packet) transport(t testing.TB) []gopacket.SerializableLayer {
	t.Helper()
	switch {
	case p.tcp != nil:
		if err := p.tcp.SetNetworkLayerForChecksum(p.ip); err != nil {
			t.Fatal(err)
		}
		return []gopacket.SerializableLayer{p.tcp}
	case p.udp != nil:
		if err := p.udp.SetNetworkLayerForChecksum(p.ip); err != nil {
			t.Fatal(err)
		}
		return []gopacket.SerializableLayer{p.udp}
	case p.icmp != nil:
		return []gopacket.SerializableLayer{p.icmp}
	}
	return nil
}

// is tests a field for one value.
func is(name string, v uint64) rule.Test {
	return rule.Test{Field: field.MustByName(name), In: field.One(field.V(v))}
}

// set is an action that gives a field a value.
func set(name string, v uint64) rule.Action {
	return rule.Action{Field: field.MustByName(name), Op: rule.Set, Value: field.V(v)}
}

// sum is an action on a checksum: fix or bad.
func sum(name string, op rule.Op) rule.Action {
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
