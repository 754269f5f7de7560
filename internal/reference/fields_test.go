package reference_test

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
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
}

func address(v uint64) net.IP { return binary.BigEndian.AppendUint32(nil, uint32(v)) }

// The library's pseudo-header takes protocol and length from what it builds,
// not from the fields, so for these fields the sum is worked out below.
var pseudoOnly = map[string]bool{"ip_hl": true, "ip_tot_len": true, "ip_protocol": true, "udp_len": true}

// TestFieldsByOutsideLibrary rewrites each field of each packet that has it,
// and wants the bytes that the outside library builds for that value.
func TestFieldsByOutsideLibrary(t *testing.T) {
	makers := map[field.Protocol]func() *packet{field.TCP: tcpPacket, field.UDP: udpPacket, field.ICMP: icmpPacket}
	for _, f := range field.Fields() {
		write, ok := outside[f.Name]
		if !ok {
			if f.Kind != field.Checksum && f.Name != "tcp_res" {
				t.Errorf("%s is not compared with the outside library", f.Name)
			}
			continue
		}
		for proto, maker := range makers {
			if f.Proto != field.IP && f.Proto != proto || pseudoOnly[f.Name] && proto != field.ICMP {
				continue
			}
			for _, v := range []uint64{0, 1, f.Max().Lo / 3, f.Max().Lo - 1, f.Max().Lo} {
				p := maker()
				in := p.build(t) // fixes the lengths in p, too
				write(p, v)
				want := p.build(t, gopacket.SerializeOptions{ComputeChecksums: true})
				got := always(t, in, set(f.Name, v))
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("%s %d over %s: -want +got\n%s", f.Name, v, proto, d)
				}
			}
		}
	}
}

// TestPseudoHeaderFields works out by hand what the fields do whose change
// the outside library does not carry into the sum.
func TestPseudoHeaderFields(t *testing.T) {
	tcp, udp := tcpPacket().build(t), udpPacket().build(t)
	check := map[field.Protocol]int{field.TCP: at(field.TCP, 16), field.UDP: at(field.UDP, 6)}
	total, length := int(get16(tcp, 16)), int(get16(udp, 38))
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
	} {
		want := int(get16(c.frame, check[c.proto])) - c.added
		want = ((want % 65535) + 65535) % 65535
		got := always(t, c.frame, set(c.name, c.v))
		if sum := int(get16(got, check[c.proto])); sum != want {
			t.Errorf("%s %d over %s: checksum is %#04x, want %#04x", c.name, c.v, c.proto, sum, want)
		}
	}
}

// TestReservedBits: the one field that the outside library cannot write.
func TestReservedBits(t *testing.T) {
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
