package rule

import (
	"fmt"
	"strings"
	"testing"

	"repacket/internal/syntax"
)

// TestFewNotes: a program that overlaps everywhere means what it says.
func TestFewNotes(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for v := range 3 * maxNotes {
		fmt.Fprintf(&b, "if ip_src 10.0.0.0/%d then ip_ttl %d\n", 8+v%2*8, v)
		fmt.Fprintf(&b, "if udp_dest %d then ip_id %d\n", v, v)
	}
	notes := 0
	for _, w := range mustCheck(t, b.String()).Warnings {
		if w.Severity == syntax.Note {
			notes++
		}
	}
	if notes != 10 {
		t.Errorf("%d notes, want 10", notes)
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
