package syntax

import (
	"slices"
	"strings"
)

// didYouMean begins hints that name a word. They end with a question mark.
const didYouMean = "did you mean "

// What stands in hints in place of rules that nobody asked for.
const (
	ruleForm  = "if CONDITION then ACTIONS"
	shareForm = "a share is N% or N/N, such as 5% or 1/1000"
)

func list(all ...Suggestion) []Suggestion { return all }

// insert is the suggestion to put a text at a place, all of the source shown.
func insert(lead string, at int, text string) Suggestion {
	return Suggestion{Lead: lead, Edits: []Edit{{Span{at, at}, text}}}
}

// without is the suggestion to leave out a word and the blanks before it.
func (x text) without(t Token) Suggestion {
	start := t.At.Start
	if i := x.index(t); i > 0 {
		start = x.tokens[i-1].At.End
	}
	at := Span{start, t.At.End}
	if x.index(t) == 0 { // the first word takes the blanks behind it along
		at.End = x.after(t).At.Start
	}
	return Replace("", at, "", "")
}

// thenBefore is the suggestion to put then before an action, in the place of and
// where that stands there.
func (x text) thenBefore(t Token) Suggestion {
	lead := "is `then` missing?  "
	if before := x.before(t); before.Text == "and" || before.Text == "," || before.Text == "do" {
		return Replace(lead, Span{before.At.Start, t.At.Start}, x.spaced(before, "then "), "").Whole()
	}
	return insert(lead, t.At.Start, "then ")
}

// thenBehind suggests what then at the beginning of a rule belongs to: the rule before the ;
// in front of it, or all packets.
func (x text) thenBehind(then Token) []Suggestion {
	if before := x.before(then); before.Text == ";" {
		return list(Replace("", before.At, "", "").Whole())
	}
	return list(insert("", then.At.Start, "if all "))
}

// spaced is a text with a blank before it where none stands before a token.
func (x text) spaced(t Token, text string) string {
	if i := x.index(t); i > 0 && x.tokens[i-1].At.End == t.At.Start {
		return " " + text
	}
	return text
}

// becomes suggests what to may mean between two values: the first is tested for, the
// second is set.
func (x text) becomes(t Token) []Suggestion {
	if t.Text != "to" && t.Text != "into" && t.Text != "becomes" || !isValueWord(x.after(t)) {
		return nil
	}
	name, ok := x.fieldBefore(t)
	if !ok {
		return nil
	}
	return list(Replace("", t.At, "then "+name.Text, "").Whole())
}

// restructured suggests rules made of the words of one that does not begin with if:
// with what stands behind if as its condition, with what stands behind a verdict as
// its condition, joined to the rule before as one more action, or just begun with if.
func (x text) restructured(first Token) []Suggestion {
	var out []Suggestion
	start, end := x.index(first), x.statementEnd(first)
	words := x.tokens[start:end]
	isIf := slices.IndexFunc(words, func(t Token) bool { return t.Text == "if" || t.Text == "when" })
	if isIf > 0 {
		out = append(out, x.turned(words, isIf, isIf+1))
	} else if n := verdictLength(words); n > 0 && n < len(words) {
		out = append(out, x.turned(words, n, n))
	}
	if start > 0 && x.tokens[start-1].Text == ";" && isIf < 0 {
		out = append(out, x.joined(x.tokens[start-1])...)
	}
	return append(out, insert("", first.At.Start, "if "))
}

// turned is the suggestion to make the words up to actions the actions of a rule, and
// those from cond on its condition.
func (x text) turned(words []Token, actions, cond int) Suggestion {
	at := Span{words[0].At.Start, words[len(words)-1].At.End}
	rest := words[cond:]
	if next := slices.IndexFunc(rest, func(t Token) bool { return t.Text == "if" }); next >= 0 {
		rest = rest[:next]
		at.End = words[cond+max(next-1, 0)].At.End
	}
	if len(rest) == 0 {
		return insert("", words[0].At.Start, "if ")
	}
	does := strings.TrimSuffix(Flatten(x.source, Span{at.Start, words[actions-1].At.End}), ",")
	text := "if " + Flatten(x.source, Span{rest[0].At.Start, rest[len(rest)-1].At.End}) + " then " + does
	return Replace("", at, text, "").Whole()
}

