package dissect

import (
	"repacket/internal/field"
	"repacket/internal/run"
)

// ChecksumOffloaded reports whether the checksum of TCP or UDP holds what the kernel leaves there
// for whoever computes it (CHECKSUM_PARTIAL, skb_partial_csum_set): the sum of the pseudo-header
// alone, not inverted (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1). One of 65536 checksums
// is that by chance.
func ChecksumOffloaded(p *run.Packet) bool {
	h := parse(p.Link, p.Before, p.Length)
	check := missing
	switch {
	case h.has(field.TCP):
		check = h.at[field.TCP] + field.MustByName("tcp_check").Byte()
	case h.has(field.UDP):
		check = h.at[field.UDP] + field.MustByName("udp_check").Byte()
	}
	if !h.captured(check, 2) || h.u16(check) == 0 {
		return false
	}
	length := h.datagram() - h.l4.at
	sum := int(h.l4.number) + length>>16 + length&0xffff
	from, to := h.addresses()
	for at := from; at < to; at += 2 {
		sum += h.u16(at)
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == h.u16(check)
}

// addresses are where the addresses of the IP header begin and end.
func (h *headers) addresses() (from, to int) {
	src, at := field.MustByName("ip_src"), h.at[field.IP]
	if h.has(field.IP6) {
		src, at = field.MustByName("ip6_src"), h.at[field.IP6]
	}
	from = at + src.Byte()
	return from, from + 2*src.Size()
}
