package reference_test

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// outside says how the outside library writes each field. Two kinds are not
// here: TCP's reserved bits, which it cannot write, and the checksums.
var outside = map[string]func(p *packet, v uint64){
	"ip_ver":      func(p *packet, v uint64) { p.ip.Version = uint8(v) },
	"ip_hl":       func(p *packet, v uint64) { p.ip.IHL = uint8(v) },
	"ip_tos":      func(p *packet, v uint64) { p.ip.TOS = uint8(v) },
	"ip_dscp":     func(p *packet, v uint64) { p.ip.TOS = p.ip.TOS&3 | uint8(v)<<2 },
	"ip_ecn":      func(p *packet, v uint64) { p.ip.TOS = p.ip.TOS&^3 | uint8(v) },
	"ip_tot_len":  func(p *packet, v uint64) { p.ip.Length = uint16(v) },
	"ip_id":       func(p *packet, v uint64) { p.ip.Id = uint16(v) },
	"ip_flags":    func(p *packet, v uint64) { p.ip.Flags = layers.IPv4Flag(v) },
	"ip_flag_res": func(p *packet, v uint64) { p.ip.Flags = p.ip.Flags&^4 | layers.IPv4Flag(v)<<2 },
	"ip_flag_df":  func(p *packet, v uint64) { p.ip.Flags = p.ip.Flags&^2 | layers.IPv4Flag(v)<<1 },
	"ip_flag_mf":  func(p *packet, v uint64) { p.ip.Flags = p.ip.Flags&^1 | layers.IPv4Flag(v) },
	"ip_offset":   func(p *packet, v uint64) { p.ip.FragOffset = uint16(v) },
	"ip_ttl":      func(p *packet, v uint64) { p.ip.TTL = uint8(v) },
	"ip_protocol": func(p *packet, v uint64) { p.ip.Protocol = layers.IPProtocol(v) },
	"ip_src":      func(p *packet, v uint64) { p.ip.SrcIP = address(v) },
	"ip_dest":     func(p *packet, v uint64) { p.ip.DstIP = address(v) },
	"tcp_src":     func(p *packet, v uint64) { p.tcp.SrcPort = layers.TCPPort(v) },
	"tcp_dest":    func(p *packet, v uint64) { p.tcp.DstPort = layers.TCPPort(v) },
	"tcp_seq":     func(p *packet, v uint64) { p.tcp.Seq = uint32(v) },
	"tcp_ack_seq": func(p *packet, v uint64) { p.tcp.Ack = uint32(v) },
	"tcp_hlen":    func(p *packet, v uint64) { p.tcp.DataOffset = uint8(v) },
	"tcp_nonce":   func(p *packet, v uint64) { p.tcp.NS = v == 1 },
	"tcp_cwr":     func(p *packet, v uint64) { p.tcp.CWR = v == 1 },
	"tcp_ece":     func(p *packet, v uint64) { p.tcp.ECE = v == 1 },
	"tcp_urg":     func(p *packet, v uint64) { p.tcp.URG = v == 1 },
	"tcp_ack":     func(p *packet, v uint64) { p.tcp.ACK = v == 1 },
	"tcp_psh":     func(p *packet, v uint64) { p.tcp.PSH = v == 1 },
	"tcp_rst":     func(p *packet, v uint64) { p.tcp.RST = v == 1 },
	"tcp_syn":     func(p *packet, v uint64) { p.tcp.SYN = v == 1 },
	"tcp_fin":     func(p *packet, v uint64) { p.tcp.FIN = v == 1 },
	"tcp_window":  func(p *packet, v uint64) { p.tcp.Window = uint16(v) },
	"tcp_urg_ptr": func(p *packet, v uint64) { p.tcp.Urgent = uint16(v) },
	"udp_src":     func(p *packet, v uint64) { p.udp.SrcPort = layers.UDPPort(v) },
	"udp_dest":    func(p *packet, v uint64) { p.udp.DstPort = layers.UDPPort(v) },
	"udp_len":     func(p *packet, v uint64) { p.udp.Length = uint16(v) },
	"icmp_type": func(p *packet, v uint64) {
		p.icmp.TypeCode = layers.CreateICMPv4TypeCode(uint8(v), p.icmp.TypeCode.Code())
	},
	"icmp_code": func(p *packet, v uint64) {
		p.icmp.TypeCode = layers.CreateICMPv4TypeCode(p.icmp.TypeCode.Type(), uint8(v))
	},
	"icmp_id":  func(p *packet, v uint64) { p.icmp.Id = uint16(v) },
	"icmp_seq": func(p *packet, v uint64) { p.icmp.Seq = uint16(v) },

	"eth_dest":   func(p *packet, v uint64) { p.ethernet().DstMAC = mac(v) },
	"eth_src":    func(p *packet, v uint64) { p.ethernet().SrcMAC = mac(v) },
	"eth_type":   func(p *packet, v uint64) { p.ethernet().EthernetType = layers.EthernetType(v) },
	"vlan_pcp":   func(p *packet, v uint64) { p.tag(0).Priority = uint8(v) },
	"vlan_dei":   func(p *packet, v uint64) { p.tag(0).DropEligible = v == 1 },
	"vlan_id":    func(p *packet, v uint64) { p.tag(0).VLANIdentifier = uint16(v) },
	"vlan_type":  func(p *packet, v uint64) { p.tag(0).Type = layers.EthernetType(v) },
	"cvlan_pcp":  func(p *packet, v uint64) { p.tag(1).Priority = uint8(v) },
	"cvlan_dei":  func(p *packet, v uint64) { p.tag(1).DropEligible = v == 1 },
	"cvlan_id":   func(p *packet, v uint64) { p.tag(1).VLANIdentifier = uint16(v) },
	"cvlan_type": func(p *packet, v uint64) { p.tag(1).Type = layers.EthernetType(v) },
	"arp_op":     func(p *packet, v uint64) { p.arp.Operation = uint16(v) },
	"arp_sha":    func(p *packet, v uint64) { p.arp.SourceHwAddress = mac(v) },
	"arp_spa":    func(p *packet, v uint64) { p.arp.SourceProtAddress = address(v) },
	"arp_tha":    func(p *packet, v uint64) { p.arp.DstHwAddress = mac(v) },
	"arp_tpa":    func(p *packet, v uint64) { p.arp.DstProtAddress = address(v) },
	"ip6_dscp":   func(p *packet, v uint64) { p.ip6.TrafficClass = p.ip6.TrafficClass&3 | uint8(v)<<2 },
	"ip6_ecn":    func(p *packet, v uint64) { p.ip6.TrafficClass = p.ip6.TrafficClass&^3 | uint8(v) },
	"ip6_flow":   func(p *packet, v uint64) { p.ip6.FlowLabel = uint32(v) },
	"ip6_len":    func(p *packet, v uint64) { p.ip6.Length = uint16(v) },
	"ip6_next":   func(p *packet, v uint64) { p.ip6.NextHeader = layers.IPProtocol(v) },
	"ip6_hlim":   func(p *packet, v uint64) { p.ip6.HopLimit = uint8(v) },
	"ip6_src":    func(p *packet, v uint64) { p.ip6.SrcIP = address6(v) },
	"ip6_dest":   func(p *packet, v uint64) { p.ip6.DstIP = address6(v) },
	"tcp_flags":  setFlags,
	"tcp_mss":    func(p *packet, v uint64) { p.tcp.Options[0].OptionData = []byte{byte(v >> 8), byte(v)} },
	"icmp6_type": func(p *packet, v uint64) {
		p.icmp6.TypeCode = layers.CreateICMPv6TypeCode(uint8(v), p.icmp6.TypeCode.Code())
	},
	"icmp6_code": func(p *packet, v uint64) {
		p.icmp6.TypeCode = layers.CreateICMPv6TypeCode(p.icmp6.TypeCode.Type(), uint8(v))
	},
}