// verdictLength is how many words the verdict takes that words begin with, or 0.
func verdictLength(words []Token) int {
	switch verdict, ok := verdictByWord(words[0].Text); {
	case !ok:
		return 0
	case verdict != ToInterface:
		return 1
	case len(words) > 2 && words[1].Text == "to":
		return 3
	}
	return 2
}

// joined suggests that what stands behind a ; belongs to the rule before it: as one
// more action, or as its action.
func (x text) joined(semicolon Token) []Suggestion {
	return list(
		Replace("", semicolon.At, ",", "").Whole(),
		Replace("", semicolon.At, x.spaced(semicolon, "then"), "").Whole(),
	)
}

// renamed suggests how a name's colon is to stand.
func (x text) renamed(t Token) []Suggestion {
	if i := strings.IndexByte(t.Text, ':'); i >= 0 {
		return list(insert("", t.At.Start+i+1, " "))
	}
	return list(Replace("", Span{t.At.End, x.after(t).At.Start}, "", "").Whole())
}

// strange suggests what a word may mean that no rule begins with.
func (x text) strange(t Token) []Suggestion {
	out := list()
	if x.sets(t) && !x.restOfStatement(x.after(t), "if") {
		out = append(out, insert("", t.At.Start, "if all then "))
	}
	_, verdict := verdictByWord(confusions()[t.Text])
	if x.after(t).Text == "if" && classOf(t.Text) == "unknown" && !verdict || t.Text == "set" {
		out = append(out, x.without(t).Whole())
	}
	_, meant := Meant(t.At, t.Text, append(testWords(), actionWords()...))
	out = append(out, meant...)
	return append(out, insert("", t.At.Start, "if "))
}

// joinedShare suggests a share as one word.
func (x text) joinedShare(word, t Token) []Suggestion {
	sign := x.peekAt(t, 1)
	f := Suggestion{Edits: []Edit{{Span{t.At.End, sign.At.Start}, ""}}, Shows: Span{word.At.Start, sign.At.End}}
	if sign.Text == "/" {
		n := x.peekAt(t, 2)
		f.Edits = append(f.Edits, Edit{Span{sign.At.End, n.At.Start}, ""})
		f.Shows.End = n.At.End
	}
	return list(f)
}

// peekAt is the token n behind t.
func (x text) peekAt(t Token, n int) Token { return x.tokens[min(x.index(t)+n, len(x.tokens)-1)] }

// joinedRange suggests a range or a prefix as one word; t is the sign in it.
func (x text) joinedRange(t Token) []Suggestion {
	low, high := x.before(t), x.after(t)
	return list(Suggestion{
		Lead:  "one word, without blanks: ",
		Edits: []Edit{{Span{low.At.End, t.At.Start}, ""}, {Span{t.At.End, high.At.Start}, ""}},
		Shows: Span{low.At.Start, high.At.End},
	})
}

// chanceMoved suggests a chance as the last test of the condition.
func (x text) chanceMoved(t Token) []Suggestion {
	i := x.index(t)
	for then := i - 1; then > 0; then-- {
		switch x.tokens[then].Text {
		case ";", "else", "if":
			return nil
		case "then":
			share := x.after(t)
			return list(Suggestion{Lead: "chance is a test: ", Edits: []Edit{
				{Span{x.tokens[then].At.Start, x.tokens[then].At.Start}, "chance " + share.Text + " "},
				{Span{x.tokens[i-1].At.End, share.At.End}, ""},
			}})
		}
	}
	return nil
}

// wordAround is the word, blanks apart, that a piece of the source is in.
func wordAround(source string, at Span) Span {
	for at.Start > 0 && strings.IndexByte(" \t\r\n", source[at.Start-1]) < 0 {
		at.Start--
	}
	for at.End < len(source) && strings.IndexByte(" \t\r\n", source[at.End]) < 0 {
		at.End++
	}
	return at
}
