package syntax

import (
	"slices"
	"strings"

	"repacket/internal/field"
)

// text is a source and the tokens in it: what hints are made from.
type text struct {
	source string
	tokens []Token
}

// words is a piece of the source, cropped where it is long.
func (x text) words(at Span) string { return Excerpt(x.source, at) }

func (x text) startsRule(t Token) bool {
	_, named := ruleName(x.source, t)
	return named || t.Text == "if"
}

// before is the token in front of t, or the first one itself.
func (x text) before(t Token) Token { return x.tokens[max(x.index(t)-1, 0)] }

// after is the token behind t, or the end.
func (x text) after(t Token) Token { return x.tokens[min(x.index(t)+1, len(x.tokens)-1)] }

func (x text) index(t Token) int {
	return slices.IndexFunc(x.tokens, func(o Token) bool { return o.At == t.At })
}

// unknown is the hint for a word that means nothing where it stands: what stands
// before it may say what was meant, as in nft's vlan id; else it is as Meant.
func (x text) unknown(t Token, candidates []string) (hint string, meant []Suggestion) {
	if meant := behindHeader(x.before(t), t); meant != nil {
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
func (x text) fieldless(t Token) (hint string, meant []Suggestion) {
	before := x.before(t)
	switch before.Text {
	case "if", "and", "or", "not", "(":
		return "a field stands before its value", nil
	}
	if proto, ok := field.ProtocolByName(before.Text); ok {
		return "the fields of " + proto.Header().Title + ": repacket fields " + before.Text, nil
	}
	name, ok := x.fieldBefore(t)
	if !ok {
		return "the values of a list have commas between them", nil
	}
	both := Replace("the values of a list have commas between them: ", Span{before.At.End, t.At.Start}, ",", "").
		Showing(Span{name.At.Start, t.At.End})
	if x.restOfStatement(t, "then") {
		return "the values of a list have commas between them", list(both)
	}
	both.Lead = "; to test for both: "
	return "the values of a list have commas between them",
		list(insert("to set the second: ", t.At.Start, "then "+name.Text+" "), both.Whole().Beside())
}

// fieldBefore is the name of the field whose value stands right before t.
func (x text) fieldBefore(t Token) (Token, bool) {
	for i := x.index(t) - 2; i >= 0; i-- {
		if _, ok := ResolveField(x.tokens[i]); ok {
			return x.tokens[i], true
		}
		if !isValueWord(x.tokens[i]) && x.tokens[i].Text != "," && x.tokens[i].Text != "eq" && x.tokens[i].Text != "=" {
			break
		}
	}
	return Token{}, false
}

// restOfStatement reports whether a word stands between t and the rule's end.
func (x text) restOfStatement(t Token, word string) bool {
	for _, o := range x.tokens[x.index(t):x.statementEnd(t)] {
		if o.Text == word {
			return true
		}
	}
	return false
}

// statementEnd is the place of the token behind the rule that t is in.
func (x text) statementEnd(t Token) int {
	i := x.index(t)
	for i < len(x.tokens)-1 && (x.tokens[i].At == t.At || x.tokens[i].Text != ";" && x.tokens[i].Text != "else" && x.tokens[i].Text != "from") {
		i++
	}
	return i
}