func mac(v uint64) net.HardwareAddr { return binary.BigEndian.AppendUint64(nil, v)[2:] }

// wide is the value of a field of 128 bits that stands for v in these tests.
func wide(v uint64) field.Value {
	return field.Value{Hi: v ^ 0x20010db8<<32, Lo: v * 0x9e3779b97f4a7c15}
}

func address6(v uint64) net.IP {
	w := wide(v)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, w.Hi), w.Lo)
}

func setFlags(p *packet, v uint64) {
	for i, f := range []*bool{&p.tcp.FIN, &p.tcp.SYN, &p.tcp.RST, &p.tcp.PSH, &p.tcp.ACK, &p.tcp.URG, &p.tcp.ECE, &p.tcp.CWR} {
		*f = v>>i&1 == 1
	}
}

func address(v uint64) net.IP { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// The library's pseudo-header takes protocol and length from what it builds,
// not from the fields, so for these fields the sum is worked out below.
var pseudoOnly = map[string]bool{
	"ip_hl": true, "ip_tot_len": true, "ip_protocol": true, "udp_len": true, "ip6_len": true, "ip6_next": true,
}

// kinds are packets and the headers that are in them.
var kinds = map[string]struct {
	make func() *packet
	has  []field.Protocol
}{
	"tcp":   {tcpPacket, []field.Protocol{field.Eth, field.IP, field.TCP, field.MSS}},
	"udp":   {udpPacket, []field.Protocol{field.Eth, field.IP, field.UDP}},
	"icmp":  {icmpPacket, []field.Protocol{field.Eth, field.IP, field.ICMP}},
	"tcp6":  {func() *packet { return over6(tcpPacket()) }, []field.Protocol{field.Eth, field.IP6, field.TCP, field.MSS}},
	"udp6":  {func() *packet { return over6(udpPacket()) }, []field.Protocol{field.Eth, field.IP6, field.UDP}},
	"icmp6": {icmp6Packet, []field.Protocol{field.Eth, field.IP6, field.ICMP6}},
	"arp":   {arpPacket, []field.Protocol{field.Eth, field.ARP}},
	"nothing over ip6": {func() *packet {
		p := over6(&packet{payload: []byte("a payload of odd length")})
		p.ip6.NextHeader = layers.IPProtocolNoNextHeader
		return p
	}, []field.Protocol{field.Eth, field.IP6}},
	"tagged tcp6": {func() *packet {
		p := over6(tcpPacket())
		p.tags = []layers.EthernetType{layers.EthernetTypeQinQ, layers.EthernetTypeDot1Q}
		return p
	}, []field.Protocol{field.Eth, field.VLAN, field.CVLAN, field.IP6, field.TCP, field.MSS}},
	"tagged arp": {func() *packet {
		p := arpPacket()
		p.tags = []layers.EthernetType{layers.EthernetTypeDot1Q}
		return p
	}, []field.Protocol{field.Eth, field.VLAN, field.ARP}},
}

// TestFieldsByOutsideLibrary rewrites each field of each packet that has it,
// and wants the bytes that the outside library builds for that value; a rule
// that asks for that value then takes what left, and one that asks for another
// does not.
func TestFieldsByOutsideLibrary(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		write, ok := outside[f.Name]
		if !ok {
			if f.Kind != field.Checksum && f.Name != "tcp_res" {
				t.Errorf("%s is not compared with the outside library", f.Name)
			}
			continue
		}
		tried := 0
		for name, kind := range kinds {
			if !slices.Contains(kind.has, f.Proto) || pseudoOnly[f.Name] && covered(f, kind.has) {
				continue
			}
			for _, v := range []uint64{0, 1, f.Max().Lo / 3, f.Max().Lo - 1, f.Max().Lo} {
				if f.Name == "eth_type" && v < 1536 {
					continue // the library takes these for lengths, see TestEtherTypes
				}
				tried++
				p := kind.make()
				in := p.build(t) // fixes the lengths in p, too
				write(p, v)
				want := p.build(t, gopacket.SerializeOptions{ComputeChecksums: true})
				a := set(f.Name, v)
				if f.Width == 128 {
					a.Value = wide(v)
				}
				if d := cmp.Diff(want, always(t, in, a)); d != "" {
					t.Errorf("%s %d in %s: -want +got\n%s", f.Name, v, name, d)
				}
				if f.Structural { // it may say that the header is not there any more
					continue
				}
				if !reference.Run(only(rule.Test{Field: f, In: field.One(a.Value)}), want).DryRun {
					t.Errorf("%s %d in %s: a test of it does not hold", f.Name, v, name)
				}
				if reference.Run(only(rule.Test{Field: f, In: field.One(a.Value).Complement(f.Width)}), want).DryRun {
					t.Errorf("%s %d in %s: a test of another value holds", f.Name, v, name)
				}
			}
		}
		if tried == 0 && f.Name != "udp_len" { // see TestPseudoHeaderFields
			t.Errorf("%s is in none of the packets", f.Name)
		}
	}
}

