package syntax

import (
	"slices"
	"strings"

	"repacket/internal/field"
)

// before is the token in front of t, or the first one itself.
func (p *parser) before(t Token) Token { return p.tokens[max(p.index(t)-1, 0)] }

// after is the token behind t, or the end.
func (p *parser) after(t Token) Token { return p.tokens[min(p.index(t)+1, len(p.tokens)-1)] }

func (p *parser) index(t Token) int {
	return slices.IndexFunc(p.tokens, func(o Token) bool { return o.At == t.At })
}

// unknown is the hint for a word that means nothing where it stands: what stands
// before it may say what was meant, as in nft's vlan id; else it is as suggest.
func (p *parser) unknown(t Token, candidates []string) string {
	if hint := behindHeader(p.before(t), t.Text); hint != "" {
		return hint
	}
	return Suggest(t.Text, candidates)
}

// behindHeader is the hint for the word behind a header's name, if both together
// are a field, or the word is the name of a value that a field of the header has.
func behindHeader(header Token, word string) string {
	proto, ok := field.ProtocolByName(header.Text)
	if !ok {
		return ""
	}
	if f, ok := field.ByName(proto.Header().Prefix + "_" + strings.ReplaceAll(word, ".", "_")); ok {
		return "did you mean " + f.Name + "?"
	}
	for _, f := range field.Fields() {
		if _, named := f.Names.Lookup(word); named && f.Proto == proto {
			return "did you mean " + f.Name + " " + word + "?"
		}
	}
	return ""
}

// namedAfter is the name of the value by which a field names a header, as ipv4 of
// eth_type for ip, or "".
func namedAfter(f *field.Field, header Token) string {
	proto, ok := field.ProtocolByName(header.Text)
	if !ok {
		return ""
	}
	return f.Names.Word(uint64(proto.Header().Number))
}

// fieldless is the hint for a value in a condition that stands behind no field.
func (p *parser) fieldless(t Token) string {
	switch before := p.before(t); before.Text {
	case "if", "and", "or", "not", "(":
		return "a field stands before its value: udp_dest 53"
	case "less", "below", "under", "lower":
		return "did you mean lt?"
	case "more", "above", "over", "greater", "higher":
		return "did you mean gt?"
	default:
		if proto, ok := field.ProtocolByName(before.Text); ok {
			return "the fields of " + proto.Header().Title + ": repacket fields " + before.Text
		}
	}
	return "the values of a list have commas between them: udp_dest 53,80-90"
}
