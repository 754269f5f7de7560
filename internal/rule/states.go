package rule

import (
	"slices"

	"repacket/internal/field"
)

// The checker's view of packets: what a condition holds on is a union of
// states. A state says which headers may be there and which values each field
// may have. That is exact: a state is never called empty when a packet could
// meet it, and a union is inexact only where it would grow beyond maxStates;
// then it holds more packets than the condition, never fewer.

// maxStates is the most states that a union has, and maxRanges the most ranges
// of a fact once there are more.
const (
	maxStates = 64
	maxRanges = 64
)

// state is a set of packets.
type state struct {
	// layers holds, for layers 2 to 4, a bit for each header that may be there;
	// bit 0 (field.None): that no header of the layer is found.
	layers [5]uint16
	// facts are what is known of the fields' values, sorted by field; each
	// holds where the field's header is there. A missing field may have any
	// value.
	facts []fact
}

// fact says that f has a value in in, if its header is there.
type fact struct {
	f  *field.Field
	in field.Set
}

// union is a set of packets: those in one of its states.
type union struct {
	states []state
	// hull: the states hold more packets than they should.
	hull bool
}

// anything is every packet.
func anything() state {
	var s state
	for layer := 2; layer <= 4; layer++ {
		s.layers[layer] = 1 << field.None
	}
	for _, p := range field.Protocols() {
		s.layers[p.Header().Layer] |= 1 << p
	}
	return s
}

// with is s and the header p is there.
func (s state) with(p field.Protocol) state {
	s.layers[p.Header().Layer] &= 1 << p
	return s
}

// without is s and the header p is not there.
func (s state) without(p field.Protocol) state {
	s.layers[p.Header().Layer] &^= 1 << p
	return s
}

// may tells whether s leaves room for the header p.
func (s state) may(p field.Protocol) bool { return s.layers[p.Header().Layer]&(1<<p) != 0 }

// must tells whether p is there in every packet of s.
func (s state) must(p field.Protocol) bool { return s.layers[p.Header().Layer] == 1<<p }

// values are the values that f may have, where its header is there.
func (s state) values(f *field.Field) field.Set {
	for _, k := range s.facts {
		if k.f == f {
			return k.in
		}
	}
	return field.All(f.Width)
}

// and is what is in both s and o; ok is false when nothing is.
func (s state) and(o state) (both state, ok bool) {
	for i := range s.layers {
		both.layers[i] = s.layers[i] & o.layers[i]
		if i >= 2 && both.layers[i] == 0 {
			return state{}, false
		}
	}
	both.facts = make([]fact, 0, len(s.facts)+len(o.facts))
	a, b := s.facts, o.facts
	for len(a) > 0 && len(b) > 0 {
		switch c := compareFields(a[0].f, b[0].f); {
		case c < 0:
			both.facts, a = append(both.facts, a[0]), a[1:]
		case c > 0:
			both.facts, b = append(both.facts, b[0]), b[1:]
		default:
			both.facts = append(both.facts, fact{a[0].f, a[0].in.Intersect(b[0].in)})
			a, b = a[1:], b[1:]
		}
	}
	both.facts = append(append(both.facts, a...), b...)
	ok = both.settle()
	return both, ok
}

// compareFields orders fields by header and place.
func compareFields(a, b *field.Field) int {
	if a.Proto != b.Proto {
		return int(a.Proto) - int(b.Proto)
	}
	return a.Bit - b.Bit
}

// settle takes away the headers that cannot be there and what is said of
// their fields. It is false when no packet is left.
func (s *state) settle() bool {
	for _, p := range field.Protocols() { // outermost first
		if s.may(p) && !s.possible(p) {
			*s = s.without(p)
		}
	}
	for layer := 4; layer > 2; layer-- {
		if s.layers[layer]&1 == 0 { // a header here asks for one below
			s.layers[layer-1] &= carriers(s.layers[layer])
		}
	}
	for layer := 2; layer <= 4; layer++ {
		if s.layers[layer] == 0 {
			return false
		}
	}
	s.facts = slices.DeleteFunc(s.facts, func(k fact) bool { return !s.may(k.f.Proto) })
	return true
}

// possible tells whether some packet of s has the header p.
func (s *state) possible(p field.Protocol) bool {
	for _, k := range s.facts {
		if k.f.Proto == p && k.in.Empty() {
			return false
		}
	}
	below := &carried[p]
	if below.by != field.None && !s.may(below.by) {
		return false
	}
	for _, k := range below.facts {
		if s.values(k.f).Intersect(k.in).Empty() {
			return false
		}
	}
	return true
}

// either is what is in a or in b.
func either(a, b union) union {
	out := union{slices.Clone(a.states), a.hull || b.hull}
	for _, s := range b.states {
		out.add(s)
	}
	return out
}

// add puts a state into the union: into one that differs in one field only,
// if there is such a state.
func (u *union) add(s state) {
	for i, have := range u.states {
		if merged, ok := merge(have, s); ok {
			u.states[i] = merged
			return
		}
	}
	if len(u.states) < maxStates {
		u.states = append(u.states, s)
		return
	}
	last := &u.states[len(u.states)-1]
	*last = around(*last, s)
	u.hull = true
}

// merge is the one state that holds exactly what a and b hold, if their
// headers are the same and they differ in at most one field.
func merge(a, b state) (state, bool) {
	if a.layers != b.layers || len(a.facts) != len(b.facts) {
		return state{}, false
	}
	differs := -1
	for i := range a.facts {
		if a.facts[i].f != b.facts[i].f {
			return state{}, false
		}
		if a.facts[i].in.Equal(b.facts[i].in) {
			continue
		}
		if differs >= 0 {
			return state{}, false
		}
		differs = i
	}
	if differs < 0 {
		return a, true
	}
	a.facts = slices.Clone(a.facts)
	k := &a.facts[differs]
	k.in = k.in.Union(b.facts[differs].in)
	if k.in.Full(k.f.Width) {
		a.facts = slices.Delete(a.facts, differs, differs+1)
	}
	return a, true
}

// around is a state that holds all of a and b, and more.
func around(a, b state) state {
	var out state
	for i := range a.layers {
		out.layers[i] = a.layers[i] | b.layers[i]
	}
	for _, f := range slices.Concat(a.facts, b.facts) {
		in := field.Set{}
		for _, s := range []state{a, b} {
			if s.may(f.f.Proto) {
				in = in.Union(s.values(f.f))
			}
		}
		if len(in) <= maxRanges && !in.Full(f.f.Width) && !slices.ContainsFunc(out.facts, func(k fact) bool { return k.f == f.f }) {
			out.facts = append(out.facts, fact{f.f, in})
		}
	}
	slices.SortFunc(out.facts, func(a, b fact) int { return compareFields(a.f, b.f) })
	return out
}

// both is what is in a and in b.
func both(a, b union) union {
	out := union{hull: a.hull || b.hull}
	for _, x := range a.states {
		for _, y := range b.states {
			if s, ok := x.and(y); ok {
				out.add(s)
			}
		}
	}
	return out
}

// empty tells that no packet is in u: certain, also for a hull.
func (u union) empty() bool { return len(u.states) == 0 }

// meets tells whether a packet may be in both u and o. False is certain.
func (u union) meets(o union) bool {
	for _, x := range u.states {
		for _, y := range o.states {
			if _, ok := x.and(y); ok {
				return true
			}
		}
	}
	return false
}
