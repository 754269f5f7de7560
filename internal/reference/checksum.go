package reference

import (
	"encoding/binary"
	"slices"

	"repacket/internal/field"
)

// A checksum is the complement of a one's complement sum of 16-bit words
// (RFC 1071), and such sums are numbers modulo 65535: 0x0000 and 0xffff are
// two ways to write one number. So the sums here are plain ints, and only
// writing one chooses between the two.
const modulus = 65535

// checkAt is where a header's checksum stands, in bytes from its start
// (RFC 791, RFC 9293, RFC 768, RFC 792, RFC 4443).
var checkAt = map[field.Protocol]int{
	field.IP: 10, field.TCP: 16, field.UDP: 6, field.ICMP: 2, field.ICMP6: 2,
	field.QuotedIP: 10, field.QuotedTCP: 16, field.QuotedUDP: 6, field.QuotedICMP: 2, field.QuotedICMP6: 2,
}

// check reads the checksum of proto.
func (p packet) check(proto field.Protocol) int {
	return int(binary.BigEndian.Uint16(p.frame[p.at[proto]+checkAt[proto]:]))
}

// putCheck writes the checksum of proto.
func (p packet) putCheck(proto field.Protocol, c int) {
	binary.BigEndian.PutUint16(p.frame[p.at[proto]+checkAt[proto]:], uint16(c))
}

// updated is the checksum of proto changed by what differs between arrived
// and out in what it covers: HC' = ~(~HC + ~m + m'), RFC 1624 equation 3.
func updated(proto field.Protocol, arrived, out packet) int {
	old := arrived.check(proto)
	diff := mod(out.covered(proto) - arrived.covered(proto))
	if diff == 0 || isUDP(proto) && old == 0 { // UDP: 0 is no checksum
		return old
	}
	return written(proto, old-diff)
}

// covered is the sum of what the checksum of proto covers, as far as a rule
// can write it: the fixed part of its own header, of TCP also the option MSS,
// and the pseudo-header. A message that quotes a packet is summed to its end.
func (p packet) covered(proto field.Protocol) int {
	if proto.IsQuoted() {
		return p.coveredInQuote(proto)
	}
	start := p.at[proto]
	end := start + proto.Header().Fixed
	if mss, ok := p.at[field.MSS]; ok && proto == field.TCP {
		end = mss + field.MSS.Header().Fixed
	}
	if p.has(field.QuotedIP) && proto == field.ICMP || p.has(field.QuotedIP6) && proto == field.ICMP6 {
		end = p.end
	}
	return p.sumBut(proto, start, end) + p.pseudoHeader(proto)
}

// rightSum is the right checksum of proto in out. How far the header or the
// datagram reaches is what a receiver goes by: for the IP header its length as
// it leaves; the datagram is where it was when it arrived.
func rightSum(proto field.Protocol, arrived, out packet) int {
	start, end := arrived.at[proto], arrived.datagramEnd()
	if proto == field.IP {
		end = start + readIP(out.frame[start:]).headerLen
	}
	right := written(proto, -(out.sumBut(proto, start, end) + out.pseudoHeader(proto)))
	if proto == field.ICMP && right == 0 {
		// An ICMP message may be all zeros: then what a receiver sums up comes to
		// 0xffff, as it has to (RFC 1071), with 0xffff only.
		return 0xffff
	}
	return right
}

// datagramEnd is the end of a datagram that is whole.
func (p packet) datagramEnd() int {
	if l3, ok := p.at[field.IP6]; ok {
		return l3 + ip6Fixed + readIP6(p.frame[l3:]).payloadLen
	}
	l3 := p.at[field.IP]
	return l3 + readIP(p.frame[l3:]).totalLen
}

// wrongSum is right plus one in one's complement: wrong by one, and never 0,
// which would mean no checksum in UDP.
func wrongSum(right int) int {
	if right == 0xffff {
		return 1
	}
	return right + 1
}

// written is the number that stands for c in a packet: of the two zeros,
// 0xffff in UDP, where 0x0000 means no checksum (RFC 768), 0x0000 elsewhere.
func written(proto field.Protocol, c int) int {
	if c = mod(c); c == 0 && isUDP(proto) {
		return 0xffff
	}
	return c
}

func isUDP(proto field.Protocol) bool { return proto == field.UDP || proto == field.QuotedUDP }

// sumBut is the sum of the bytes from start to end, proto's checksum left out.
func (p packet) sumBut(proto field.Protocol, start, end int) int {
	b := slices.Clone(p.frame[start:end])
	check := p.at[proto] - start + checkAt[proto]
	b[check], b[check+1] = 0, 0
	return sum(b)
}

// sum adds up the 16-bit words of b; an odd last byte counts as if a zero
// followed (RFC 1071).
func sum(b []byte) int {
	total := 0
	for ; len(b) >= 2; b = b[2:] {
		total += int(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += int(b[0]) << 8
	}
	return total
}

// pseudoHeader is the sum of the pseudo-header that the checksum of proto
// covers; IPv4 and ICMP have none.
func (p packet) pseudoHeader(proto field.Protocol) int {
	switch {
	case proto == field.IP || proto == field.ICMP:
		return 0
	case p.has(field.IP6):
		return p.pseudoHeader6(proto)
	}
	return p.pseudoHeader4(proto)
}

// pseudoHeader4 is the sum of the pseudo-header over IPv4: both addresses, the
// protocol and the length (RFC 9293 section 3.1, RFC 768). TCP's length is in
// no field: the total length without the IP header; where these lie it may
// fall below zero, and the arithmetic is kept.
func (p packet) pseudoHeader4(proto field.Protocol) int {
	header := p.frame[p.at[field.IP]:]
	ip := readIP(header)
	length := ip.totalLen - ip.headerLen
	if proto == field.UDP {
		length = udpLen(p.frame[p.at[field.UDP]:])
	}
	return p.addresses() + ip.protocol + length
}

// pseudoHeader6 is the sum of the pseudo-header over IPv6 (RFC 8200 section
// 8.1): the addresses, length and protocol of what follows the extension headers.
// Where an extension header stands between, ip6_next is not the protocol, which then
// adds the same before and after.
func (p packet) pseudoHeader6(proto field.Protocol) int {
	header := p.frame[p.at[field.IP6]:]
	ip := readIP6(header)
	length := ip.payloadLen - p.stepped.bytes
	if proto == field.UDP {
		length = udpLen(p.frame[p.at[field.UDP]:])
	}
	total := p.addresses() + length
	if p.stepped.count == 0 {
		return total + ip.next
	}
	return total + int(proto.Header().Number)
}

// mod is n modulo 65535, never negative.
func mod(n int) int { return (n%modulus + modulus) % modulus }
