package packetgen

import (
	"encoding/binary"

	"repacket/internal/field"
)

// sourceRoute now and then puts a source route among the options of IPv4 (RFC 791), loose
// or strict, mostly with hops left.
func (d *draft) sourceRoute() {
	const fixed, hop = 3, 4
	b := d.frame[d.l3+20 : d.l4]
	if len(b) < fixed+hop || d.r.IntN(3) > 0 {
		return
	}
	at := d.r.IntN(len(b) - fixed - hop + 1)
	if d.r.IntN(2) == 0 {
		at = d.r.IntN(2)
	}
	at = min(at, len(b)-fixed-hop)
	hops := 1 + d.r.IntN((len(b)-at-fixed)/hop)
	wellFormed(d.r, b[:at], 158)
	length := fixed + hop*hops
	option := b[at:][:length]
	fill(d.r, option)
	option[0], option[1], option[2] = byte(d.oneOf(131, 137)), byte(length), byte(4+hop*d.r.IntN(hops))
	wellFormed(d.r, b[at+length:], 158)
	d.lastHop = option[length-hop:]
	if d.r.IntN(4) == 0 { // it has been used up
		option[2] = byte(d.oneOf(uint64(length)+1, uint64(length)+1, 255))
		d.lastHop = nil
	}
}

// homeOption makes destination options with the option Home Address (RFC 6275 section
// 6.3), mostly where it has to be.
func (d *draft) homeOption() extension {
	const length = 18
	at := 6
	if d.r.IntN(3) == 0 {
		at = 2 + d.r.IntN(30)
	}
	b := make([]byte, (at+length+d.r.IntN(9)+7)&^7)
	b[1] = byte(len(b)/8 - 1)
	if d.r.IntN(4) > 0 { // else Pad1
		pad(b[2:at])
	}
	fill(d.r, b[at:][:length])
	b[at], b[at+1] = 0xc9, length-2
	pad(b[at+length:])
	return extension{kind: destination, bytes: b, home: at + 2}
}

// shown now and then gives a message of a protocol that sums a pseudo-header or does not
// a checksum that is right with one, or without.
func (d *draft) shown() {
	if !d.other.Shown || d.net != field.IP || d.otherCheck() == 0 || d.r.IntN(4) == 0 {
		return
	}
	end := d.datagramEnd()
	binary.BigEndian.PutUint16(d.frame[d.otherCheck():], 0)
	total := add(0, d.frame[d.l4:end])
	if d.r.IntN(3) > 0 {
		total = add(total, d.frame[d.l3+12:d.l3+20]) + uint64(d.other.Number) + uint64(end-d.l4)
	}
	binary.BigEndian.PutUint16(d.frame[d.otherCheck():], uint16(fold(total)))
}

// addresses are those of the pseudo-header.
func (d *draft) addresses() []byte {
	network := d.frame[d.l3:]
	if d.net == field.IP {
		if d.lastHop == nil {
			return network[12:20]
		}
		return append(append([]byte{}, network[12:16]...), d.lastHop...)
	}
	for i, e := range d.chain {
		if e.home > 0 {
			home := d.frame[d.extensionAt(i)+e.home:][:16]
			return append(append([]byte{}, home...), network[24:40]...)
		}
	}
	return network[8:40]
}
