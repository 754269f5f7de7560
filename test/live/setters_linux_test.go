package live

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
)

// set gives a field a value in the outside library's terms, by the names of
// the RFCs and not by our table.
var set = map[string]func(p *packet, v uint64){
	"eth_dest": func(p *packet, v uint64) { p.eth.DstMAC = mac(v) },
	"eth_src":  func(p *packet, v uint64) { p.eth.SrcMAC = mac(v) },
	"eth_type": func(p *packet, v uint64) { p.eth.EthernetType = layers.EthernetType(v) },

	"vlan_pcp":   func(p *packet, v uint64) { p.tags[0].Priority = uint8(v) },
	"vlan_dei":   func(p *packet, v uint64) { p.tags[0].DropEligible = v == 1 },
	"vlan_id":    func(p *packet, v uint64) { p.tags[0].VLANIdentifier = uint16(v) },
	"vlan_type":  func(p *packet, v uint64) { p.tags[0].Type = layers.EthernetType(v) },
	"cvlan_pcp":  func(p *packet, v uint64) { p.tags[1].Priority = uint8(v) },
	"cvlan_dei":  func(p *packet, v uint64) { p.tags[1].DropEligible = v == 1 },
	"cvlan_id":   func(p *packet, v uint64) { p.tags[1].VLANIdentifier = uint16(v) },
	"cvlan_type": func(p *packet, v uint64) { p.tags[1].Type = layers.EthernetType(v) },

	"arp_op":  func(p *packet, v uint64) { p.arp.Operation = uint16(v) },
	"arp_sha": func(p *packet, v uint64) { p.arp.SourceHwAddress = mac(v) },
	"arp_spa": func(p *packet, v uint64) { p.arp.SourceProtAddress = address(v) },
	"arp_tha": func(p *packet, v uint64) { p.arp.DstHwAddress = mac(v) },
	"arp_tpa": func(p *packet, v uint64) { p.arp.DstProtAddress = address(v) },

	"ip_ver":      func(p *packet, v uint64) { p.ip.Version = uint8(v) },
	"ip_hl":       func(p *packet, v uint64) { p.ip.IHL = uint8(v) },
	"ip_tos":      func(p *packet, v uint64) { p.ip.TOS = uint8(v) },
	"ip_dscp":     func(p *packet, v uint64) { p.ip.TOS = p.ip.TOS&0x03 | uint8(v<<2) },
	"ip_ecn":      func(p *packet, v uint64) { p.ip.TOS = p.ip.TOS&0xfc | uint8(v) },
	"ip_tot_len":  func(p *packet, v uint64) { p.ip.Length = uint16(v) },
	"ip_id":       func(p *packet, v uint64) { p.ip.Id = uint16(v) },
	"ip_flags":    func(p *packet, v uint64) { p.ip.Flags = layers.IPv4Flag(v) },
	"ip_flag_res": func(p *packet, v uint64) { setFlag(p, layers.IPv4EvilBit, v) },
	"ip_flag_df":  func(p *packet, v uint64) { setFlag(p, layers.IPv4DontFragment, v) },
	"ip_flag_mf":  func(p *packet, v uint64) { setFlag(p, layers.IPv4MoreFragments, v) },
	"ip_offset":   func(p *packet, v uint64) { p.ip.FragOffset = uint16(v) },
	"ip_ttl":      func(p *packet, v uint64) { p.ip.TTL = uint8(v) },
	"ip_protocol": func(p *packet, v uint64) { p.ip.Protocol = layers.IPProtocol(v) },
	"ip_check":    func(p *packet, v uint64) { p.ip.Checksum, p.staleIP = uint16(v), true },
	"ip_src":      func(p *packet, v uint64) { p.ip.SrcIP = address(v) },
	"ip_dest":     func(p *packet, v uint64) { p.ip.DstIP = address(v) },

	"ip6_dscp": func(p *packet, v uint64) { p.ip6.TrafficClass = p.ip6.TrafficClass&0x03 | uint8(v<<2) },
	"ip6_ecn":  func(p *packet, v uint64) { p.ip6.TrafficClass = p.ip6.TrafficClass&0xfc | uint8(v) },
	"ip6_flow": func(p *packet, v uint64) { p.ip6.FlowLabel = uint32(v) },
	"ip6_len":  func(p *packet, v uint64) { p.ip6.Length = uint16(v) },
	"ip6_next": func(p *packet, v uint64) { p.ip6.NextHeader = layers.IPProtocol(v) },
	"ip6_hlim": func(p *packet, v uint64) { p.ip6.HopLimit = uint8(v) },
	"ip6_src":  func(p *packet, v uint64) { p.ip6.SrcIP = address6(v) },
	"ip6_dest": func(p *packet, v uint64) { p.ip6.DstIP = address6(v) },

	"tcp_src":     func(p *packet, v uint64) { p.tcp.SrcPort = layers.TCPPort(v) },
	"tcp_dest":    func(p *packet, v uint64) { p.tcp.DstPort = layers.TCPPort(v) },
	"tcp_seq":     func(p *packet, v uint64) { p.tcp.Seq = uint32(v) },
	"tcp_ack_seq": func(p *packet, v uint64) { p.tcp.Ack = uint32(v) },
	"tcp_hlen":    func(p *packet, v uint64) { p.tcp.DataOffset = uint8(v) },
	"tcp_res":     func(p *packet, v uint64) { p.reserved = uint8(v) },
	"tcp_flags":   setTCPFlags,
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
	"tcp_check":   func(p *packet, v uint64) { p.tcp.Checksum, p.staleL4 = uint16(v), true },
	"tcp_urg_ptr": func(p *packet, v uint64) { p.tcp.Urgent = uint16(v) },
	"tcp_mss":     setMSS,

	"udp_src":   func(p *packet, v uint64) { p.udp.SrcPort = layers.UDPPort(v) },
	"udp_dest":  func(p *packet, v uint64) { p.udp.DstPort = layers.UDPPort(v) },
	"udp_len":   func(p *packet, v uint64) { p.udp.Length = uint16(v) },
	"udp_check": func(p *packet, v uint64) { p.udp.Checksum, p.staleL4 = uint16(v), true },

	"icmp_type":  func(p *packet, v uint64) { setICMP(p, uint8(v), p.icmp.TypeCode.Code()) },
	"icmp_code":  func(p *packet, v uint64) { setICMP(p, p.icmp.TypeCode.Type(), uint8(v)) },
	"icmp_check": func(p *packet, v uint64) { p.icmp.Checksum, p.staleL4 = uint16(v), true },
	"icmp_id":    func(p *packet, v uint64) { p.icmp.Id = uint16(v) },
	"icmp_seq":   func(p *packet, v uint64) { p.icmp.Seq = uint16(v) },

	"icmp6_type": func(p *packet, v uint64) {
		p.icmp6.TypeCode = layers.CreateICMPv6TypeCode(uint8(v), p.icmp6.TypeCode.Code())
	},
	"icmp6_code": func(p *packet, v uint64) {
		p.icmp6.TypeCode = layers.CreateICMPv6TypeCode(p.icmp6.TypeCode.Type(), uint8(v))
	},
	"icmp6_check": func(p *packet, v uint64) { p.icmp6.Checksum, p.staleL4 = uint16(v), true },
}

