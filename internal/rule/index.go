package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/packetset"
)

// index finds the rules that can have packets in common with another one, so
// that a program of thousands of rules of one shape is not compared pair by
// pair. A rule that asks for one value, or one prefix, of a field is found by
// that; one that asks for the same as another is found by its text.
type index struct {
	byKey map[key][]int
	// fields are the rules that are found by a field, and lengths how long the
	// prefixes are for which they ask.
	fields  map[*field.Field][]int
	lengths map[*field.Field][]int
	byText  map[string][]int
	rest    []int
}

// key is a prefix of a field, and all bits are a value.
type key struct {
	f    *field.Field
	v    field.Value
	bits int
}

func newIndex() *index {
	return &index{
		byKey: map[key][]int{}, fields: map[*field.Field][]int{}, lengths: map[*field.Field][]int{}, byText: map[string][]int{},
	}
}

// keys are the fields of which every packet of a set has one and the same value,
// or one prefix.
func keys(s packetset.Set) []key {
	var all []key
	for _, k := range s.Facts() {
		if len(k.In) != 1 {
			continue
		}
		if v, ok := k.In.Single(); ok {
			all = append(all, key{k.Field, v, k.Field.Width})
		} else if bits := k.Field.PrefixLength(k.In[0]); bits >= 0 {
			all = append(all, key{k.Field, k.In[0].Lo, bits})
		}
	}
	return all
}

// add puts in a rule: by a value rather than by a prefix, and by the innermost
// of them, because a port tells more rules apart than a TTL.
func (x *index) add(i int, r reach) {
	x.byText[r.asks] = append(x.byText[r.asks], i)
	best, found := key{}, false
	for _, k := range keys(r.in) {
		if !found || k.bits == k.f.Width || best.bits < best.f.Width {
			best, found = k, true
		}
	}
	if !found {
		x.rest = append(x.rest, i)
		return
	}
	x.byKey[best] = append(x.byKey[best], i)
	x.fields[best.f] = append(x.fields[best.f], i)
	if !slices.Contains(x.lengths[best.f], best.bits) {
		x.lengths[best.f] = append(x.lengths[best.f], best.bits)
	}
}

// maxCandidates keeps programs of thousands of overlapping rules quick: of
// more rules only the first and the last are compared.
const maxCandidates = 64

// candidates are the earlier rules that may share packets with r, in order:
// those that may take all of its packets, and some of those that may take a
// part of them.
func (x *index) candidates(r reach) []int {
	all, part := ends(x.byText[r.asks]), ends(x.rest)
	known := map[*field.Field]key{}
	for _, k := range keys(r.in) {
		known[k.f] = k
	}
	for f, rules := range x.fields {
		k, ok := known[f]
		if !ok || k.bits < f.Width {
			part = append(part, ends(rules)...)
		}
		for _, bits := range x.lengths[f] {
			if ok && bits <= k.bits {
				around := key{f, k.v.AndNot(field.Ones(f.Width - bits)), bits}
				all = append(all, ends(x.byKey[around])...)
			}
		}
	}
	slices.Sort(all)
	slices.Sort(part)
	out := slices.Concat(ends(slices.Compact(all)), ends(slices.Compact(part)))
	slices.Sort(out)
	return slices.Compact(out)
}

// ends is a copy of a list, without its middle where it is long.
func ends(list []int) []int {
	if len(list) <= maxCandidates {
		return slices.Clone(list)
	}
	return slices.Concat(list[:maxCandidates/2], list[len(list)-maxCandidates/2:])
}
