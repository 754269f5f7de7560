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
	stacks stacks
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
func anything() state { return state{stacks: everyStack} }

// with is s and the header p is there.
func (s state) with(p field.Protocol) state {
	s.stacks &= having[p]
	return s
}

// without is s and the header p is not there.
func (s state) without(p field.Protocol) state {
	s.stacks &^= having[p]
	return s
}

// may tells whether s leaves room for the header p.
func (s state) may(p field.Protocol) bool { return s.stacks&having[p] != 0 }

// must tells whether p is there in every packet of s.
func (s state) must(p field.Protocol) bool { return s.stacks&^having[p] == 0 }

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
	if both.stacks = s.stacks & o.stacks; both.stacks == 0 {
		return state{}, false
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

// settle takes away the stacks that cannot be and what is said of the fields of
// headers that are then in none. It is false when no packet is left.
func (s *state) settle() bool {
	for _, k := range s.facts {
		if k.in.Empty() {
			*s = s.without(k.f.Proto)
		}
		for _, n := range needs[k.f] {
			if s.stacks&n.stacks != 0 && k.in.Intersect(n.in).Empty() {
				s.stacks &^= n.stacks
			}
		}
	}
	s.facts = slices.DeleteFunc(s.facts, func(k fact) bool { return !s.may(k.f.Proto) })
	return s.stacks != 0
}

// either is what is in a or in b.
func either(a, b union) union {
	out := union{slices.Clone(a.states), a.hull || b.hull}
	for _, s := range b.states {
		out.add(s)
	}
	return out
}

// add puts a state into the union: into one of its states, if both together
// are one state.
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

// merge is the one state that holds exactly what a and b hold, if there is one:
// of the fields that both may have, none differs; or one does, and the headers
// are the same.
func merge(a, b state) (state, bool) {
	out := state{stacks: a.stacks | b.stacks}
	differs := a.stacks != b.stacks // then no field may
	for _, f := range factFields(a, b) {
		in := a.values(f)
		switch other := b.values(f); {
		case !b.may(f.Proto):
		case !a.may(f.Proto):
			in = other
		case in.Equal(other):
		case differs:
			return state{}, false
		default:
			in, differs = in.Union(other), true
		}
		if !in.Full(f.Width) {
			out.facts = append(out.facts, fact{f, in})
		}
	}
	return out, true
}

// factFields are the fields of which a or b knows something, in order.
func factFields(a, b state) []*field.Field {
	out := make([]*field.Field, 0, len(a.facts)+len(b.facts))
	for _, k := range slices.Concat(a.facts, b.facts) {
		out = append(out, k.f)
	}
	slices.SortFunc(out, compareFields)
	return slices.Compact(out)
}

// around is a state that holds all of a and b, and more.
func around(a, b state) state {
	out := state{stacks: a.stacks | b.stacks}
	for _, f := range factFields(a, b) {
		in := field.Set{}
		for _, s := range []state{a, b} {
			if s.may(f.Proto) {
				in = in.Union(s.values(f))
			}
		}
		if len(in) <= maxRanges && !in.Full(f.Width) {
			out.facts = append(out.facts, fact{f, in})
		}
	}
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
			if x.meets(y) {
				return true
			}
		}
	}
	return false
}

// meets tells whether s.and(o) is anything, without making it. What only one of
// them knows of has taken its stacks away already.
func (s state) meets(o state) bool {
	left := s.stacks & o.stacks
	a, b := s.facts, o.facts
	for left != 0 && len(a) > 0 && len(b) > 0 {
		switch c := compareFields(a[0].f, b[0].f); {
		case c < 0:
			a = a[1:]
		case c > 0:
			b = b[1:]
		default:
			both := state{stacks: left, facts: []fact{{a[0].f, a[0].in.Intersect(b[0].in)}}}
			both.settle()
			left, a, b = both.stacks, a[1:], b[1:]
		}
	}
	return left != 0
}