func setFlag(p *packet, f layers.IPv4Flag, v uint64) {
	p.ip.Flags &^= f
	if v == 1 {
		p.ip.Flags |= f
	}
}

// setTCPFlags sets the eight flags from CWR to FIN (RFC 9293 section 3.1).
func setTCPFlags(p *packet, v uint64) {
	t := p.tcp
	for i, flag := range []*bool{&t.FIN, &t.SYN, &t.RST, &t.PSH, &t.ACK, &t.URG, &t.ECE, &t.CWR} {
		*flag = v>>i&1 == 1
	}
}

// setMSS makes a new option: the old one may be shared.
func setMSS(p *packet, v uint64) {
	options := make([]layers.TCPOption, len(p.tcp.Options))
	copy(options, p.tcp.Options)
	for i := range options {
		if options[i].OptionType == layers.TCPOptionKindMSS {
			options[i].OptionData = []byte{byte(v >> 8), byte(v)}
		}
	}
	p.tcp.Options = options
}

func setICMP(p *packet, typ, code uint8) {
	p.icmp.TypeCode = layers.CreateICMPv4TypeCode(typ, code)
}

func mac(v uint64) net.HardwareAddr { return binary.BigEndian.AppendUint64(nil, v)[2:] }

func address(v uint64) net.IP { return net.IP{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)} }

// address6 is an address made of 64 bits, of which all bytes matter.
func address6(v uint64) net.IP {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, v), v*0x0101010101010101)
}

// values are, for each field, a value to match, one that does not match, and
// one to write. The headers must go on being there for a match to be seen, so
// for fields that lay out a packet the first keeps them.
func values(f *field.Field) (match, other, write uint64) {
	switch f.Name {
	case "ip_ver":
		return 4, 6, 6
	case "ip_hl":
		return 5, 4, 6
	case "ip_tot_len", "udp_len", "ip6_len":
		return 60, 61, 62
	case "ip_offset":
		return 0x1fff, 0x0100, 0x0100
	case "ip_protocol", "ip6_next":
		return 17, 99, 99
	case "eth_type", "vlan_type", "cvlan_type":
		return 0x0800, 0x88b5, 0x88b5 // IEEE 802: local experimental
	case "icmp_type":
		return 8, 13, 0
	}
	switch f.Kind {
	case field.MAC:
		return 0x02a1b2c3d4e5, 0x02a1b2c3d4e6, 0x0655443322fe
	case field.Address6:
		return 0x20010db800c0ffee, 0x20010db800c0ffef, 0x20010db8dead0001
	}
	top := f.Max().Lo
	if top == 1 {
		return 1, 0, 1
	}
	return top, top/3 + 1, top
}

// word is how a value of the field is written.
func word(f *field.Field, v uint64) string {
	switch f.Kind {
	case field.Address4:
		return address(v).String()
	case field.Address6:
		return address6(v).String()
	case field.MAC:
		return mac(v).String()
	}
	return fmt.Sprint(v)
}

// carriers make packets that have the field.
func carriers(f *field.Field) []string {
	switch f.Proto {
	case field.Eth, field.IP:
		return []string{"udp"}
	case field.VLAN:
		return []string{"vlan"}
	case field.CVLAN:
		return []string{"cvlan"}
	case field.IP6:
		return []string{"udp6"}
	case field.TCP:
		return []string{"tcp", "tcp6"}
	case field.UDP:
		return []string{"udp", "udp6"}
	case field.MSS:
		return []string{"mss", "mss6"}
	}
	return []string{f.Proto.String()}
}

// carrier is a packet of that kind; vlan and cvlan are UDP behind one and two
// tags.
func carrier(kind string) *packet {
	switch kind {
	case "vlan":
		return newPacket("udp").tag(layers.EthernetTypeDot1Q)
	case "cvlan":
		return newPacket("udp").tag(layers.EthernetTypeQinQ, layers.EthernetTypeDot1Q)
	}
	return newPacket(kind)
}
