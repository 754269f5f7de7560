package rule

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzCheck: no text makes the checker fail in another way than by an error
// that stands inside the text; what it accepts is printed so that it reads as
// the same again.
func FuzzCheck(f *testing.F) {
	for _, file := range []string{"errors", "operands", "rows", "warnings", "rules", "explain"} {
		data, err := os.ReadFile("testdata/" + file + ".txt")
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if source, ok := strings.CutPrefix(line, "$ "); ok {
				f.Add(strings.ReplaceAll(strings.TrimSuffix(source, "\n"), `\n`, "\n"))
			}
		}
	}
	f.Add(strings.Repeat(" ", 26) + "^") // a source that looks like the line of a caret
	f.Fuzz(func(t *testing.T, source string) {
		p, err := CheckWith(source, Options{Open: sheets})
		if err != nil {
			var d *Diagnostic
			if !errors.As(err, &d) || d.Severity != Error || d.Msg == "" {
				t.Fatalf("%q: not a diagnostic: %v", source, err)
			}
			checkShown(t, d)
			return
		}
		for _, w := range p.Warnings {
			checkShown(t, w)
		}
		for i, w := range p.Written {
			if w.Text == "" || w.Span.Start >= w.Span.End {
				t.Fatalf("%q: rule %d has no text or place: %+v", source, i, w)
			}
		}
		if p.Explain() == "" {
			t.Fatalf("%q: nothing is explained", source)
		}
		checkReprint(t, source, p)
	})
}

// checkShown fails unless a diagnostic is safe to print and its caret stands
// under the line.
func checkShown(t *testing.T, d *Diagnostic) {
	if d.At.Start < 0 || d.At.End < d.At.Start || d.At.End > len(d.Source) {
		t.Fatalf("%q: %s stands at %+v", d.Source, d.Msg, d.At)
	}
	text := d.Format()
	if !utf8.ValidString(text) || !strings.HasSuffix(text, "\n") {
		t.Fatalf("%q: printed as %q", d.Source, text)
	}
	for _, r := range text {
		if r < ' ' && r != '\n' || r == 0x7f {
			t.Fatalf("%q: a control character in %q", d.Source, text)
		}
	}
	// The form is fixed: the message, then, where there is a place, the line of
	// the source and the line of the caret. The source may itself be carets.
	lines := strings.Split(text, "\n")
	if !strings.HasPrefix(lines[1], "    ") {
		return
	}
	shown, caret := lines[1], lines[2]
	if strings.Trim(caret, " ^~") != "" || !strings.Contains(caret, "^") {
		t.Fatalf("%q: no caret:\n%s", d.Source, text)
	}
	if utf8.RuneCountInString(caret) > 4+snippetWidth+1 || utf8.RuneCountInString(shown) > 4+snippetWidth {
		t.Fatalf("%q: too wide:\n%s", d.Source, text)
	}
	if strings.IndexByte(caret, '^') > utf8.RuneCountInString(shown) {
		t.Fatalf("%q: the caret stands behind the line:\n%s", d.Source, text)
	}
}
