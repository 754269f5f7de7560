package rule

import (
	"encoding/csv"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"repacket/internal/syntax"
)

// FuzzCheck: no text makes the checker fail in another way than by an error
// that stands inside the text; what it accepts is printed so that it reads as
// the same again.
func FuzzCheck(f *testing.F) {
	for _, source := range goldenSources(f) {
		f.Add(source)
	}
	f.Add(strings.Repeat(" ", 26) + "^") // a source that looks like the line of a caret
	f.Fuzz(func(t *testing.T, source string) {
		p, err := CheckWith(source, Options{Open: sheets})
		if err != nil {
			var d *syntax.Diagnostic
			if !errors.As(err, &d) || d.Severity != syntax.Error || d.Msg == "" {
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

// goldenSources are the texts of the golden files.
func goldenSources(t testing.TB) (sources []string) {
	t.Helper()
	for _, file := range []string{"errors", "operands", "rows", "warnings", "rules", "explain", "replies"} {
		data, err := os.ReadFile("testdata/" + file + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if source, ok := strings.CutPrefix(line, "$ "); ok {
				sources = append(sources, strings.ReplaceAll(strings.TrimSuffix(source, "\n"), `\n`, "\n"))
			}
		}
	}
	return sources
}

// checkShown fails unless a diagnostic is safe to print and its caret stands
// under the line.
func checkShown(t *testing.T, d *syntax.Diagnostic) {
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
	if utf8.RuneCountInString(caret) > 4+72+1 || utf8.RuneCountInString(shown) > 4+72 {
		t.Fatalf("%q: too wide:\n%s", d.Source, text)
	}
	if strings.IndexByte(caret, '^') > utf8.RuneCountInString(shown) {
		t.Fatalf("%q: the caret stands behind the line:\n%s", d.Source, text)
	}
}

// FuzzRows: no file makes the reader fail in another way than by an error that
// stands inside the rule; each row that it takes means what its values mean
// when they are written into the rule.
func FuzzRows(f *testing.F) {
	for _, file := range files {
		f.Add(string(file.Data), false)
	}
	f.Add("a,b,c\n10.0.0.1,53,10.0.0.0/8\n10.0.0.0/8,1-5,1.2.3.4\n1.1.1.1-2.2.2.2,ssh,0.0.0.0/0\n", false)
	f.Add("\ufeff a ,\"b\",c\r\n\r\n# no\r\n 2001:db8::1 ,0x5,\"::\"\r\n", true)
	f.Fuzz(func(t *testing.T, content string, six bool) {
		const rule = "if ip_dest %a udp_dest 7,%b then ip_dest %c from f.csv"
		source := strings.ReplaceAll(rule, "%", "@")
		if six {
			source = strings.ReplaceAll(source, "ip_", "ip6_")
		}
		p, err := CheckWith(source, Options{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }})
		if err != nil {
			var d *syntax.Diagnostic
			if !errors.As(err, &d) || !strings.HasPrefix(d.Msg, "f.csv: ") {
				t.Fatalf("%q: not a diagnostic of the file: %v", content, err)
			}
			checkShown(t, d)
			return
		}
		names, rows := plainRows(content)
		if r := p.Rules[0]; len(rows) != r.Rows.Len {
			t.Fatalf("%q: %d rows, want %d", content, r.Rows.Len, len(rows))
		}
		for i, row := range rows {
			checkRow(t, p.Rules[0].Row(i), source, row, names)
		}
	})
}

// plainRows are the rows of a file, and the places of its columns.
func plainRows(content string) (names []string, rows [][]string) {
	r := csv.NewReader(strings.NewReader(strings.TrimPrefix(content, "\ufeff")))
	r.Comment, r.FieldsPerRecord, r.TrimLeadingSpace = '#', -1, true
	all, _ := r.ReadAll()
	for _, row := range all {
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		if len(row) > 1 || row[0] != "" {
			rows = append(rows, row)
		}
	}
	return rows[0], rows[1:]
}

// checkRow compares the rule of a row with the source where the values stand in
// place of the columns.
func checkRow(t *testing.T, got *Rule, source string, row, names []string) {
	for _, name := range []string{"a", "b", "c"} {
		source = strings.ReplaceAll(source, "@"+name, row[slices.Index(names, name)])
	}
	source = strings.TrimSuffix(source, " from f.csv")
	p, err := Check(source)
	if err != nil {
		t.Fatalf("%q: %v", source, err)
	}
	if want := p.Rules[0]; got.Print() != want.Print() {
		t.Fatalf("%q: %s", source, got.Print())
	}
}
