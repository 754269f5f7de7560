package hook

import (
	"cmp"
	"slices"

	"repacket/internal/spelling"
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

// near are the candidates at most two letters too many or too few away from a
// name, or one wrong, best first.
func near(name string, candidates []string) []string {
	type match struct {
		name string
		away int
	}
	var matches []match
	for _, c := range candidates {
		if away := spelling.Distance(name, c); away <= 4 && away < 2*len(c) {
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
