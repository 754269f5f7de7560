package oracle

import (
	"encoding/binary"
	"fmt"

	"repacket/internal/field"
	"repacket/internal/reference"
)

// readers say where the outside library keeps the value of each field of at
// most 64 bits; it does not know TCP's reserved bits.
var readers = map[string]func(h *headers) uint64{
	"eth_dest":    func(h *headers) uint64 { return number(h.eth.DstMAC) },
	"eth_src":     func(h *headers) uint64 { return number(h.eth.SrcMAC) },
	"vlan_pcp":    func(h *headers) uint64 { return uint64(h.tags[0].Priority) },
	"vlan_dei":    func(h *headers) uint64 { return bit(h.tags[0].DropEligible) },
	"vlan_id":     func(h *headers) uint64 { return uint64(h.tags[0].VLANIdentifier) },
	"cvlan_pcp":   func(h *headers) uint64 { return uint64(h.tags[1].Priority) },
	"cvlan_dei":   func(h *headers) uint64 { return bit(h.tags[1].DropEligible) },
	"cvlan_id":    func(h *headers) uint64 { return uint64(h.tags[1].VLANIdentifier) },
	"arp_op":      func(h *headers) uint64 { return uint64(h.arp.Operation) },
	"arp_sha":     func(h *headers) uint64 { return number(h.arp.SourceHwAddress) },
	"arp_spa":     func(h *headers) uint64 { return number(h.arp.SourceProtAddress) },
	"arp_tha":     func(h *headers) uint64 { return number(h.arp.DstHwAddress) },
	"arp_tpa":     func(h *headers) uint64 { return number(h.arp.DstProtAddress) },
	"ip_tos":      func(h *headers) uint64 { return uint64(h.ip.TOS) },
	"ip_dscp":     func(h *headers) uint64 { return uint64(h.ip.TOS >> 2) },
	"ip_ecn":      func(h *headers) uint64 { return uint64(h.ip.TOS & 3) },
	"ip_id":       func(h *headers) uint64 { return uint64(h.ip.Id) },
	"ip_flag_res": func(h *headers) uint64 { return uint64(h.ip.Flags >> 2 & 1) },
	"ip_flag_df":  func(h *headers) uint64 { return uint64(h.ip.Flags >> 1 & 1) },
	"ip_ttl":      func(h *headers) uint64 { return uint64(h.ip.TTL) },
	"ip_src":      func(h *headers) uint64 { return number(h.ip.SrcIP.To4()) },
	"ip_dest":     func(h *headers) uint64 { return number(h.ip.DstIP.To4()) },
	"ip6_dscp":    func(h *headers) uint64 { return uint64(h.ip6.TrafficClass >> 2) },
	"ip6_ecn":     func(h *headers) uint64 { return uint64(h.ip6.TrafficClass & 3) },
	"ip6_flow":    func(h *headers) uint64 { return uint64(h.ip6.FlowLabel) },
	"ip6_hlim":    func(h *headers) uint64 { return uint64(h.ip6.HopLimit) },
	"tcp_src":     func(h *headers) uint64 { return uint64(h.tcp.SrcPort) },
	"tcp_dest":    func(h *headers) uint64 { return uint64(h.tcp.DstPort) },
	"tcp_seq":     func(h *headers) uint64 { return uint64(h.tcp.Seq) },
	"tcp_ack_seq": func(h *headers) uint64 { return uint64(h.tcp.Ack) },
	"tcp_flags":   flags,
	"tcp_nonce":   func(h *headers) uint64 { return bit(h.tcp.NS) },
	"tcp_cwr":     func(h *headers) uint64 { return bit(h.tcp.CWR) },
	"tcp_ece":     func(h *headers) uint64 { return bit(h.tcp.ECE) },
	"tcp_urg":     func(h *headers) uint64 { return bit(h.tcp.URG) },
	"tcp_ack":     func(h *headers) uint64 { return bit(h.tcp.ACK) },
	"tcp_psh":     func(h *headers) uint64 { return bit(h.tcp.PSH) },
	"tcp_rst":     func(h *headers) uint64 { return bit(h.tcp.RST) },
	"tcp_syn":     func(h *headers) uint64 { return bit(h.tcp.SYN) },
	"tcp_fin":     func(h *headers) uint64 { return bit(h.tcp.FIN) },
	"tcp_window":  func(h *headers) uint64 { return uint64(h.tcp.Window) },
	"tcp_urg_ptr": func(h *headers) uint64 { return uint64(h.tcp.Urgent) },
	"tcp_mss":     func(h *headers) uint64 { v, _ := h.mss(); return v },
	"udp_src":     func(h *headers) uint64 { return uint64(h.udp.SrcPort) },
	"udp_dest":    func(h *headers) uint64 { return uint64(h.udp.DstPort) },
	"icmp_type":   func(h *headers) uint64 { return uint64(h.icmp.TypeCode.Type()) },
	"icmp_code":   func(h *headers) uint64 { return uint64(h.icmp.TypeCode.Code()) },
	"icmp_id":     func(h *headers) uint64 { return uint64(h.icmp.Id) },
	"icmp_seq":    func(h *headers) uint64 { return uint64(h.icmp.Seq) },
	"icmp6_type":  func(h *headers) uint64 { return uint64(h.icmp6.TypeCode.Type()) },
	"icmp6_code":  func(h *headers) uint64 { return uint64(h.icmp6.TypeCode.Code()) },
}

