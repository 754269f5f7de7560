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
// before it may say what was meant, as in nft's vlan id; else it is as Meant.
func (p *parser) unknown(t Token, candidates []string) (hint string, meant []Suggestion) {
	if meant := behindHeader(p.before(t), t); meant != nil {
		return "", meant
	}
	return Meant(t.At, t.Text, candidates)
}

// behindHeader suggests what the word behind a header's name may mean, if both together
// are a field, or the word is the name of a value that a field of the header has.
func behindHeader(header, word Token) []Suggestion {
	proto, ok := field.ProtocolByName(header.Text)
	if !ok || !word.word {
		return nil
	}
	at := Span{header.At.Start, word.At.End}
	if f, ok := field.ByName(proto.Header().Prefix + "_" + strings.ReplaceAll(word.Text, ".", "_")); ok {
		return list(Replace(didYouMean, at, f.Name, ""))
	}
	for _, f := range field.Fields() {
		if _, named := f.Names.Lookup(word.Text); named && f.Proto == proto {
			return list(Replace(didYouMean, at, f.Name+" "+word.Text, ""))
		}
	}
	return nil
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
func (p *parser) fieldless(t Token) (hint string, meant []Suggestion) {
	before := p.before(t)
	operator := ""
	switch before.Text {
	case "if", "and", "or", "not", "(":
		return "a field stands before its value", nil
	case "less", "below", "under", "lower":
		operator = "lt"
	case "more", "above", "over", "greater", "higher":
		operator = "gt"
	default:
		if proto, ok := field.ProtocolByName(before.Text); ok {
			return "the fields of " + proto.Header().Title + ": repacket fields " + before.Text, nil
		}
	}
	if operator != "" {
		return "", list(Replace(didYouMean, before.At, operator, ""))
	}
	name, ok := p.fieldBefore(t)
	if !ok {
		return "the values of a list have commas between them", nil
	}
	both := Replace("the values of a list have commas between them: ", Span{before.At.End, t.At.Start}, ",", "").
		Showing(Span{name.At.Start, t.At.End})
	if p.restOfStatement(t, "then") {
		return "the values of a list have commas between them", list(both)
	}
	both.Lead = "; to test for both: "
	return "the values of a list have commas between them",
		list(insert("to set the second: ", t.At.Start, "then "+name.Text+" "), both.Whole().Beside())
}

// fieldBefore is the name of the field whose value stands right before t.
func (p *parser) fieldBefore(t Token) (Token, bool) {
	for i := p.index(t) - 2; i >= 0; i-- {
		if _, ok := ResolveField(p.tokens[i]); ok {
			return p.tokens[i], true
		}
		if !isValueWord(p.tokens[i]) && p.tokens[i].Text != "," && p.tokens[i].Text != "eq" && p.tokens[i].Text != "=" {
			break
		}
	}
	return Token{}, false
}

// restOfStatement reports whether a word stands between t and the rule's end.
func (p *parser) restOfStatement(t Token, word string) bool {
	for _, o := range p.tokens[p.index(t):p.statementEnd(t)] {
		if o.Text == word {
			return true
		}
	}
	return false
}

// statementEnd is the place of the token behind the rule that t is in.
func (p *parser) statementEnd(t Token) int {
	i := p.index(t)
	for i < len(p.tokens)-1 && (p.tokens[i].At == t.At || p.tokens[i].Text != ";" && p.tokens[i].Text != "else" && p.tokens[i].Text != "from") {
		i++
	}
	return i
}
