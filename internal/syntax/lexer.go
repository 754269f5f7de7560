package syntax

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"repacket/internal/spelling"
)

// MaxSource is the longest program that is read, in bytes, and maxWords the most
// words and signs of one: more than 50,000 rules as people write them. They keep
// nonsense from costing time and memory.
const (
	MaxSource = 8 << 20
	maxWords  = 500_000
)

// manyRows is the hint for programs that are too long.
const manyRows = "rules that differ in values only are one rule with columns, @NAME, and from FILE"

// Token is a word or a sign. A sign that stands for a word has that word as
// its text, so the parser sees no difference between && and and.
type Token struct {
	// Text is in lower case; it is "" at the end of the source.
	Text string
	// word: made of letters, digits and _ . : / + - @ %.
	word bool
	At   Span
}

// signs are the signs and the words that they mean, longer ones first.
var signs = []struct{ sign, means string }{
	{"==", "eq"},
	{"!=", "ne"},
	{"<=", "le"},
	{">=", "ge"},
	{"&&", "and"},
	{"||", "or"},
	{"<", "lt"},
	{">", "gt"},
	{"!", "not"},
	{"=", "="},
	{"(", "("},
	{")", ")"},
	{",", ","},
	{";", ";"},
}

// lex cuts the source into tokens. The last one is the end, an empty token.
func lex(source string) ([]Token, *Diagnostic) {
	if len(source) > MaxSource {
		return nil, &Diagnostic{
			Source: source,
			Msg:    fmt.Sprintf("the rules are %d bytes long, more than the %d that are read", len(source), MaxSource),
			Hint:   manyRows,
		}
	}
	var tokens []Token
	for pos := skipBlanks(source, 0); pos < len(source); pos = skipBlanks(source, pos) {
		t, ok := lexOne(source, pos, tokens)
		switch {
		case !ok:
			return nil, strayCharacter(source, pos, tokens)
		case len(tokens) == maxWords:
			return nil, &Diagnostic{Source: source, At: t.At, Msg: fmt.Sprintf("more than %s words are too many", spelling.Thousands(maxWords)), Hint: manyRows}
		}
		tokens = append(tokens, t)
		pos = t.At.End
	}
	last := 0 // the end stands right behind the last token, not behind a comment
	if n := len(tokens); n > 0 {
		last = tokens[n-1].At.End
	}
	return append(joinFields(tokens), Token{At: Span{last, last}}), nil
}

// lexOne reads the token that starts at pos, behind others, if there is one.
func lexOne(source string, pos int, before []Token) (Token, bool) {
	end := pos
	if n := len(before); n > 0 && (before[n-1].Text == "redirect" || before[n-1].Text == "from") {
		end = nameEnd(source, pos)
	}
	for end < len(source) && isWordByte(source[end]) {
		end++
	}
	if end > pos {
		return Token{Text: strings.ToLower(source[pos:end]), word: true, At: Span{pos, end}}, true
	}
	for _, s := range signs {
		if strings.HasPrefix(source[pos:], s.sign) {
			return Token{Text: s.means, At: Span{pos, pos + len(s.sign)}}, true
		}
	}
	return Token{}, false
}

// nameEnd is the end of the name that begins at pos, behind redirect or from:
// an interface and a file may be named by any characters but these.
func nameEnd(source string, pos int) int {
	for i, r := range source[pos:] {
		if r == utf8.RuneError || !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune("#,;()=<>!&|'\"`‘’“”", r) {
			return pos + i
		}
	}
	return len(source)
}

// skipBlanks is the first place from pos on that is neither a blank nor in a
// comment.
func skipBlanks(source string, pos int) int {
	for pos < len(source) {
		switch source[pos] {
		case ' ', '\t', '\n', '\r', '\v', '\f':
			pos++
		case '#':
			end := strings.IndexByte(source[pos:], '\n')
			if end < 0 {
				return len(source)
			}
			pos += end
		default:
			return pos
		}
	}
	return pos
}

// FirstWord is the word that a piece of the source begins with.
func FirstWord(source string, at Span) Span {
	end := at.Start
	for end < at.End && isWordByte(source[end]) {
		end++
	}
	return Span{at.Start, end}
}

// LastWord is the word that a piece of the source ends with.
func LastWord(source string, at Span) Span {
	start := at.End
	for start > at.Start && isWordByte(source[start-1]) {
		start--
	}
	return Span{start, at.End}
}

func isWordByte(c byte) bool {
	return IsLetter(c) || IsDigit(c) || strings.IndexByte("_.:/+-@%", c) >= 0
}

// IsLetter reports whether c is a letter of ASCII.
func IsLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// IsDigit reports whether c is a decimal digit.
func IsDigit(c byte) bool { return c >= '0' && c <= '9' }

// strayCharacter is the error for a character that no token begins with, behind
// the tokens before it.
func strayCharacter(source string, pos int, before []Token) *Diagnostic {
	masks := false
	if n := len(before); n > 0 {
		_, masks = ResolveField(before[n-1])
	}
	r, size := utf8.DecodeRuneInString(source[pos:])
	at := Span{pos, pos + size}
	d := &Diagnostic{Source: source, At: at}
	switch {
	case r == utf8.RuneError || !unicode.IsPrint(r):
		d.Msg = fmt.Sprintf("unexpected byte 0x%02x", source[pos])
	case r == '&' && masks:
		d.Msg, d.Hint = "unexpected character &", "there are no masks: each flag is a field of its own, and a prefix is a value, ADDRESS/LENGTH"
	case r == '&':
		d.Msg, d.Hint = "unexpected character &", "write and"
		d.Propose(Replace("write ", at, "and", ""))
	case r == '|':
		d.Msg, d.Hint = "unexpected character |", "write or"
		d.Propose(Replace("write ", at, "or", ""))
	case strings.ContainsRune("'\"`‘’“”", r):
		d.Msg, d.Hint = "unexpected character "+string(r), "quotes are for the shell: none belong inside the rules"
	case strings.ContainsRune("‐‑‒–—−", r):
		d.Msg, d.Hint = "unexpected character "+string(r), "a range takes a plain hyphen"
		d.Propose(Replace("a range takes a plain hyphen: ", at, "-", "").Showing(wordAround(source, at)))
	case r == '{' || r == '}' || r == '[' || r == ']':
		d.Msg, d.Hint = "unexpected character "+string(r), "a list is without brackets"
		if n := strings.IndexAny(source[pos:], "]}"); n > 0 {
			closing := Span{pos + n, pos + n + 1}
			d.Propose(Suggestion{Edits: []Edit{{at, " "}, {closing, " "}}})
		}
	case r == '*':
		d.Msg = "unexpected character *"
		d.Propose(Replace(didYouMean, at, "all", ""))
	default:
		d.Msg = "unexpected character " + string(r)
	}
	return d
}
