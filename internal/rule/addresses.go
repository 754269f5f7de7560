package rule

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// printAddress writes an address of f as people write it (IPv6: RFC 5952).
func printAddress(f *field.Field, v field.Value) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], v.Hi)
	binary.BigEndian.PutUint64(b[8:], v.Lo)
	switch f.Kind {
	case field.Address4:
		return netip.AddrFrom4([4]byte(b[12:])).String()
	case field.Address6:
		return netip.AddrFrom16(b).String()
	}
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", b[10], b[11], b[12], b[13], b[14], b[15])
}

// article is the kind of an address with its article.
func article(k field.Kind) string {
	if k == field.MAC {
		return "a MAC address"
	}
	return "an " + k.String()
}

// address reads an address of the field's kind.
func (l literal) address() field.Value {
	if kind := syntax.AddressKind(l.word); kind != l.f.Kind && kind != field.Number {
		l.fail(l.at, l.addressField(kind), "%s takes %s, not %s", l.name, article(l.f.Kind), syntax.Crop(l.word))
		return field.Value{}
	}
	switch l.f.Kind {
	case field.Address4:
		return l.address4()
	case field.Address6:
		return l.address6()
	}
	v, ok := syntax.ParseMAC(l.text)
	if !ok {
		hint := "six bytes in hexadecimal: " + syntax.Example(l.f)
		if strings.Count(l.word, "-") > 5 {
			hint = "in a range, addresses with colons: 02:00:00:00:00:00-02:00:00:00:00:ff"
		}
		l.fail(l.at, hint, "%s is not a MAC address", orNothing(l.text))
	}
	return v
}

// maskLength is the hint for a mask in the place of a prefix's length.
func maskLength(mask string) string {
	at, err := netip.ParseAddr(mask)
	if err != nil {
		return ""
	}
	ones := 0
	for _, b := range at.AsSlice() {
		ones += bits.OnesCount8(b)
	}
	if p, err := at.Prefix(ones); err != nil || p.Addr() != at { // ones behind a zero
		return ""
	}
	return fmt.Sprintf("as a length: /%d", ones)
}

// withPort is the hint for an address that a port stands behind.
func (l literal) withPort() string {
	address, port, ok := strings.Cut(l.text, ":")
	if _, err := netip.ParseAddr(address); err != nil || !ok || !onlyDigits(port, 10) {
		return "four numbers from 0 to 255: 10.0.0.1"
	}
	side := "dport "
	if strings.HasSuffix(l.f.Name, "_src") {
		side = "sport "
	}
	return "a port is a field of its own: " + l.name + " " + address + " " + side + port
}

// address4 reads an IPv4 address.
func (l literal) address4() field.Value {
	if a, err := netip.ParseAddr(l.text); err == nil && a.Is4() {
		b := a.As4()
		return field.V(uint64(binary.BigEndian.Uint32(b[:])))
	}
	parts := strings.Split(l.text, ".")
	for _, part := range parts {
		octet, err := strconv.ParseUint(part, 10, 64)
		switch {
		case !onlyDigits(part, 10) || len(parts) != 4:
			l.fail(l.at, l.withPort(), "%s is not an IPv4 address", orNothing(l.text))
		case err != nil || octet > 255:
			l.fail(l.at, "", "%s is not an IPv4 address: %s is above 255", syntax.Crop(l.text), syntax.Crop(part))
		case len(part) > 1 && part[0] == '0':
			l.fail(l.at, "", "%s is not an IPv4 address: %s begins with 0, which some read as octal", syntax.Crop(l.text), syntax.Crop(part))
		}
	}
	return field.Value{}
}

// address6 reads an IPv6 address.
func (l literal) address6() field.Value {
	v, ok := syntax.ParseIPv6(l.text)
	if bare, _, zone := strings.Cut(l.text, "%"); zone && !ok {
		l.fail(l.at, "without the zone: "+bare, "%s has a zone, which no packet carries", syntax.Crop(l.text))
	} else if !ok {
		l.fail(l.at, "such as "+syntax.Example(l.f), "%s is not an IPv6 address", orNothing(l.text))
	}
	return v
}

// partners are the fields of ARP that hold the two addresses of one host.
var partners = map[string]string{"arp_sha": "arp_spa", "arp_tha": "arp_tpa", "arp_spa": "arp_sha", "arp_tpa": "arp_tha"}

// addressField is the hint that names the field that takes the kind of
// address that l's word is.
func (l literal) addressField(kind field.Kind) string {
	prefix := map[field.Kind]string{field.Address4: "ip_", field.Address6: "ip6_", field.MAC: "eth_"}[kind]
	name := partners[l.f.Name]
	if name == "" {
		name = prefix + l.f.Name[strings.LastIndexByte(l.f.Name, '_')+1:]
	}
	if f, ok := field.ByName(name); ok && f.Kind == kind {
		return fmt.Sprintf("for %s: %s %s", article(kind), name, syntax.Crop(l.word))
	}
	return fmt.Sprintf("for %s: %ssrc or %sdest", article(kind), prefix, prefix)
}

// prefix reads ADDRESS/LENGTH.
func (l literal) prefix() field.Range {
	slash := strings.IndexByte(l.text, '/')
	length := l.part(slash+1, len(l.text))
	v := l.part(0, slash).value()
	n, err := strconv.Atoi(length.text)
	if err != nil || !onlyDigits(length.text, 10) || n > l.f.Width {
		l.fail(length.at, maskLength(length.text), "a prefix of %s has a length from 0 to %d, not %s", article(l.f.Kind), l.f.Width, orNothing(length.text))
		return field.Range{}
	}
	host := field.Ones(l.f.Width - n)
	lo := v.AndNot(host)
	if lo != v {
		l.fail(l.at, fmt.Sprintf("the prefix is %s/%d, the address alone is %s", printAddress(l.f, lo), n, printAddress(l.f, v)),
			"%s has bits behind the prefix", l.text)
	}
	return field.Range{Lo: lo, Hi: lo.Or(host)}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return syntax.Crop(text)
}
