package hook

import (
	"cmp"
	"slices"
)

// Iface is a network interface.
type Iface struct {
	Name  string
	Index int
	MTU   int // bytes
	// Kind is what makes the interface in software, such as "veth"; "" is
	// mostly hardware.
	Kind string
	Up   bool
	// Ethernet: packets begin with an Ethernet header.
	Ethernet bool
}

// near are the candidates at most two letters away from a name, best first.
func near(name string, candidates []string) []string {
	type match struct {
		name string
		away int
	}
	var matches []match
	for _, c := range candidates {
		if away := distance(name, c); away <= 2 && away < len(c) {
			matches = append(matches, match{c, away})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int { return cmp.Compare(a.away, b.away) })
	names := make([]string, len(matches))
	for i, m := range matches {
		names[i] = m.name
	}
	return names
}

// distance is the number of bytes to insert, remove or exchange to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // row[j]: from a[:i] to b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			exchange := corner
			if a[i] != b[j] {
				exchange++
			}
			corner = row[j+1]
			row[j+1] = min(exchange, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
