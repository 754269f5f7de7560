package syntax

import "strings"

// Edit replaces a piece of a source by a text. An empty piece is a place to insert.
type Edit struct {
	At   Span
	Text string
}

// Suggestion is a change of a source that may be what was meant. No hint that could be
// typed back is written by hand: it is cut out of the changed source, and package
// rule shows it only if it accepts that source as a whole and finds that it drops,
// reflects and redirects nothing that was not asked for.
type Suggestion struct {
	// Lead and Tail are prose around the text that is shown.
	Lead, Tail string
	// Edits are in order and do not overlap.
	Edits []Edit
	// Shows is the piece of the source of which the changed text is shown; empty:
	// all of it.
	Shows Span
	// Also: it is shown beside the one before it, else in its place if that fails.
	Also bool
	// Alone is a program of its own that takes the place of the whole source, and
	// AloneShows is what is shown of it. Then there are no edits.
	Alone, AloneShows string
}

// Propose adds changes that may be what was meant, the likeliest first. It can be
// called on nil, so that only the first error gets them.
func (d *Diagnostic) Propose(list ...Suggestion) *Diagnostic {
	if d != nil {
		d.Suggestions = append(d.Suggestions, list...)
	}
	return d
}

// Replace is the suggestion that puts a text in the place of a piece of the source.
func Replace(lead string, at Span, text, tail string) Suggestion {
	return Suggestion{Lead: lead, Tail: tail, Edits: []Edit{{at, text}}, Shows: at}
}

// Showing is the suggestion with another piece of the source to be shown.
func (f Suggestion) Showing(at Span) Suggestion {
	f.Shows = at
	return f
}

// Whole is the suggestion with all of the changed source to be shown.
func (f Suggestion) Whole() Suggestion { return f.Showing(Span{}) }

// Beside is the suggestion as one that is shown beside the one before it.
func (f Suggestion) Beside() Suggestion {
	f.Also = true
	return f
}

// Apply is the source with the edits made that lie in a piece of it, which is all
// that is given back; ok: all lie in it.
func Apply(source string, piece Span, edits []Edit) (text string, ok bool) {
	var b strings.Builder
	pos := piece.Start
	ok = true
	for _, e := range edits {
		if e.At.Start < pos || e.At.End > piece.End {
			ok = false
			continue
		}
		b.WriteString(source[pos:e.At.Start])
		b.WriteString(e.Text)
		pos = e.At.End
	}
	b.WriteString(source[pos:piece.End])
	return b.String(), ok
}

// RuleAround is the rule that a place is in, as far as lines tell: from the last line
// that begins a rule to the next one.
func RuleAround(source string, at Span) Span {
	start, end := 0, len(source)
	for pos := 0; pos < len(source); {
		next := len(source)
		if i := strings.IndexByte(source[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		word := FirstWord(source, Span{skipBlanks(source[:next], pos), next})
		first := Token{Text: strings.ToLower(source[word.Start:word.End]), At: word}
		if _, named := ruleName(source, first); named || first.Text == "if" || first.Text == "else" {
			if pos > at.Start {
				end = pos
				break
			}
			if start = pos; first.Text == "else" {
				start = word.End
			}
		}
		pos = next
	}
	text := strings.TrimRight(source[start:end], " \t\r\n;")
	if rest, ok := strings.CutSuffix(strings.ToLower(text), "else"); ok {
		text = strings.TrimRight(text[:len(rest)], " \t\r\n")
	}
	return Span{start, start + len(text)}
}
