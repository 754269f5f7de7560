package live

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	leftMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	rightMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// packet is a frame in the outside library's terms. One of tcp, udp, icmp,
// icmp6 and arp is set.
type packet struct {
	eth   layers.Ethernet
	tags  []*layers.Dot1Q
	arp   *layers.ARP
	ip    layers.IPv4
	ip6   *layers.IPv6 // in the place of ip
	ext   []byte       // extension headers of IPv6
	tcp   *layers.TCP
	udp   *layers.UDP
	icmp  *layers.ICMPv4
	icmp6 *layers.ICMPv6

	payload []byte
	// reserved are the TCP header's three reserved bits, which the library
	// cannot write.
	reserved byte
	// stale keeps the checksums that the layers hold.
	staleIP, staleL4 bool
}

// newPacket is a well-formed packet with an odd number of payload bytes; no
// field of it has a value that reads the same backwards. The kind is a
// protocol's word; one that ends in 6 is over IPv6, and mss is TCP with the
// option.
func newPacket(kind string) *packet {
	p := &packet{
		eth:     layers.Ethernet{SrcMAC: leftMAC, DstMAC: rightMAC, EthernetType: layers.EthernetTypeIPv4},
		payload: []byte("what is not asked for stays as it is!"),
	}
	over, six := cutSuffix(kind)
	p.network(six)
	switch over {
	case "tcp", "mss":
		p.tcp = &layers.TCP{
			SrcPort: 40001, DstPort: 5201, Seq: 0x01020304, Ack: 0x05060708,
			ACK: true, PSH: true, Window: 0x1f40, Urgent: 0x0102,
		}
		if over == "mss" {
			p.tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{0x05, 0xb4}}}
		}
		p.protocol(layers.IPProtocolTCP)
	case "udp":
		p.udp = &layers.UDP{SrcPort: 40001, DstPort: 5201}
		p.protocol(layers.IPProtocolUDP)
	case "icmp":
		p.echo(six)
	case "arp":
		p.eth.EthernetType = layers.EthernetTypeARP
		p.arp = &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, Operation: 1,
			SourceHwAddress: leftMAC, SourceProtAddress: []byte{192, 0, 2, 1},
			DstHwAddress: make([]byte, 6), DstProtAddress: []byte{192, 0, 2, 99},
		}
	}
	p.finish()
	return p
}

func cutSuffix(kind string) (string, bool) {
	last := len(kind) - 1
	if kind[last] == '6' {
		return kind[:last], true
	}
	return kind, false
}

func (p *packet) network(six bool) {
	if six {
		p.eth.EthernetType = layers.EthernetTypeIPv6
		p.ip6 = &layers.IPv6{
			Version: 6, TrafficClass: 0x1b, FlowLabel: 0x12345, HopLimit: 64,
			SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2"),
		}
		return
	}
	p.ip = layers.IPv4{
		Version: 4, TOS: 0x1b, Id: 0x1234, Flags: layers.IPv4DontFragment, TTL: 64,
		SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2},
	}
}

func (p *packet) protocol(n layers.IPProtocol) {
	if p.ip6 != nil {
		p.ip6.NextHeader = n
		return
	}
	p.ip.Protocol = n
}

func (p *packet) echo(six bool) {
	if six {
		p.icmp6 = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
		p.payload = append([]byte{0x11, 0x22, 0x33, 0x44}, p.payload...)
		p.protocol(layers.IPProtocolICMPv6)
		return
	}
	p.icmp = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 0x1122, Seq: 0x3344}
	p.protocol(layers.IPProtocolICMPv4)
}

// tag puts tags in front of what is there: the outer one first.
func (p *packet) tag(types ...layers.EthernetType) *packet {
	inner := p.eth.EthernetType
	for i, t := range types {
		tag := &layers.Dot1Q{Priority: 5, VLANIdentifier: uint16(100 + 50*i), Type: inner}
		p.tags = append(p.tags, tag)
		if i > 0 {
			p.tags[i-1].Type = t
		}
	}
	p.eth.EthernetType = types[0]
	return p
}

// extend puts extension headers, whose first is next, behind the IPv6 header.
func (p *packet) extend(next layers.IPProtocol, headers ...byte) *packet {
	p.ip6.NextHeader, p.ext = next, headers
	p.ip6.Length += uint16(len(headers))
	return p
}

// finish lets the library fill in lengths and checksums.
func (p *packet) finish() {
	p.serialize(gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true})
}

