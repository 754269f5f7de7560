package spelling

import (
	"os/exec"
	"testing"

	"pgregory.net/rapid"
)

// TestDistance works the costs out by hand: 2 for a letter too many, too few or
// swapped with its neighbour, 3 for a wrong one.
func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"udp_dest", "udp_dest", 0},
		{"udp_det", "udp_dest", 2},
		{"upd_dest", "udp_dest", 2},
		{"udp_dezt", "udp_dest", 3},
		{"", "if", 4},
		{"udp", "udp_", 2},
		{"abc", "xyz", 9},
	} {
		if got := Distance(c.a, c.b); got != c.want {
			t.Errorf("Distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestDistanceIsFair: it is the same both ways, and 0 between equals only.
func TestDistanceIsFair(t *testing.T) {
	t.Parallel()
	word := rapid.StringOfN(rapid.RuneFrom([]rune("eth0")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if Distance(a, b) != Distance(b, a) || (Distance(a, b) == 0) != (a == b) {
			t.Fatalf("Distance(%q, %q) = %d and %d the other way", a, b, Distance(a, b), Distance(b, a))
		}
	})
}

// TestInShell: a shell makes the name of what it is told.
func TestInShell(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]bool{
		"eth0": true, "br-1.100": true, "wg_0@if7": true,
		"a;id": false, "$(id)": false, "it's": false, "~": false, "*": false, "#1": false, "a&b": false, "größe": false, `\`: false, "`id`": false, "": false,
	} {
		told := InShell(name)
		if (told == name) != plain {
			t.Errorf("%q is told as %s", name, told)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+told).Output()
		if err != nil || string(out) != name {
			t.Errorf("%q, told as %s, is %q to a shell: %v", name, told, out, err)
		}
	}
}