// covered reports whether a checksum among the headers covers f.
func covered(f *field.Field, headers []field.Protocol) bool {
	return slices.ContainsFunc(f.Covers, func(c field.Cover) bool {
		return c.Pseudo && slices.Contains(headers, field.MustByName(c.Check).Proto)
	}) || f.Name == "udp_len"
}

// TestEtherTypes: values that the outside library takes for lengths.
func TestEtherTypes(t *testing.T) {
	t.Parallel()
	in := udpPacket().build(t)
	for _, v := range []uint16{0, 1, 1500} {
		want := append([]byte(nil), in...)
		put16(want, 12, v)
		if d := cmp.Diff(want, always(t, in, set("eth_type", uint64(v)))); d != "" {
			t.Errorf("eth_type %d: -want +got\n%s", v, d)
		}
	}
}

// TestPseudoHeaderFields works out by hand what the fields do whose change
// the outside library does not carry into the sum.
func TestPseudoHeaderFields(t *testing.T) {
	t.Parallel()
	tcp, udp := tcpPacket().build(t), udpPacket().build(t)
	tcp6, udp6, icmp6 := over6(tcpPacket()).build(t), over6(udpPacket()).build(t), icmp6Packet().build(t)
	check := map[field.Protocol]int{field.TCP: 16, field.UDP: 6, field.ICMP6: 2}
	total, length, total6 := int(get16(tcp, 16)), int(get16(udp, 38)), int(get16(tcp6, 18))
	for _, c := range []struct {
		name  string
		frame []byte
		proto field.Protocol
		v     uint64
		added int // to the sum, by the change
	}{
		{"ip_hl", tcp, field.TCP, 7, -8}, // TCP's length is 8 bytes less
		{"ip_hl", tcp, field.TCP, 0, 20}, // and 20 more
		{"ip_hl", udp, field.UDP, 7, 0},  // UDP's is in its own header
		{"ip_tot_len", tcp, field.TCP, 1000, 1000 - total},
		{"ip_tot_len", tcp, field.TCP, 0, -total},
		{"ip_tot_len", udp, field.UDP, 1000, 0},
		{"ip_protocol", tcp, field.TCP, 17, 17 - 6},
		{"ip_protocol", udp, field.UDP, 0, -17},
		{"udp_len", udp, field.UDP, 1000, 2 * (1000 - length)}, // in both places
		{"tcp_res", tcp, field.TCP, 7, 7 << 9},
		{"ip6_len", tcp6, field.TCP, 1000, 1000 - total6},
		{"ip6_len", tcp6, field.TCP, 0, -total6},
		{"ip6_len", udp6, field.UDP, 1000, 0},
		{"ip6_len", icmp6, field.ICMP6, 65535, 65535 - int(get16(icmp6, 18))},
		{"ip6_next", tcp6, field.TCP, 17, 17 - 6},
		{"ip6_next", udp6, field.UDP, 0, -17},
		{"ip6_next", icmp6, field.ICMP6, 255, 255 - 58},
		{"udp_len", udp6, field.UDP, 1000, 2 * (1000 - length)},
		{"tcp_res", tcp6, field.TCP, 7, 7 << 9},
	} {
		at := 34 + check[c.proto]
		if c.frame[12] == 0x86 {
			at = 54 + check[c.proto]
		}
		want := int(get16(c.frame, at)) - c.added
		want = ((want % 65535) + 65535) % 65535
		got := always(t, c.frame, set(c.name, c.v))
		if sum := int(get16(got, at)); sum != want {
			t.Errorf("%s %d over %s: checksum is %#04x, want %#04x", c.name, c.v, c.proto, sum, want)
		}
	}
}

// TestReservedBits: the one field that the outside library cannot write.
func TestReservedBits(t *testing.T) {
	t.Parallel()
	in := tcpPacket().build(t)
	got := always(t, in, set("tcp_res", 5))
	want := append([]byte(nil), in...)
	want[at(field.TCP, 12)] = in[at(field.TCP, 12)] | 5<<1
	put16(want, at(field.TCP, 16), get16(in, at(field.TCP, 16))-5<<9) // does not wrap here
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestSeveralFieldsAtOnce changes both headers in one rule.
func TestSeveralFieldsAtOnce(t *testing.T) {
	t.Parallel()
	p := tcpPacket()
	in := p.build(t)
	p.ip.TTL, p.ip.SrcIP, p.ip.TOS = 255, net.IPv4(10, 255, 255, 1).To4(), 0xb9
	p.tcp.DstPort, p.tcp.Seq, p.tcp.RST = 65535, 0xffffffff, true
	got := always(t, in, set("tcp_rst", 1), set("ip_ttl", 255), set("tcp_seq", 0xffffffff), set("ip_src", 0x0affff01),
		set("ip_dscp", 46), set("ip_ecn", 1), set("tcp_dest", 65535))
	if d := cmp.Diff(p.build(t), got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}
