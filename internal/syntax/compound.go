package syntax

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// joinFields makes one token of a protocol and a word behind it that are the name of a field
// together, as in nft's udp dport (semantics.md 2.3). What is the value of a field before it, the
// header behind swap, or a name stays as it is; behind not too, where it would mean two things.
func joinFields(tokens []Token) []Token {
	out := tokens[:0]
	var c compounds
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if !c.isValue(t) && i+1 < len(tokens) && (i == 0 || !slices.Contains(apart, tokens[i-1].Text)) {
			if joined, ok := compound(t, tokens[i+1]); ok {
				t = joined
				i++
			}
		}
		c.read(t)
		out = append(out, t)
	}
	return out
}

// apart are the words behind which a protocol and a field are not read as one.
var apart = []string{"swap", "redirect", "from", "not"}

// compound is the field that a protocol and a word behind it are together.
func compound(t, word Token) (Token, bool) {
	proto, ok := field.ProtocolByName(t.Text)
	if !ok || !t.word || !word.word {
		return Token{}, false
	}
	name := proto.Header().Prefix + "_" + strings.ReplaceAll(word.Text, ".", "_")
	_, ok = field.ByName(name)
	return Token{Text: name, word: true, At: Span{t.At.Start, word.At.End}}, ok
}

// compounds knows, while tokens are read in order, whether the next one is the value of a field.
type compounds struct {
	// field is the one whose value may come next, and last the one before a comma.
	field, last *field.Field
}

// isValue reports whether a token is the name of a value of the field before it.
func (c *compounds) isValue(t Token) bool {
	if c.field == nil {
		return false
	}
	_, named := c.field.Names.Lookup(t.Text)
	return named
}

func (c *compounds) read(t Token) {
	o, worded := operand.ByWord(t.Text)
	switch ref, isField := ResolveField(t); {
	case t.Text == ",":
		c.field = c.last
	case c.field == nil && isField:
		c.field, c.last = ref.Fields[0], ref.Fields[0]
	case isField: // it is copied
		c.field, c.last = nil, nil
	case comparisons[t.Text], t.Text == "=", t.Text == "set", worded && o.Argument == operand.Value:
	default:
		c.field = nil
	}
}

// comparisons are the words between a field and the value that it is compared with.
var comparisons = wordSet("eq ne lt le gt ge")

// behindNot rejects a protocol and a field behind not: it could be for both, or for the
// protocol alone.
func (p *parser) behindNot(not Token) {
	proto, word := p.peek(), p.second()
	joined, ok := compound(proto, word)
	if !ok {
		return
	}
	shown := Span{not.At.Start, p.peekAt(word, 1).At.End}
	at := Span{proto.At.Start, word.At.End}
	if _, alone := ResolveField(word); !alone {
		p.fail(at, "", "behind not, the name of a field is one word").
			Propose(Replace("", at, joined.Text, "").Showing(shown))
		return
	}
	p.fail(Span{not.At.Start, word.At.End}, "", "%s means two things", p.words(Span{not.At.Start, word.At.End})).Propose(
		Replace("for both: ", at, joined.Text, "").Showing(shown),
		insert("; for "+proto.Text+" alone: ", proto.At.End, " and").Showing(shown).Beside())
}
