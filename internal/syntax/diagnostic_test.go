package syntax

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("word ", 60)
	for _, c := range []struct {
		name, want string
		d          Diagnostic
	}{
		{
			name: "one line, with a file",
			d:    Diagnostic{File: "rules.txt", Msg: "m", At: Span{3, 6}, Source: "if udp"},
			want: "error: rules.txt:1:4: m\n    if udp\n       ^~~\n",
		},
		{
			name: "several lines",
			d:    Diagnostic{Severity: Note, Msg: "m", At: Span{7, 9}, Hint: "h", Source: "if udp\nif tcp\n"},
			want: "note: 2:1: m\n    if tcp\n    ^~\n  hint: h\n",
		},
		{
			name: "the end of the source",
			d:    Diagnostic{Msg: "m", At: Span{6, 6}, Source: "if udp"},
			want: "error: m\n    if udp\n          ^\n",
		},
		{
			name: "a place that goes on in the next line",
			d:    Diagnostic{Msg: "m", At: Span{3, 13}, Source: "if udp\r\nor tcp"},
			want: "error: 1:4: m\n    if udp\ufffd\n       ^~~~\n",
		},
		{
			name: "tabs, control characters, invalid UTF-8",
			d:    Diagnostic{Msg: "m \x1b[31m", At: Span{8, 11}, Source: "if\tx\x1b[\xff udp"},
			want: "error: m \ufffd[31m\n    if x\ufffd[\ufffd udp\n            ^~~\n",
		},
		{
			name: "a long line, at its start",
			d:    Diagnostic{Msg: "m", At: Span{5, 9}, Source: long},
			want: "error: m\n    " + long[:69] + "...\n         ^~~~\n",
		},
		{
			name: "a long line, in its middle",
			d:    Diagnostic{Msg: "m", At: Span{150, 154}, Source: long},
			want: "error: m\n    ..." + long[126:192] + "...\n    " + strings.Repeat(" ", 27) + "^~~~\n",
		},
		{
			name: "a long line, at its end",
			d:    Diagnostic{Msg: "m", At: Span{295, 299}, Source: long},
			want: "error: m\n    ..." + long[230:299] + "\n    " + strings.Repeat(" ", 68) + "^~~~\n",
		},
		{
			name: "no source",
			d:    Diagnostic{Msg: "m", Hint: "h"},
			want: "error: m\n  hint: h\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.d.Format()); diff != "" {
				t.Errorf("(- want, + got)\n%s", diff)
			}
		})
	}
}

func TestPosition(t *testing.T) {
	t.Parallel()
	d := Diagnostic{Source: "a\né日 x", At: Span{8, 9}}
	if line, column := d.Position(); line != 2 || column != 4 {
		t.Errorf("%d:%d, want 2:4", line, column)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"udp_dset": "udp_dest", "ipttl": "ip_ttl", "tcp_synn": "tcp_syn", "thenn": "then", "ift": "if",
		"udp_cheksum": "udp_checksum", "xyzzy": "", "": "", strings.Repeat("udp_dest", 9): "",
	} {
		if got := Nearest(word, testWords()); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// TestWide holds the ends of the ranges that terminals give two columns to
// (Unicode Standard Annex 11, wide and fullwidth).
func TestWide(t *testing.T) {
	t.Parallel()
	for _, r := range []struct{ lo, hi rune }{
		{0x1100, 0x115f},    // Hangul Jamo
		{0x2e80, 0xa4cf},    // CJK radicals to Yi
		{0xac00, 0xd7a3},    // Hangul syllables
		{0xf900, 0xfaff},    // CJK compatibility ideographs
		{0xfe30, 0xfe6f},    // CJK compatibility and small forms
		{0xff00, 0xff60},    // fullwidth forms
		{0x1f300, 0x10ffff}, // pictographs and ideographs beyond
	} {
		for _, in := range []rune{r.lo, r.lo + (r.hi-r.lo)/2, r.hi} {
			if !wide(in) {
				t.Errorf("U+%04X has two columns", in)
			}
		}
		if wide(r.lo-1) || r.hi < utf8.MaxRune && wide(r.hi+1) {
			t.Errorf("beside U+%04X-U+%04X there is one column", r.lo, r.hi)
		}
	}
}

// TestSnippetShowsThePlace: whatever the line, the caret stands below the
// first character that is meant, and the line is cropped only where it is
// longer than fits, to just what fits.
func TestSnippetShowsThePlace(t *testing.T) {
	t.Parallel()
	const letters = "abcdefghijklmnopqrstuvwxyzé0123456789"
	long := []rune(strings.Repeat(letters, 9))
	for _, length := range []int{1, 68, 69, 70, 71, 72, 73, 74, 75, 76, 90, 300} {
		for at := range length {
			for _, width := range []int{1, 2, 7, 40} {
				if at+width <= length {
					shows(t, long[:length], at, width)
				}
			}
		}
	}
}

func shows(t *testing.T, line []rune, at, width int) {
	t.Helper()
	start, end := len(string(line[:at])), len(string(line[:at+width]))
	d := Diagnostic{Source: string(line), At: Span{start, end}}
	text, caret := d.snippet()
	shown := []rune(text)
	column := strings.IndexByte(caret, '^')
	marked := ""
	if len(caret) <= len(shown) {
		marked = string(shown[column:len(caret)])
	}
	if want := string(line[at : at+width]); marked != want {
		t.Fatalf("%q is marked, want %q\n%s\n%s", marked, want, text, caret)
	}
	if want := min(len(line), 72); len(shown) != want {
		t.Fatalf("%d columns are shown of %d, want %d\n%s", len(shown), len(line), want, text)
	}
}

// TestCrop: 60 bytes are shown, or 57 and dots, and no half of a character.
func TestCrop(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		59: strings.Repeat("a", 59), 60: strings.Repeat("a", 60), 61: strings.Repeat("a", 57) + "...",
	} {
		if got := Crop(strings.Repeat("a", n)); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if got, want := Crop(strings.Repeat("é", 40)), strings.Repeat("é", 28)+"..."; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHeadAndTail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		n          int
		head, tail string
	}{
		{0, "", ""},
		{1, "a", "b"},
		{2, "a", "b"},
		{3, "aé", "éb"},
		{4, "aéb", "aéb"},
		{9, "aéb", "aéb"},
	} {
		if got := head("aéb", test.n); got != test.head {
			t.Errorf("head %d: %q, want %q", test.n, got, test.head)
		}
		if got := tail("aéb", test.n); got != test.tail {
			t.Errorf("tail %d: %q, want %q", test.n, got, test.tail)
		}
	}
}

// TestNearestOfLongWords: a word as long as the longest one that is compared
// still gets its suggestion, a longer one none.
func TestNearestOfLongWords(t *testing.T) {
	t.Parallel()
	word := strings.Repeat("abcd", 8)
	if got := Nearest(word, []string{word[1:]}); got != word[1:] {
		t.Errorf("32 letters: %q", got)
	}
	if got := Nearest(word+"e", []string{word}); got != "" {
		t.Errorf("33 letters: %q", got)
	}
}
