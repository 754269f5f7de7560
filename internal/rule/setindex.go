package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/packetset"
)

// setIndex finds the sets of packets that may have one in common with another set, so that
// thousands of rules are not compared pair by pair: a field that has one value, or one prefix, in all
// packets of both tells most sets apart.
type setIndex struct {
	sets []packetset.Set
	// byKey are the sets by such a field, and lengths how long the prefixes are.
	byKey   map[key][]int
	lengths map[*field.Field][]int
	// lacking are the sets that no key of a field is known of.
	lacking map[*field.Field][]int
}

func newSetIndex() *setIndex {
	return &setIndex{byKey: map[key][]int{}, lengths: map[*field.Field][]int{}, lacking: map[*field.Field][]int{}}
}

// add puts in the next set.
func (m *setIndex) add(s packetset.Set) {
	n := len(m.sets)
	m.sets = append(m.sets, s)
	known := map[*field.Field]bool{}
	for _, k := range keys(s) {
		if known[k.f] = true; m.lengths[k.f] == nil {
			m.lacking[k.f] = make([]int, n)
			for i := range n {
				m.lacking[k.f][i] = i
			}
		}
		m.byKey[k] = append(m.byKey[k], n)
		if !slices.Contains(m.lengths[k.f], k.bits) {
			m.lengths[k.f] = append(m.lengths[k.f], k.bits)
		}
	}
	for f, all := range m.lacking {
		if !known[f] {
			m.lacking[f] = append(all, n)
		}
	}
}

// near are the numbers of the sets that may have a packet in common with s, in order.
func (m *setIndex) near(s packetset.Set) []int {
	var best []int
	found := false
	for _, k := range keys(s) {
		if lengths := m.lengths[k.f]; lengths == nil || slices.ContainsFunc(lengths, func(bits int) bool { return bits > k.bits }) {
			continue // of a field that no set has a key of, or only of parts of this prefix
		}
		list := slices.Clone(m.lacking[k.f])
		for _, bits := range m.lengths[k.f] {
			list = append(list, m.byKey[key{k.f, k.v.AndNot(field.Ones(k.f.Width - bits)), bits}]...)
		}
		if !found || len(list) < len(best) {
			best, found = list, true
		}
	}
	if !found {
		best = make([]int, len(m.sets))
		for i := range best {
			best[i] = i
		}
	}
	slices.Sort(best)
	return best
}
