package syntax

import (
	"slices"
	"strings"
	"unicode/utf8"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// sending is a verdict as somebody wrote it, in rules or in words that are none yet.
type sending struct {
	// what is the verdict, with its interface for redirect.
	what string
	// guard are the words that say for which packets.
	guard []string
	// closing: it stands behind the last else, for all that is left.
	closing bool
}

// Widens reports whether a text of rules gives a verdict that another text, which
// may be no rules, does not give, or gives it on fewer conditions. It goes by the words:
// what they mean where they are no rules, nobody knows.
func Widens(written, rules string) bool {
	have := sendings(written)
	for _, s := range sendings(rules) {
		i := slices.IndexFunc(have, func(h sending) bool { return h.allows(s) })
		if i < 0 {
			return true
		}
		have = slices.Delete(have, i, i+1)
	}
	return false
}

// allows reports whether a verdict in rules is no more than one as written.
func (h sending) allows(s sending) bool {
	if h.what != s.what || h.closing != s.closing {
		return false
	}
	if h.closing && len(h.guard) > 0 {
		return false // what stands beside it may be meant as a condition or as an action
	}
	if !h.closing && (len(h.guard) == 0 || len(s.guard) == 0) {
		return false // it is for no packets in particular: all of them is a thing to say
	}
	missing, added := difference(h.guard, s.guard), difference(s.guard, h.guard)
	values := 0 // what may come along with a name that stands for a word unknown, as in icmp_type 8 for ping
	for _, w := range missing {
		i := slices.IndexFunc(added, func(a string) bool { return standsFor(a, w) })
		switch {
		case i >= 0 && !implied(w, added):
			if classOf(added[i]) == "name" {
				values++
			}
			added = slices.Delete(added, i, i+1)
		case !implied(w, added):
			return false
		}
	}
	return narrows(added, values)
}

// narrows reports whether words that are added to a condition leave it as narrow as
// it was: each value behind a name of its own, or one of those names that stand for other
// words, and neither or nor not.
func narrows(added []string, names int) bool {
	values := 0
	for _, w := range added {
		switch classOf(w) {
		case "or", "not", "all", "chance":
			return false
		case "name":
			names++
		case "value":
			values++
		}
	}
	return values <= names
}

// implied reports whether a header's name is said by one of its fields.
func implied(word string, added []string) bool {
	proto, ok := field.ProtocolByName(word)
	return ok && slices.ContainsFunc(added, func(a string) bool {
		f, known := field.ByName(a)
		return known && f.Proto == proto
	})
}

// standsFor reports whether a word of rules may stand for one that was written.
func standsFor(word, written string) bool {
	if confusions()[written] == word {
		return true
	}
	switch was, is := classOf(written), classOf(word); is {
	case "or", "not", "chance":
		return false
	case "all":
		return written == "any" || written == "every"
	case "name":
		return was == "unknown" // a test of one field is none of another one
	default:
		return was == is || was == "unknown"
	}
}

// classOf is what kind of word of a condition a word is.
func classOf(word string) string {
	_, ref := ResolveField(Token{Text: word})
	_, proto := field.ProtocolByName(word)
	switch word {
	case "or", "not", "all", "chance":
		return word
	case "lt", "le", "gt", "ge":
		return "operator"
	}
	if o, worded := operand.ByWord(word); worded && o.Test != "" {
		return "operator"
	}
	switch {
	case ref || proto:
		return "name"
	case looksLikeValue(word) || isValueName(word):
		return "value"
	}
	return "unknown"
}

// isValueWord reports whether a word can only be meant as a value.
func isValueWord(t Token) bool { return t.word && (looksLikeValue(t.Text) || isValueName(t.Text)) }

func isValueName(word string) bool {
	return slices.ContainsFunc(field.Fields(), func(f *field.Field) bool {
		_, named := f.Names.Lookup(word)
		return named
	})
}

// difference are the words of a without those of b, each as often as it is there.
func difference(a, b []string) []string {
	rest := slices.Clone(b)
	var out []string
	for _, w := range a {
		if i := slices.Index(rest, w); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			out = append(out, w)
		}
	}
	return out
}

// sendings are the verdicts in a text, with the words that say for which packets.
func sendings(source string) []sending {
	tokens := looseTokens(source)
	var out []sending
	for start, orElse := 0, false; start < len(tokens); {
		end := statementEnd(source, tokens, start)
		out = append(out, statementSendings(source, tokens[start:end], orElse)...)
		if end == start { // it begins with what ends it
			end++
		}
		orElse = tokens[end-1].Text == "else" || end < len(tokens) && tokens[end].Text == "else"
		start = end
	}
	return out
}

