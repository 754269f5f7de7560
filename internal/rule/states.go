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
	gone := false
	for _, k := range s.facts {
		s.stacks = left(s.stacks, k.f, k.in)
		gone = gone || !s.may(k.f.Proto)
	}
	if gone || len(s.facts) > 0 && !s.mayAll() {
		s.facts = slices.DeleteFunc(s.facts, func(k fact) bool { return !s.may(k.f.Proto) })
	}
	return s.stacks != 0
}

// mayAll tells whether s leaves room for the headers of all its facts.
func (s state) mayAll() bool {
	return !slices.ContainsFunc(s.facts, func(k fact) bool { return !s.may(k.f.Proto) })
}

// left are the stacks that can be where f, if its header is there, has a value
// in in.
func left(all stacks, f *field.Field, in field.Set) stacks {
	if in.Empty() {
		all &^= having[f.Proto]
	}
	for _, n := range needs[f] {
		if all&n.stacks != 0 && !in.Meets(n.in) {
			all &^= n.stacks
		}
	}
	return all
}

// merge is the one state that holds exactly what a and b hold, if there is one:
// of the fields that both may have, none differs; or one does, and the headers
// are the same.
func merge(a, b state) (merged state, steps int, ok bool) {
	if steps, ok = mergeable(a, b); !ok {
		return state{}, steps, false
	}
	out := state{stacks: a.stacks | b.stacks, facts: make([]fact, 0, len(a.facts)+len(b.facts))}
	eachFact(a, b, func(f *field.Field, x, y field.Set) bool {
		in := x
		switch {
		case !b.may(f.Proto):
		case !a.may(f.Proto):
			in = y
		case !x.Equal(y):
			in = x.Union(y)
		}
		if !in.Full(f.Width) {
			out.facts = append(out.facts, fact{f, in})
		}
		return true
	})
	return out, steps + out.size(), true
}

// mergeable reports whether two states are one, and how many steps it took to see.
func mergeable(a, b state) (steps int, ok bool) {
	differs := a.stacks != b.stacks // then no field may
	ok = eachFact(a, b, func(f *field.Field, x, y field.Set) bool {
		steps++
		if len(x) == len(y) {
			steps += len(x)
		}
		if !a.may(f.Proto) || !b.may(f.Proto) || x.Equal(y) {
			return true
		}
		if differs {
			return false
		}
		differs = true
		return true
	})
	return steps, ok
}

// eachFact calls do for each field of which a or b knows something, in order,
// with the values that it may have in both, until do is false.
func eachFact(a, b state, do func(f *field.Field, inA, inB field.Set) bool) bool {
	x, y := a.facts, b.facts
	for len(x) > 0 || len(y) > 0 {
		c := 0
		switch {
		case len(x) == 0:
			c = 1
		case len(y) == 0:
			c = -1
		default:
			c = compareFields(x[0].f, y[0].f)
		}
		goOn := false
		switch {
		case c < 0:
			goOn, x = do(x[0].f, x[0].in, anyValue[x[0].f.Width]), x[1:]
		case c > 0:
			goOn, y = do(y[0].f, anyValue[y[0].f.Width], y[0].in), y[1:]
		default:
			goOn, x, y = do(x[0].f, x[0].in, y[0].in), x[1:], y[1:]
		}
		if !goOn {
			return false
		}
	}
	return true
}

// around is a state that holds all of a and b, and more.
func around(a, b state) state {
	out := state{stacks: a.stacks | b.stacks}
	eachFact(a, b, func(f *field.Field, x, y field.Set) bool {
		in := x
		switch {
		case !b.may(f.Proto):
		case !a.may(f.Proto):
			in = y
		default:
			in = x.Union(y)
		}
		if len(in) <= maxRanges && !in.Full(f.Width) {
			out.facts = append(out.facts, fact{f, in})
		}
		return true
	})
	return out
}

// empty tells that no packet is in u: certain, also for a hull.
func (u union) empty() bool { return len(u.states) == 0 }

// meets tells whether s.and(o) is anything, without making it. What only one of
// them knows of has taken its stacks away already.
func (s state) meets(o state) bool {
	rest := s.stacks & o.stacks
	a, b := s.facts, o.facts
	for rest != 0 && len(a) > 0 && len(b) > 0 {
		switch c := compareFields(a[0].f, b[0].f); {
		case c < 0:
			a = a[1:]
		case c > 0:
			b = b[1:]
		default:
			rest = left(rest, a[0].f, a[0].in.Intersect(b[0].in))
			a, b = a[1:], b[1:]
		}
	}
	return rest != 0
}

// anyValue are all values of a field, by its width.
var anyValue = func() (out [129]field.Set) {
	for width := range out {
		out[width] = field.All(width)
	}
	return out
}()
