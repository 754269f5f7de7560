package reference

import (
	"encoding/binary"

	"repacket/internal/field"
)

// otherCheck is the checksum of a protocol without fields.
type otherCheck struct {
	at        int  // in the frame, or 0
	neverZero bool // UDP-Lite: 0 is none (RFC 3828 section 3.1)
}

// otherPlace says where in its header a protocol has the checksum that covers the
// addresses (semantics.md 4.2).
type otherPlace struct {
	check     int
	first     byte // where it is not 0: what the first byte is
	versions  bool // first is in the two lowest bits alone
	shown     bool // only if the packet shows that it covers the pseudo-header
	neverZero bool
}

// The protocols by their numbers, over each IP header.
var (
	others4 = map[int]otherPlace{
		27: {check: 16, first: 2, versions: true}, // RDP version 2, RFC 1151; that of version 1 covers no address
		33: {check: 6},                            // DCCP, RFC 4340
		89: {check: 12, first: 3},                 // OSPFv3, RFC 7949; that of OSPFv2 covers no address
		// VRRPv3 of type 1: RFC 5798 sums a pseudo-header, RFC 9568 does not. VRRPv2 has none.
		112: {check: 6, first: 0x31, shown: true},
		136: {check: 6, neverZero: true}, // UDP-Lite, RFC 3828
		139: {check: 4},                  // HIP, RFC 7401
	}
	others6 = map[int]otherPlace{
		33:  {check: 6},
		89:  {check: 12}, // OSPFv3, RFC 5340
		103: {check: 2},  // PIM, RFC 7761
		112: {check: 6},  // VRRPv3, RFC 9568
		135: {check: 4},  // mobility header, RFC 6275
		136: {check: 6, neverZero: true},
		139: {check: 4},
	}
)

// parseOther finds the checksum of a protocol without fields, if it and the first 8 bytes lie before end. One
// that was not captured is not there to be changed.
func (p *packet) parseOther(places map[int]otherPlace, number, at, end int) {
	place, known := places[number]
	check := at + place.check
	if !known || max(at+8, check+2) > end || check >= p.cut.captured || !place.begins(p.frame[at]) {
		return
	}
	if l3 := p.at[field.IP]; place.shown && l3+readIP(p.frame[l3:]).totalLen > p.cut.captured && p.cut.captured < len(p.frame) {
		p.cut.unshown = true
		return
	}
	if place.shown && !p.showsPseudoHeader(number, at) {
		return
	}
	if place.neverZero && check+2 <= p.cut.captured && binary.BigEndian.Uint16(p.frame[check:]) == 0 {
		return
	}
	p.other = otherCheck{check, place.neverZero}
}

// begins reports whether a header of the protocol and version can begin with a byte.
func (o otherPlace) begins(b byte) bool {
	if o.versions {
		b %= 4
	}
	return o.first == 0 || b == o.first
}

// showsPseudoHeader reports whether the message at an offset behind IPv4 has a checksum
// that is right with the pseudo-header, and wrong without. It must be whole, and no
// longer than VRRP's header with 255 addresses.
func (p *packet) showsPseudoHeader(number, at int) bool {
	l3 := p.at[field.IP]
	ip := readIP(p.frame[l3:])
	end := l3 + ip.totalLen
	if ip.more || end > len(p.frame) || end < at || end-at > 8+255*4 {
		return false
	}
	without := sum(p.frame[at:end])
	with := without + sum(p.frame[l3+12:l3+20]) + number + end - at
	return mod(with) == 0 && mod(without) != 0
}

// putOther changes the checksum by what differs in the addresses that it covers (RFC
// 1624 equation 3).
func (p packet) putOther(arrived packet) {
	at := p.other.at
	old := int(binary.BigEndian.Uint16(arrived.frame[at:]))
	diff := mod(p.addresses() - arrived.addresses())
	if diff == 0 {
		return
	}
	c := mod(old - diff)
	if c == 0 && p.other.neverZero {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(p.frame[at:], uint16(c))
}