// looseTokens are the tokens of a text without what is none.
func looseTokens(source string) []Token {
	var out []Token
	for pos := skipBlanks(source, 0); pos < len(source); pos = skipBlanks(source, pos) {
		t, ok := lexOne(source, pos, out)
		if !ok {
			_, size := utf8.DecodeRuneInString(source[pos:])
			pos += size
			continue
		}
		out = append(out, t)
		pos = t.At.End
	}
	return joinFields(out)
}

// statementEnd is the end of the rule, or of what was meant as one, that begins at
// a token: before a ;, an else or the next if. One that does not begin with if may have
// one behind its actions.
func statementEnd(source string, tokens []Token, start int) int {
	ifs := 0
	for i := start; i < len(tokens); i++ {
		_, named := ruleName(source, tokens[i])
		switch text := tokens[i].Text; {
		case text == ";" || text == "else":
			return i
		case named && i > start:
			return i
		case text == "if":
			if ifs++; ifs > 1 {
				return i
			}
		}
	}
	return len(tokens)
}

// statementSendings are the verdicts in one rule, or in what was meant as one.
func statementSendings(source string, tokens []Token, orElse bool) []sending {
	if len(tokens) > 0 {
		if _, named := ruleName(source, tokens[0]); named {
			tokens = tokens[1:]
		}
	}
	is := func(text string) func(Token) bool { return func(t Token) bool { return t.Text == text } }
	ifAt, thenAt := slices.IndexFunc(tokens, is("if")), slices.IndexFunc(tokens, is("then"))
	closing := orElse && ifAt < 0 && len(tokens) > 0 && (thenAt == 0 || thenAt < 0 && meansAction(tokens[0]))
	guard := contents(tokens)
	switch {
	case closing && thenAt == 0:
		guard = nil
	case thenAt >= 0 && ifAt <= 0:
		guard = contents(tokens[:thenAt])
	case thenAt < 0 && ifAt > 0 && !slices.ContainsFunc(tokens[ifAt:], isVerdict):
		guard = contents(tokens[ifAt:])
	}
	var out []sending
	for i, t := range tokens {
		if isVerdict(t) && (i == 0 || tokens[i-1].Text != "redirect") {
			out = append(out, sending{what: verdictOf(tokens[i:]), guard: guard, closing: closing})
		}
	}
	return out
}

func meansAction(t Token) bool {
	_, set := ResolveField(t)
	return set || isVerdict(t) || t.Text == "swap"
}

func isVerdict(t Token) bool { return verdictWord(t.Text) != "" }

// verdictWord is the verdict that a word is, or is another tool's or a mistyped word
// for, or "".
func verdictWord(word string) string {
	if s, ok := confusions()[word]; ok {
		word = s
	} else if near := Nearest(word, verdictWords[:]); near != "" && classOf(word) == "unknown" && near[0] == word[0] {
		word = near
	}
	if _, ok := verdictByWord(word); ok {
		return word
	}
	return ""
}

// verdictOf is the verdict that tokens begin with, redirect with its interface.
func verdictOf(tokens []Token) string {
	what := verdictWord(tokens[0].Text)
	if what != verdictWords[ToInterface] {
		return what
	}
	rest := tokens[1:]
	if len(rest) > 1 && rest[0].Text == "to" {
		rest = rest[1:]
	}
	if len(rest) > 0 {
		what += " " + rest[0].Text
	}
	return what
}

// contents are the words that tell for which packets a rule is, without those that
// only join or introduce them, verdicts and swaps.
func contents(tokens []Token) []string {
	var out []string
	for i := 0; i < len(tokens); i++ {
		switch text := tokens[i].Text; {
		case text == "swap":
			i++
		case isVerdict(tokens[i]):
			if verdictWord(text) == verdictWords[ToInterface] {
				i++
				if i < len(tokens)-1 && tokens[i].Text == "to" {
					i++
				}
			}
		case text == "ne":
			out = append(out, "not")
		case strings.HasSuffix(text, "%") && (i == 0 || tokens[i-1].Text != "chance"):
			out = append(out, "chance", text)
		case fillers[text], slices.Contains([]string{"if", "then", "and", "eq", "=", ",", "(", ")", "-", "when", "do", "set", "counter", "port", "ports", "host", "net", "addr", "address", "mac", "random", "probability", "packets", "on"}, text):
		default:
			out = append(out, text)
		}
	}
	return out
}
