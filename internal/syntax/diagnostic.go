package syntax

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// snippetWidth is how many columns of a long line are shown around the caret.
const snippetWidth = 72

// Severity tells errors from warnings and notes.
type Severity uint8

// The severities.
const (
	Error Severity = iota
	Warning
	Note
)

// Diagnostic is what is wrong with a program, where, and what to do about it.
// It is an error.
type Diagnostic struct {
	Severity Severity
	// Msg says what is wrong: lower case, no position, no full stop.
	Msg string
	// At is the place in the source that the caret marks.
	At Span
	// Hint says what to do, or is "". What can be typed back in it comes from Suggestions.
	Hint string
	// Suggestions are changes that may be what was meant, not yet checked. They are gone
	// from what package rule gives back.
	Suggestions []Suggestion
	// Fixed are the rules that the hint leads to, a program for each change that it
	// names: accepted, and with no verdict that was not asked for. Hints that are
	// prose have none. Of a long source it is the rule at fault alone.
	Fixed []string
	// Source is the whole text, for the caret.
	Source string
	// File is the file that the text is from, or "".
	File string
}

// Error is the message without position and hint.
func (d *Diagnostic) Error() string { return d.Msg }

var severities = [...]string{Error: "error", Warning: "warning", Note: "note"}

// String is error, warning or note.
func (s Severity) String() string { return severities[s] }

// Format is the diagnostic as people read it: what is wrong, the line with a
// caret below, a hint. It ends with a newline. A source of several lines gets
// its line and column in front, and one from a file "FILE:LINE:COLUMN: ".
func (d *Diagnostic) Format() string {
	var b strings.Builder
	b.WriteString(d.Severity.String() + ": ")
	line, column := d.Position()
	if d.File != "" {
		fmt.Fprintf(&b, "%s:", Printable(d.File))
	}
	if d.File != "" || strings.Contains(strings.TrimRight(d.Source, "\r\n"), "\n") {
		fmt.Fprintf(&b, "%d:%d: ", line, column)
	}
	b.WriteString(Printable(d.Msg) + "\n")
	if text, caret := d.snippet(); strings.TrimSpace(text) != "" {
		fmt.Fprintf(&b, "    %s\n    %s\n", text, caret)
	}
	if d.Hint != "" {
		b.WriteString("  hint: " + Printable(d.Hint) + "\n")
	}
	return b.String()
}

// Position is the line and the column of the caret, both from 1; the column
// counts characters.
func (d *Diagnostic) Position() (line, column int) {
	before := d.Source[:min(d.At.Start, len(d.Source))]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// snippet is the line that the diagnostic is about, and the line below it
// with a caret and tildes, both cropped where they are long.
func (d *Diagnostic) snippet() (text, caret string) {
	from := min(d.At.Start, len(d.Source))
	to := min(max(d.At.End, from), len(d.Source))
	start := strings.LastIndexByte(d.Source[:from], '\n') + 1
	end := len(d.Source)
	if i := strings.IndexByte(d.Source[from:], '\n'); i >= 0 {
		end = from + i
	}
	to = min(to, end)
	// Only what can be seen is made printable: a line may be a megabyte long.
	before := cells(tail(d.Source[start:from], 4*snippetWidth))
	marked := cells(head(d.Source[from:to], 4*snippetWidth))
	after := cells(head(strings.TrimRight(d.Source[to:end], " \t\r"), 4*snippetWidth))
	width := max(1, len(marked))
	line := append(append(before, marked...), after...)
	if len(line) <= snippetWidth {
		return string(line), strings.Repeat(" ", len(before)) + carets(width)
	}
	return window(line, len(before), width)
}

// window crops line to snippetWidth so that the caret at column at, width
// columns wide, is in it.
func window(line []rune, at, width int) (text, caret string) {
	const dots = "..."
	first, prefix, suffix := 0, "", ""
	if at+width > snippetWidth-len(dots) {
		first = max(0, min(at-snippetWidth/3, len(line)-snippetWidth+len(dots)))
	}
	if first > 0 {
		prefix = dots
	}
	shown := line[first:]
	if len(prefix)+len(shown) > snippetWidth {
		shown, suffix = shown[:snippetWidth-len(prefix)-len(dots)], dots
	}
	width = min(width, max(1, len(shown)-(at-first)))
	return prefix + string(shown) + suffix, strings.Repeat(" ", len(prefix)+at-first) + carets(width)
}

func carets(width int) string { return "^" + strings.Repeat("~", width-1) }

// head is at most n bytes from the start of s, and tail from its end, neither
// cut inside a character.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	i := len(s) - n
	for i < len(s) && !utf8.RuneStart(s[i]) {
		i++
	}
	return s[i:]
}

// cells is s with one rune a column of the terminal: a tab is a blank, and
// what has no width, another width, or a meaning for terminals is a mark.
func cells(s string) []rune {
	out := make([]rune, 0, len(s))
	for _, r := range s {
		switch {
		case r == '\t':
			r = ' '
		case r == utf8.RuneError, !unicode.IsPrint(r), unicode.Is(unicode.M, r), wide(r):
			r = '\ufffd'
		}
		out = append(out, r)
	}
	return out
}

// wide reports whether terminals give two columns to r: East Asian scripts and
// pictures.
func wide(r rune) bool {
	return r >= 0x1100 && r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0x1f300
}

// Printable is s with everything that a terminal would act on made visible.
func Printable(s string) string { return string(cells(s)) }

// Excerpt is a piece of the source on one line, without comments, cropped.
func Excerpt(source string, at Span) string {
	return Crop(Flatten(source, Span{at.Start, min(at.End, at.Start+4*snippetWidth)}))
}

// Flatten is a piece of the source with every run of blanks and comments one
// space.
func Flatten(source string, at Span) string {
	var b strings.Builder
	piece := source[at.Start:at.End]
	for pos := skipBlanks(piece, 0); pos < len(piece); {
		gap := skipBlanks(piece, pos)
		if gap > pos {
			if gap < len(piece) {
				b.WriteByte(' ')
			}
			pos = gap
			continue
		}
		b.WriteByte(piece[pos])
		pos++
	}
	return b.String()
}

// Crop shortens a text that is too long for a message.
func Crop(s string) string {
	const longest = 60
	if len(s) <= longest {
		return s
	}
	return head(s, longest-3) + "..."
}