// number reads bytes as a number.
func number(b []byte) uint64 {
	var v uint64
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}

func bit(on bool) uint64 {
	if on {
		return 1
	}
	return 0
}

func flags(h *headers) uint64 {
	var v uint64
	for _, on := range []bool{h.tcp.CWR, h.tcp.ECE, h.tcp.URG, h.tcp.ACK, h.tcp.PSH, h.tcp.RST, h.tcp.SYN, h.tcp.FIN} {
		v = v<<1 | bit(on)
	}
	return v
}

// read is the value of f as the outside library reads it.
func (h *headers) read(f *field.Field) (v field.Value, ok bool) {
	if !h.has(f.Proto) {
		return field.Value{}, false
	}
	if own := field.Unquote(f); own != nil {
		return h.quote.read(own)
	}
	switch f.Name {
	case "ip6_src":
		return field.Value{Hi: binary.BigEndian.Uint64(h.ip6.SrcIP), Lo: binary.BigEndian.Uint64(h.ip6.SrcIP[8:])}, true
	case "ip6_dest":
		return field.Value{Hi: binary.BigEndian.Uint64(h.ip6.DstIP), Lo: binary.BigEndian.Uint64(h.ip6.DstIP[8:])}, true
	}
	read, ok := readers[f.Name]
	if !ok {
		return field.Value{}, false
	}
	return field.V(read(h)), true
}

// Read is the value of a field of a frame, if it is there and the outside library knows it.
func Read(link field.Link, frame []byte, f *field.Field) (v field.Value, ok bool) {
	h := decode(link, frame)
	return h.read(f)
}

// WrongFieldsOn says which field that a frame's rule set or swapped does not have the value that
// it should by the outside library, or "". It also tells how many it compared; rules that change
// where headers are are left out.
func WrongFieldsOn(link field.Link, in []byte, got reference.Result) (compared int, wrong string) {
	if !got.Rewritten || changesCut(got.Acted.Actions) {
		return 0, ""
	}
	before, after := decode(link, in), decode(link, got.Frame)
	want := map[*field.Field]field.Range{}
	for _, a := range got.Acted.Actions {
		if r, ok := expected(a, &before); ok {
			want[a.Field] = r
		}
	}
	for _, s := range got.Acted.Swaps {
		src, dest := s.Fields()
		for f, other := range map[*field.Field]*field.Field{src: dest, dest: src} {
			if v, ok := before.read(other); ok {
				want[f] = field.Range{Lo: v, Hi: v}
			}
		}
	}
	for f, v := range want {
		is, ok := after.read(f)
		if ok && (is.Cmp(v.Lo) < 0 || is.Cmp(v.Hi) > 0) {
			return compared, fmt.Sprintf("%s is %s, want %s to %s", f.Name, is, v.Lo, v.Hi)
		}
		if ok {
			compared++
		}
	}
	return compared, ""
}