func (p *packet) serialize(o gopacket.SerializeOptions) []byte {
	stack := []gopacket.SerializableLayer{&p.eth}
	for _, tag := range p.tags {
		stack = append(stack, tag)
	}
	var network interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	} = &p.ip
	if p.ip6 != nil {
		network = p.ip6
	}
	switch {
	case p.arp != nil:
		stack = append(stack, p.arp)
	default:
		stack = append(stack, network, gopacket.Payload(p.ext))
	}
	switch {
	case p.tcp != nil:
		must(p.tcp.SetNetworkLayerForChecksum(network))
		stack = append(stack, p.tcp)
	case p.udp != nil:
		must(p.udp.SetNetworkLayerForChecksum(network))
		stack = append(stack, p.udp)
	case p.icmp != nil:
		stack = append(stack, p.icmp)
	case p.icmp6 != nil:
		must(p.icmp6.SetNetworkLayerForChecksum(network))
		stack = append(stack, p.icmp6)
	}
	stack = append(stack, gopacket.Payload(p.payload))
	buf := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(buf, o, stack...))
	return bytes.Clone(buf.Bytes())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// l3 and l4 are where the headers begin in the frame.
func (p *packet) l3() int { return 14 + 4*len(p.tags) }

func (p *packet) l4() int {
	switch {
	case p.ip6 != nil:
		return p.l3() + 40 + len(p.ext)
	case len(p.ip.Options) > 0:
		return p.l3() + 4*int(p.ip.IHL)
	}
	return p.l3() + 20
}

// frame is the packet's bytes with lengths and header sizes as the layers hold
// them, and checksums made for what is there unless they are to stay.
func (p *packet) frame() []byte {
	f := p.serialize(gopacket.SerializeOptions{})
	if p.arp != nil {
		return f
	}
	l4 := f[p.l4():]
	if p.tcp != nil {
		l4[12] = l4[12]&^0x0e | p.reserved<<1
	}
	if p.ip6 == nil && !p.staleIP {
		putSum(f[p.l3():], 10, sumOf(f[p.l3():p.l4()]))
	}
	if !p.staleL4 {
		p.sumL4(l4)
	}
	return f
}

// sumL4 makes the layer-4 checksum as RFC 768, 792, 4443 and 9293 have it, with
// the lengths and the protocol that the headers claim.
func (p *packet) sumL4(l4 []byte) {
	length := uint32(p.ip.Length) - 4*uint32(p.ip.IHL)
	if p.ip6 != nil {
		length = uint32(p.ip6.Length) - uint32(len(p.ext))
	}
	switch {
	case p.tcp != nil:
		putSum(l4, 16, sumOf(l4)+p.pseudo(length))
	case p.udp != nil && p.udp.Checksum != 0:
		putSum(l4, 6, sumOf(l4)+p.pseudo(uint32(p.udp.Length)))
		if l4[6] == 0 && l4[7] == 0 {
			l4[6], l4[7] = 0xff, 0xff
		}
	case p.icmp != nil:
		putSum(l4, 2, sumOf(l4))
	case p.icmp6 != nil:
		putSum(l4, 2, sumOf(l4)+p.pseudo(length))
	}
}

func (p *packet) pseudo(length uint32) uint32 {
	if p.ip6 == nil {
		return sumOf(p.ip.SrcIP.To4()) + sumOf(p.ip.DstIP.To4()) + uint32(p.ip.Protocol) + length&0xffff
	}
	next := p.ip6.NextHeader
	if len(p.ext) > 0 {
		next = p.upper()
	}
	return sumOf(p.ip6.SrcIP.To16()) + sumOf(p.ip6.DstIP.To16()) + uint32(next) + length&0xffff
}

// upper is the protocol of the layer-4 header.
func (p *packet) upper() layers.IPProtocol {
	switch {
	case p.tcp != nil:
		return layers.IPProtocolTCP
	case p.udp != nil:
		return layers.IPProtocolUDP
	}
	return layers.IPProtocolICMPv6
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
	for _, kind := range []string{"tcp", "udp", "icmp", "mss", "tcp6", "udp6", "icmp6", "mss6"} {
		for _, tags := range [][]layers.EthernetType{nil, {layers.EthernetTypeDot1Q}, {layers.EthernetTypeQinQ, layers.EthernetTypeDot1Q}} {
			p := newPacket(kind)
			if tags != nil {
				p.tag(tags...)
			}
			want := p.serialize(gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true})
			got := p.frame()
			if !bytes.Equal(got, want) {
				t.Errorf("%s\nwant %x\ngot  %x", kind, want, got)
			}
			if wrong := wrongSums(got); wrong != "" {
				t.Errorf("%s: the library finds %s wrong in %x", kind, wrong, got)
			}
		}
	}
}

// wrongSums names the layers whose checksums the outside library finds wrong in
// a frame, or is "".
func wrongSums(frame []byte) string {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	wrong := ""
	for _, layer := range p.Layers() {
		if l, ok := layer.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			must(l.SetNetworkLayerForChecksum(p.NetworkLayer()))
		}
		l, ok := layer.(gopacket.LayerWithChecksum)
		if !ok {
			continue
		}
		if err, sum := l.VerifyChecksum(); err != nil || !sum.Valid {
			wrong += layer.LayerType().String()
		}
	}
	return wrong
}
