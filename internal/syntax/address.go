package syntax

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"

	"repacket/internal/field"
)

// ParseMAC reads six bytes with colons or hyphens between them.
func ParseMAC(text string) (v field.Value, ok bool) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(text) != len("aa:bb:cc:dd:ee:ff") {
		return v, false
	}
	return field.V(binary.BigEndian.Uint64(append([]byte{0, 0}, mac...))), true
}

// ParseAddress reads an address of a kind; one of IPv6 has no zone.
func ParseAddress(kind field.Kind, text string) (v field.Value, ok bool) {
	if kind == field.MAC {
		return ParseMAC(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Is4() != (kind == field.Address4) || a.Zone() != "" {
		return v, false
	}
	b := a.As16()
	if a.Is4() {
		return field.V(uint64(binary.BigEndian.Uint32(b[12:]))), true
	}
	return field.Value{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}, true
}

// AddressKind is the kind of address that a word is, or begins with before a
// prefix length or the end of a range; field.Number if it is none.
func AddressKind(word string) field.Kind {
	if _, ok := ParseMAC(word); ok {
		return field.MAC
	}
	word, _, _ = strings.Cut(word, "/")
	word, _, _ = strings.Cut(word, "-")
	word, _, _ = strings.Cut(word, "%")
	if _, ok := ParseMAC(word); ok {
		return field.MAC
	}
	for _, kind := range []field.Kind{field.Address4, field.Address6} {
		if _, ok := ParseAddress(kind, word); ok {
			return kind
		}
	}
	return field.Number
}
