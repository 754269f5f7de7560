package live

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	leftMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	rightMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// packet is a frame in the outside library's terms. One of tcp, udp and icmp
// is set.
type packet struct {
	ip      layers.IPv4
	tcp     *layers.TCP
	udp     *layers.UDP
	icmp    *layers.ICMPv4
	payload []byte
	// reserved are the TCP header's three reserved bits, which the library
	// cannot write.
	reserved byte
	// stale keeps the checksums that the layers hold.
	staleIP, staleL4 bool
}

// newPacket is a well-formed packet with an odd number of payload bytes; no
// field of it has a value that reads the same backwards.
func newPacket(protocol string) *packet {
	p := &packet{
		ip: layers.IPv4{
			Version: 4, TOS: 0x1b, Id: 0x1234, Flags: layers.IPv4DontFragment, TTL: 64,
			SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2},
		},
		payload: []byte("what is not asked for stays as it is!"),
	}
	switch protocol {
	case "tcp":
		p.tcp = &layers.TCP{
			SrcPort: 40001, DstPort: 5201, Seq: 0x01020304, Ack: 0x05060708,
			ACK: true, PSH: true, Window: 0x1f40, Urgent: 0x0102,
		}
		p.ip.Protocol = layers.IPProtocolTCP
	case "udp":
		p.udp = &layers.UDP{SrcPort: 40001, DstPort: 5201}
		p.ip.Protocol = layers.IPProtocolUDP
	case "icmp":
		p.icmp = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 0x1122, Seq: 0x3344}
		p.ip.Protocol = layers.IPProtocolICMPv4
	}
	p.finish()
	return p
}

// finish lets the library fill in lengths and checksums.
func (p *packet) finish() {
	p.serialize(gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true})
}

func (p *packet) serialize(o gopacket.SerializeOptions) []byte {
	eth := &layers.Ethernet{SrcMAC: leftMAC, DstMAC: rightMAC, EthernetType: layers.EthernetTypeIPv4}
	stack := []gopacket.SerializableLayer{eth, &p.ip}
	switch {
	case p.tcp != nil:
		must(p.tcp.SetNetworkLayerForChecksum(&p.ip))
		stack = append(stack, p.tcp)
	case p.udp != nil:
		must(p.udp.SetNetworkLayerForChecksum(&p.ip))
		stack = append(stack, p.udp)
	case p.icmp != nil:
		stack = append(stack, p.icmp)
	}
	stack = append(stack, gopacket.Payload(p.payload))
	buf := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(buf, o, stack...))
	return buf.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// frame is the packet's bytes with lengths and header sizes as the layers hold
// them, and checksums made for what is there unless they are to stay.
func (p *packet) frame() []byte {
	f := p.serialize(gopacket.SerializeOptions{})
	ip := f[14:]
	l4 := ip[20+len(p.ip.Options):]
	if len(p.ip.Options) > 0 {
		l4 = ip[4*int(p.ip.IHL):]
	}
	if p.tcp != nil {
		l4[12] = l4[12]&^0x0e | p.reserved<<1
	}
	if !p.staleIP {
		putSum(ip, 10, sumOf(ip[:len(ip)-len(l4)]))
	}
	if !p.staleL4 {
		p.sumL4(l4)
	}
	return f
}

// sumL4 makes the layer-4 checksum as RFC 768, 792 and 9293 have it, with the
// lengths and the protocol that the headers claim.
func (p *packet) sumL4(l4 []byte) {
	switch {
	case p.tcp != nil:
		putSum(l4, 16, sumOf(l4)+p.pseudo(uint32(p.ip.Length)-4*uint32(p.ip.IHL)))
	case p.udp != nil && p.udp.Checksum != 0:
		putSum(l4, 6, sumOf(l4)+p.pseudo(uint32(p.udp.Length)))
	case p.icmp != nil:
		putSum(l4, 2, sumOf(l4))
	}
}

func (p *packet) pseudo(length uint32) uint32 {
	return sumOf(p.ip.SrcIP.To4()) + sumOf(p.ip.DstIP.To4()) + uint32(p.ip.Protocol) + length&0xffff
}

// sumOf adds up 16-bit words (RFC 1071), an odd last byte padded with zero.
func sumOf(b []byte) uint32 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	return sum
}

// putSum writes the checksum at off, given the sum of all bytes, the old
// checksum included.
func putSum(b []byte, off int, sum uint32) {
	sum += 0xffff ^ uint32(binary.BigEndian.Uint16(b[off:])) // less the old one
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[off:], ^uint16(sum))
}

// TestBuilderAgreesWithLibrary holds the few checksum lines of this file, which
// packets that lie about their lengths need, to the library's own.
func TestBuilderAgreesWithLibrary(t *testing.T) {
	for _, protocol := range []string{"tcp", "udp", "icmp"} {
		p := newPacket(protocol)
		want := p.serialize(gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true})
		if got := p.frame(); fmt.Sprintf("%x", got) != fmt.Sprintf("%x", want) {
			t.Errorf("%s\nwant %x\ngot  %x", protocol, want, got)
		}
	}
}
