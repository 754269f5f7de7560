package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/packetset"
)

// meeting finds the sets of packets that may have one in common with another set, so that
// thousands of rules are not compared pair by pair: a set is found by a field that has one value in it.
type meeting struct {
	sets    []packetset.Set
	byKey   map[key][]int
	byField map[*field.Field][]int
	rest    []int
}

func newMeeting() *meeting {
	return &meeting{byKey: map[key][]int{}, byField: map[*field.Field][]int{}}
}

// values are the fields that have one and the same value in all packets of a set, the innermost last.
func values(s packetset.Set) (out []key) {
	for _, k := range keys(s) {
		if k.bits == k.f.Width {
			out = append(out, k)
		}
	}
	return out
}

// add puts in the set with the number i, which is that of the sets before.
func (m *meeting) add(i int, s packetset.Set) {
	m.sets = append(m.sets, s)
	single := values(s)
	if len(single) == 0 {
		m.rest = append(m.rest, i)
		return
	}
	k := single[len(single)-1]
	m.byKey[k] = append(m.byKey[k], i)
	m.byField[k.f] = append(m.byField[k.f], i)
}

// near are the numbers of the sets that may have a packet in common with s, in order.
func (m *meeting) near(s packetset.Set) []int {
	known := map[*field.Field]key{}
	for _, k := range values(s) {
		known[k.f] = k
	}
	out := append([]int{}, m.rest...)
	for f, all := range m.byField {
		if k, ok := known[f]; ok {
			all = m.byKey[k]
		}
		out = append(out, all...)
	}
	slices.Sort(out)
	return out
}
