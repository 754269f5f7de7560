package main

import (
	"cmp"
	"hash/fnv"
	"slices"
	"strconv"
)

// mixed puts faults into the order in which they are tried: the kinds in
// turn, so that a small sample has some of each. Within a kind the order
// comes from each fault's own text, so that a change of the code changes the
// sample only a little.
func mixed(all []mutant, seed uint64) []mutant {
	byKind := map[string][]mutant{}
	for _, m := range all {
		byKind[m.kind] = append(byKind[m.kind], m)
	}
	kinds := make([]string, 0, len(byKind))
	for k, list := range byKind {
		kinds = append(kinds, k)
		slices.SortFunc(list, func(a, b mutant) int {
			return cmp.Or(cmp.Compare(a.rank(seed), b.rank(seed)), cmp.Compare(a.String(), b.String()))
		})
	}
	slices.Sort(kinds)
	out := make([]mutant, 0, len(all))
	for i := 0; len(out) < len(all); i++ {
		for _, k := range kinds {
			if i < len(byKind[k]) {
				out = append(out, byKind[k][i])
			}
		}
	}
	return out
}

// rank is a number that looks random and stays the same.
func (m mutant) rank(seed uint64) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strconv.FormatUint(seed, 16) + m.String()))
	return h.Sum64()
}
