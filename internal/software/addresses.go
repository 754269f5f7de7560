package software

import (
	"encoding/binary"

	"repacket/internal/field"
)

// Where an option has an address of the pseudo-header (semantics.md 4.2). If it was not
// captured, neither was the checksum behind it, and nothing depends on it.

// lastHop is the last address of a source route that has hops left, or nil (RFC 791 section
// 3.1).
func lastHop(options []byte) []byte {
	const endOfList, noOperation, loose, strict, shortest, address = 0, 1, 131, 137, 7, 4
	for len(options) > 1 {
		kind, length := options[0], int(options[1])
		switch {
		case kind == endOfList:
			return nil
		case kind == noOperation:
			options = options[1:]
			continue
		case length < 2 || length > len(options):
			return nil
		case (kind == loose || kind == strict) && length >= shortest && int(options[2]) <= length:
			return options[length-address : length]
		}
		options = options[length:]
	}
	return nil
}

// homeSearch looks for the option Home Address among extension headers and their options, of
// which it looks at the first 64 (RFC 6275 section 6.3).
type homeSearch struct {
	looked int
	found  []byte
}

const mostLooked = 64

// header looks at an extension header, which begins b; left is how much of the packet there
// was from it on.
func (s *homeSearch) header(b []byte, number, left int) {
	if s.found != nil || s.looked >= mostLooked {
		return
	}
	s.looked++
	length := (int(b[1]) + 1) * extensionUnit
	if number != destination || length > left || length > len(b) {
		return
	}
	const pad1, home, address = 0, 0xc9, 16
	for options := b[2:length]; len(options) > 0 && s.looked < mostLooked; {
		s.looked++
		if options[0] == pad1 {
			options = options[1:]
			continue
		}
		if len(options) < 2 || 2+int(options[1]) > len(options) {
			return
		}
		if options[0] == home && options[1] == address {
			s.found = options[2:][:address]
			return
		}
		options = options[2+int(options[1]):]
	}
}

// showsPseudoHeader reports whether a message over IPv4 has a checksum that is right with a
// pseudo-header and wrong without (field.Other.Shown).
func (r *Runner) showsPseudoHeader(d datagram) truth {
	header := r.data[r.at[field.IP]:]
	end := r.at[field.IP] + int(binary.BigEndian.Uint16(header[2:]))
	switch size := end - d.at; {
	case header[6]&moreFragments != 0, end > r.length, size < 0, size > field.MostShown:
		return no
	case end > len(r.data):
		return unknown
	}
	without := added(r.data[d.at:end])
	with := without + added(header[12:20]) + uint64(d.number) + uint64(end-d.at)
	return truthOf(with%modulus == 0 && without%modulus != 0)
}
