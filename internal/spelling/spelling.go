// Package spelling tells how far a word is from the one that was meant, and how a
// shell has to be told it.
package spelling

import "strings"

// Distance is what it costs to make b of a by letters inserted, deleted and
// swapped with their neighbour, 2 each, and replaced, 3: more often a letter
// is forgotten than another one typed (optimal string alignment).
func Distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = 2 * i
	}
	for j := range rows[0] {
		rows[0][j] = 2 * j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 3
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+2, rows[i][j-1]+2, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+2)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// InShell is a name of an interface as a shell takes it: in quotes if it has
// characters that mean something there. The kernel forbids only blanks, slashes and
// colons (net/core/dev.c, dev_valid_name).
func InShell(name string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@%+=,", r)
	}
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}
