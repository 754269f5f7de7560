package reference

import "repacket/internal/field"

// The options that carry an address of the pseudo-header: the source routes of IPv4 (RFC
// 791 section 3.1) and the Home Address of IPv6 (RFC 6275 section 6.3).
const (
	looseRoute, strictRoute = 131, 137
	homeAddress             = 0xc9
)

// maxSearched is how many extension headers and options the Home Address option is looked
// for among, each of them counted.
const maxSearched = 64

// lastHop is the last address of a source route that has hops left, or nil. A route whose
// pointer is behind its end has none.
func lastHop(options []byte) []byte {
	const end, noOperation, addressLen = 0, 1, 4
	for len(options) > 0 && options[0] != end {
		if options[0] == noOperation {
			options = options[1:]
			continue
		}
		if len(options) == 1 {
			return nil
		}
		length := int(options[1])
		if length < 2 || length > len(options) {
			return nil
		}
		isRoute := options[0] == looseRoute || options[0] == strictRoute
		if isRoute && length >= 3+addressLen && int(options[2]) <= length {
			return options[length-addressLen : length]
		}
		options = options[length:]
	}
	return nil
}

// findHome looks for the Home Address among the options of a destination options header.
func (s *steps) findHome(header []byte) {
	const pad1, addressLen = 0, 16
	for options := header[2:]; len(options) > 0 && s.home == nil && s.searched < maxSearched; {
		s.searched++
		if options[0] == pad1 {
			options = options[1:]
			continue
		}
		if len(options) == 1 || 2+int(options[1]) > len(options) {
			return
		}
		if options[0] == homeAddress && options[1] == addressLen {
			s.home = options[2:][:addressLen]
		}
		options = options[2+int(options[1]):]
	}
}

// addresses is the sum of the addresses in the pseudo-header: those of the IP header, or
// what stands for them behind it. While a routing header has segments left, the last
// destination is nowhere in the IPv6 header, no rule can write it, and it is left out.
func (p packet) addresses() int {
	if l3, ok := p.at[field.IP]; ok {
		dest := p.frame[l3+16 : l3+20]
		if p.lastHop != nil {
			dest = p.lastHop
		}
		return sum(p.frame[l3+12:l3+16]) + sum(dest)
	}
	l3 := p.at[field.IP6]
	src := p.frame[l3+8 : l3+24]
	if p.stepped.home != nil {
		src = p.stepped.home
	}
	if p.stepped.routed {
		return sum(src)
	}
	return sum(src) + sum(p.frame[l3+24:l3+40])
}
