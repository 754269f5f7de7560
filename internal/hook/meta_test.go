package hook

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestLongRules: the memory for the texts of rules has a bound, and rules stay
// themselves when they are cut.
func TestLongRules(t *testing.T) {
	long := "if udp_dest " + strings.Repeat("1, ", 4000) + "2 then udp_dest 3"
	tests := map[string]struct {
		text   string
		rules  int
		cut    bool
		length int // at most, in bytes
	}{
		"short":              {"if udp", 1, false, 6},
		"long":               {long, 1, true, 4<<10 + 3},
		"one of many":        {long, 1 << 12, true, 256 + 3},
		"one of a lot":       {long, 1 << 20, true, 128 + 3},
		"within a character": {strings.Repeat("a", 4<<10-1) + "ä", 1, true, 4<<10 + 2},
	}
	for name, test := range tests {
		m := NewMetaRule("web", test.text, false, test.rules)
		if (m.Sum != "") != test.cut || len(m.Text) > test.length || !utf8.ValidString(m.Text) {
			t.Errorf("%s: %d bytes, sum %q", name, len(m.Text), m.Sum)
		}
		if whole := NewMetaRule("web", test.text, false, 1); whole.Key() != m.Key() {
			t.Errorf("%s: another rule where there are more beside it", name)
		}
		if other := NewMetaRule("web", test.text+" drop", false, test.rules); other.Key() == m.Key() {
			t.Errorf("%s: the same rule with another end", name)
		}
	}
}

// TestMetaSource: what is kept of rules is their text, unless it is cut.
func TestMetaSource(t *testing.T) {
	m := Meta{Rules: []MetaRule{{Name: "web", Text: "if tcp"}, {Text: "if udp"}}}
	if text, whole := m.Source(); text != "web: if tcp\nif udp" || !whole {
		t.Errorf("%q, %v", text, whole)
	}
	m.Rules[1] = NewMetaRule("", strings.Repeat("x", 5000), false, 2)
	if text, whole := m.Source(); whole {
		t.Errorf("whole: %q", text)
	}
}

// TestMetaIsNotEscaped: characters that JSON needs no escapes for take one byte each.
func TestMetaIsNotEscaped(t *testing.T) {
	text, err := Meta{Rules: []MetaRule{{Text: "if ip_ttl <5 & >3"}}}.encode()
	if err != nil || !strings.Contains(string(text), "<5 & >3") {
		t.Errorf("%s, %v", text, err)
	}
}
