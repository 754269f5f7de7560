package rule

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestWide holds the ends of the ranges that terminals give two columns to
// (Unicode Standard Annex 11, wide and fullwidth).
func TestWide(t *testing.T) {
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
	for n, want := range map[int]string{
		59: strings.Repeat("a", 59), 60: strings.Repeat("a", 60), 61: strings.Repeat("a", 57) + "...",
	} {
		if got := crop(strings.Repeat("a", n)); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if got, want := crop(strings.Repeat("é", 40)), strings.Repeat("é", 28)+"..."; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHeadAndTail(t *testing.T) {
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

// TestValuesOfOneFieldStayExact: a long list written with or is still one
// state, so nothing is lost of it.
func TestValuesOfOneFieldStayExact(t *testing.T) {
	var text []string
	for v := range 2 * maxStates {
		text = append(text, fmt.Sprintf("udp_dest %d ip_ttl 7", 2*v))
	}
	p := mustCheck(t, "if "+strings.Join(text, " or "))
	u := packets(p.Rules[0].Cond)
	if u.hull || len(u.states) != 1 {
		t.Errorf("%d states, inexact: %v", len(u.states), u.hull)
	}
}

// TestManyStatesHoldEveryPacket: a condition of more states than are kept
// leaves none of its packets out.
func TestManyStatesHoldEveryPacket(t *testing.T) {
	var text []string
	for v := range maxStates + 16 {
		proto := []string{"udp", "tcp"}[v%2]
		text = append(text, fmt.Sprintf("%s_dest %d ip_ttl %d", proto, v, v))
	}
	all := packets(mustCheck(t, "if "+strings.Join(text, " or ")).Rules[0].Cond)
	if !all.hull {
		t.Errorf("%d states, and exact", len(all.states))
	}
	for _, one := range text {
		if !all.meets(packets(mustCheck(t, "if "+one).Rules[0].Cond)) {
			t.Errorf("%s is left out", one)
		}
	}
}

// TestAround: the state around two others knows what both know, each field
// once, and nothing that is always so.
func TestAround(t *testing.T) {
	only := func(text string) state {
		u := packets(mustCheck(t, "if "+text).Rules[0].Cond)
		if len(u.states) != 1 {
			t.Fatalf("%s: %d states", text, len(u.states))
		}
		return u.states[0]
	}
	got := around(only("udp ip_ttl 3 ip_id 5"), only("udp ip_ttl 1 ip_tos 2"))
	var facts []string
	for _, k := range got.facts {
		facts = append(facts, k.f.Name+" "+printSet(k.f, k.in))
	}
	if want := "ip_ttl 1,3"; strings.Join(facts, "; ") != want {
		t.Errorf("%v, want %s", facts, want)
	}
}

// TestFewNotes: a program that overlaps everywhere means what it says.
func TestFewNotes(t *testing.T) {
	var b strings.Builder
	for v := range 3 * maxNotes {
		fmt.Fprintf(&b, "if ip_src 10.0.0.0/%d then ip_ttl %d\n", 8+v%2*8, v)
		fmt.Fprintf(&b, "if udp_dest %d then ip_id %d\n", v, v)
	}
	notes := 0
	for _, w := range mustCheck(t, b.String()).Warnings {
		if w.Severity == Note {
			notes++
		}
	}
	if notes != 10 {
		t.Errorf("%d notes, want 10", notes)
	}
}

func TestEnds(t *testing.T) {
	list := make([]int, 200)
	for i := range list {
		list[i] = i
	}
	for n, want := range map[int]int{0: 0, 63: 63, 64: 64, 65: 64, 200: 64} {
		got := ends(list[:n])
		if len(got) != want {
			t.Errorf("%d of %d, want %d", len(got), n, want)
		}
		if n > 64 && (got[31] != 31 || got[32] != n-32) {
			t.Errorf("of %d: %v", n, got)
		}
	}
}

func TestRuleNames(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "a_b-2": true, "Z9": true, "z": true, "A": true,
		"": false, "2a": false, "_a": false, "a.b": false, "a/b": false, "a:": false, "a`": false, "a{": false, "a@": false, "a[": false,
	} {
		p, err := Check(name + ": if udp")
		if (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
		if good && p != nil && p.Written[0].Name != name {
			t.Errorf("%q is read as %q", name, p.Written[0].Name)
		}
	}
}

// TestRulesAreNamed: in messages by their name, by their line where they stand
// there alone, or by their number.
func TestRulesAreNamed(t *testing.T) {
	for source, want := range map[string]string{
		"if udp\nif udp_dest 5":                  "line 1",
		"if udp if udp_dest 5":                   "rule 1",
		"if tcp\nif udp if udp_dest 5":           "rule 2",
		"if udp if tcp\nif udp_dest 5":           "rule 1",
		"if tcp if udp\nif udp_dest 5":           "rule 2",
		"web: if udp\nif udp_dest 5":             "rule web",
		"if tcp\nif udp\nif udp_dest 5":          "line 2",
		"if tcp\n\nif udp\n # two\nif udp_src 1": "line 3",
	} {
		p := mustCheck(t, source)
		if len(p.Warnings) != 1 || p.Warnings[0].Msg != "never acts: "+want+" takes these packets (first match wins)" {
			t.Errorf("%q: %v, want %s", source, p.Warnings, want)
		}
	}
}

// TestNearestOfLongWords: a word as long as the longest one that is compared
// still gets its suggestion, a longer one none.
func TestNearestOfLongWords(t *testing.T) {
	word := strings.Repeat("abcd", 8)
	if got := nearest(word, []string{word[1:]}); got != word[1:] {
		t.Errorf("32 letters: %q", got)
	}
	if got := nearest(word+"e", []string{word}); got != "" {
		t.Errorf("33 letters: %q", got)
	}
}
