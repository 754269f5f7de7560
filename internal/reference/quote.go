package reference

import (
	"encoding/binary"
	"slices"

	"repacket/internal/field"
)

// An ICMP error quotes the packet that it answers behind 8 bytes of its own, and of what
// follows the quoted IP header 8 bytes at least (RFC 792, RFC 4443 section 3).
const (
	messageHead = 8
	alwaysThere = 8
)

// The messages that are errors: in ICMP unreachable, source quench, time exceeded and
// parameter problem (RFC 792), in ICMPv6 those of RFC 4443.
var (
	errors4 = []byte{3, 4, 11, 12}
	errors6 = []byte{1, 2, 3, 4}
)

// parseQuote finds the headers that an ICMP error quotes, as far as they lie inside the
// message (semantics.md 5.4).
func (p *packet) parseQuote() {
	if icmp, ok := p.at[field.ICMP]; ok && slices.Contains(errors4, p.frame[icmp]) {
		p.parseQuotedIPv4(icmp + messageHead)
	} else if icmp, ok := p.at[field.ICMP6]; ok && slices.Contains(errors6, p.frame[icmp]) {
		p.parseQuotedIPv6(icmp + messageHead)
	}
}

func (p *packet) parseQuotedIPv4(l3 int) {
	if l3+ipFixed > p.end || p.frame[l3]>>4 != 4 {
		return
	}
	p.at[field.QuotedIP] = l3
	ip := readIP(p.frame[l3:])
	if ip.headerLen < ipFixed || ip.fragOffset != 0 {
		return
	}
	carried := ip.totalLen - ip.headerLen
	if ip.totalLen == 0 { // as segmentation offload has it
		carried = len(p.frame)
	}
	p.parseQuotedTransport(map[int]field.Protocol{1: field.QuotedICMP, 6: field.QuotedTCP, 17: field.QuotedUDP}, ip.protocol, l3+ip.headerLen, carried)
}

// parseQuotedIPv6 steps over no extension header.
func (p *packet) parseQuotedIPv6(l3 int) {
	if l3+ip6Fixed > p.end || p.frame[l3]>>4 != 6 {
		return
	}
	p.at[field.QuotedIP6] = l3
	ip := readIP6(p.frame[l3:])
	carried := ip.payloadLen
	if carried == 0 {
		carried = len(p.frame)
	}
	p.parseQuotedTransport(map[int]field.Protocol{6: field.QuotedTCP, 17: field.QuotedUDP, 58: field.QuotedICMP6}, ip.next, l3+ip6Fixed, carried)
}

// parseQuotedTransport finds the header behind a quoted IP header, if the packet that
// was answered had all of it, and the quote has enough.
func (p *packet) parseQuotedTransport(protocols map[int]field.Protocol, number, at, carried int) {
	whole := map[field.Protocol]int{field.QuotedTCP: 20, field.QuotedUDP: 8, field.QuotedICMP: 8, field.QuotedICMP6: 4}
	if proto, ok := protocols[number]; ok && carried >= whole[proto] && at+alwaysThere <= p.end {
		p.at[proto] = at
	}
}

// hasCheck reports whether the checksum of proto is there: that of a quoted TCP header
// may not be.
func (p packet) hasCheck(proto field.Protocol) bool {
	at, ok := p.at[proto]
	return ok && (proto != field.QuotedTCP || at+checkAt[proto]+2 <= p.end)
}

// quotedOver is the IP header in the quote.
func (p packet) quotedOver() []byte {
	if l3, ok := p.at[field.QuotedIP]; ok {
		return p.frame[l3:]
	}
	return p.frame[p.at[field.QuotedIP6]:]
}

// quotedPseudoHeader is the sum of the pseudo-header of the quoted packet, as far as a
// rule can write it: the addresses. Protocol and length add the same before and after.
func (p packet) quotedPseudoHeader() int {
	if p.has(field.QuotedIP) {
		return sum(p.quotedOver()[12:20])
	}
	return sum(p.quotedOver()[8:40])
}

// coveredInQuote is the sum of what the checksum of a quoted header covers, as far as a
// rule can write it.
func (p packet) coveredInQuote(proto field.Protocol) int {
	start := p.at[proto]
	total := sum(p.frame[start : start+proto.Header().Fixed])
	if c := checkAt[proto]; c < proto.Header().Fixed {
		total -= int(binary.BigEndian.Uint16(p.frame[start+c:]))
	}
	if proto == field.QuotedTCP || proto == field.QuotedUDP || proto == field.QuotedICMP6 {
		total += p.quotedPseudoHeader()
	}
	return total
}
