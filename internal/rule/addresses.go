package rule

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
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

// article is a kind with its article.
func article(k field.Kind) string {
	if k == field.Address4 || k == field.Address6 {
		return "an " + k.String()
	}
	return "a " + k.String()
}

// address reads an address of the field's kind.
func (l literal) address() field.Value {
	if v, ok := syntax.ParseAddress(l.f.Kind, l.text); ok {
		return v
	}
	kind := syntax.AddressKind(l.word)
	switch {
	case kind != l.f.Kind && kind != field.Number:
		l.fail(l.at, "", "%s takes %s, not %s", l.name, article(l.f.Kind), syntax.Crop(l.word)).Propose(l.addressField(kind)...)
	case l.f.Kind == field.Address4:
		l.noAddress4()
	case l.f.Kind == field.Address6:
		l.noAddress6()
	case strings.Count(l.word, "-") > 5:
		l.fail(l.at, "in a range, addresses with colons", "%s is not a MAC address", orNothing(l.text))
	default:
		l.fail(l.at, "six bytes in hexadecimal, with colons between them", "%s is not a MAC address", orNothing(l.text)).
			Propose(l.withColons()...)
	}
	return field.Value{}
}

// withColons suggests a MAC address for one that is written in another way, such as
// Cisco's aabb.ccdd.eeff.
func (l literal) withColons() []syntax.Suggestion {
	digits := strings.NewReplacer(".", "", "-", "", ":", "").Replace(l.text)
	if b, err := hex.DecodeString(digits); err == nil && len(b) == 6 {
		return []syntax.Suggestion{l.becomes("with colons: ", net.HardwareAddr(b).String())}
	}
	return nil
}

// maskLength suggests the length for a mask in its place.
func maskLength(l literal) []syntax.Suggestion {
	at, err := netip.ParseAddr(l.text)
	if err != nil {
		return nil
	}
	ones := 0
	for _, b := range at.AsSlice() {
		ones += bits.OnesCount8(b)
	}
	if p, err := at.Prefix(ones); err != nil || p.Addr() != at { // ones behind a zero
		return nil
	}
	slash := Span{Start: l.at.Start - 1, End: l.at.End}
	return []syntax.Suggestion{syntax.Replace("as a length: ", slash, fmt.Sprintf("/%d", ones), "")}
}

// withPort is the hint for what is no address, which a port may stand behind.
func (l literal) withPort() (hint string, meant []syntax.Suggestion) {
	address, port, ok := strings.Cut(l.text, ":")
	if _, err := netip.ParseAddr(address); err != nil || !ok || !onlyDigits(port, 10) {
		return "four numbers from 0 to 255, with dots between them", nil
	}
	side := "dport "
	if strings.HasSuffix(l.f.Name, "_src") {
		side = "sport "
	}
	hint = "a port is a field of its own"
	return hint, []syntax.Suggestion{l.becomes(hint+": ", address+" "+side+port)}
}

// noAddress4 is the error for what is no IPv4 address.
func (l literal) noAddress4() {
	parts := strings.Split(l.text, ".")
	for _, part := range parts {
		octet, err := strconv.ParseUint(part, 10, 64)
		switch {
		case !onlyDigits(part, 10) || len(parts) != 4:
			hint, meant := l.withPort()
			l.fail(l.at, hint, "%s is not an IPv4 address", orNothing(l.text)).Propose(meant...)
		case err != nil || octet > 255:
			l.fail(l.at, "", "%s is not an IPv4 address: %s is above 255", syntax.Crop(l.text), syntax.Crop(part))
		case len(part) > 1 && part[0] == '0':
			l.fail(l.at, "", "%s is not an IPv4 address: %s begins with 0, which some read as octal", syntax.Crop(l.text), syntax.Crop(part))
		}
	}
}

// noAddress6 is the error for what is no IPv6 address.
func (l literal) noAddress6() {
	if bare, _, zone := strings.Cut(l.text, "%"); zone {
		l.fail(l.at, "", "%s has a zone, which no packet carries", syntax.Crop(l.text)).
			Propose(syntax.Replace("without the zone: ", l.at, bare, ""))
		return
	}
	l.fail(l.at, "groups in hexadecimal with colons between them, :: for a run of zeros", "%s is not an IPv6 address", orNothing(l.text))
}

// partners are the fields of ARP that hold the two addresses of one host.
var partners = map[string]string{"arp_sha": "arp_spa", "arp_tha": "arp_tpa", "arp_spa": "arp_sha", "arp_tpa": "arp_tha"}

// addressField suggests the field that takes the kind of address that l's word is.
func (l literal) addressField(kind field.Kind) []syntax.Suggestion {
	prefix := map[field.Kind]string{field.Address4: "ip_", field.Address6: "ip6_", field.MAC: "eth_"}[kind]
	name := partners[l.f.Name]
	if name == "" {
		name = prefix + l.f.Name[strings.LastIndexByte(l.f.Name, '_')+1:]
	}
	lead := "for " + article(kind) + ": "
	if f, ok := field.ByName(name); ok && f.Kind == kind {
		return []syntax.Suggestion{l.renamed(lead, name)}
	}
	return []syntax.Suggestion{l.renamed(lead, prefix+"src"), l.renamed(" or ", prefix+"dest").Beside()}
}

// prefix reads ADDRESS/LENGTH.
func (l literal) prefix() field.Range {
	slash := strings.IndexByte(l.text, '/')
	length := l.part(slash+1, len(l.text))
	v := l.part(0, slash).value()
	n, err := strconv.Atoi(length.text)
	if err != nil || !onlyDigits(length.text, 10) || n > l.f.Width {
		l.fail(length.at, "", "a prefix of %s has a length from 0 to %d, not %s", article(l.f.Kind), l.f.Width, orNothing(length.text)).
			Propose(maskLength(length)...)
		return field.Range{}
	}
	host := field.Ones(l.f.Width - n)
	lo := v.AndNot(host)
	if lo != v {
		l.fail(l.at, "", "%s has bits behind the prefix", l.text).Propose(
			syntax.Replace("the prefix is ", l.at, fmt.Sprintf("%s/%d", printAddress(l.f, lo), n), ""),
			syntax.Replace("; the address alone is ", l.at, printAddress(l.f, v), "").Beside())
	}
	return field.Range{Lo: lo, Hi: lo.Or(host)}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return syntax.Crop(text)
}
