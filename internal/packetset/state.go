package packetset

import (
	"slices"

	"repacket/internal/field"
)

// state is a set of packets.
type state struct {
	stacks stacks
	// facts are what is known of the fields' values, sorted by field; each holds
	// where the field's header is there. A missing field may have any value.
	facts []Fact
}

// maxRanges is the most ranges of a fact, once there are more.
const maxRanges = 64

// may reports whether s leaves room for the header p.
func (s state) may(p field.Protocol) bool { return s.stacks.meets(layers.having[p]) }

// size is how many facts and ranges there are in a state.
func (s state) size() int {
	n := 0
	for _, k := range s.facts {
		n += 1 + len(k.In)
	}
	return n
}

// and is what is in both s and o; ok is false when nothing is.
func (s state) and(o state) (both state, ok bool) {
	if both.stacks = s.stacks.and(o.stacks); both.stacks == (stacks{}) {
		return state{}, false
	}
	both.facts = make([]Fact, 0, len(s.facts)+len(o.facts))
	eachFact(s, o, func(f *field.Field, x, y field.Set) bool {
		switch {
		case x.Full(f.Width):
			x = y
		case !y.Full(f.Width):
			x = x.Intersect(y)
		}
		both.facts = append(both.facts, Fact{f, x})
		return true
	})
	ok = both.settle()
	return both, ok
}

// meets reports whether s.and(o) is anything, without making it. What only one of
// them knows of has taken its stacks away already.
func (s state) meets(o state) bool {
	rest := s.stacks.and(o.stacks)
	return rest != (stacks{}) && eachFact(s, o, func(f *field.Field, x, y field.Set) bool {
		if !x.Full(f.Width) && !y.Full(f.Width) {
			rest = left(rest, Fact{f, x.Intersect(y)})
		}
		return rest != stacks{}
	})
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
		s.stacks = left(s.stacks, k)
	}
	s.facts = slices.DeleteFunc(s.facts, func(k Fact) bool { return !s.may(k.Field.Proto) })
	return s.stacks != stacks{}
}

// left are the stacks that can be where a fact holds.
func left(all stacks, k Fact) stacks {
	if k.In.Empty() {
		all = all.without(layers.having[k.Field.Proto])
	}
	for _, n := range needs[k.Field] {
		if all.meets(n.stacks) && !k.In.Meets(n.in) {
			all = all.without(n.stacks)
		}
	}
	return all
}

// merge is the one state that holds exactly what a and b hold, if there is one:
// of the fields that both may have, none differs; or one does, and the headers
// are the same.
func merge(a, b state) (merged state, steps int, ok bool) {
	differs := a.stacks != b.stacks // then no field may
	ok = eachFact(a, b, func(f *field.Field, x, y field.Set) bool {
		steps++
		if len(x) == len(y) {
			steps += len(x)
		}
		if !a.may(f.Proto) || !b.may(f.Proto) || x.Equal(y) {
			return true
		}
		first := !differs
		differs = true
		return first
	})
	if !ok {
		return state{}, steps, false
	}
	out := around(a, b, false)
	return out, steps + out.size(), true
}

// around is a state that holds all of a and b, and mostly more. What is known by
// many ranges is left out if crop is set.
func around(a, b state, crop bool) state {
	out := state{stacks: a.stacks.or(b.stacks), facts: make([]Fact, 0, len(a.facts)+len(b.facts))}
	eachFact(a, b, func(f *field.Field, x, y field.Set) bool {
		in := x
		switch {
		case !b.may(f.Proto):
		case !a.may(f.Proto):
			in = y
		case !x.Equal(y):
			in = x.Union(y)
		}
		if !in.Full(f.Width) && (!crop || len(in) <= maxRanges) {
			out.facts = append(out.facts, Fact{f, in})
		}
		return true
	})
	return out
}

// eachFact calls do for each field of which a or b knows something, in order,
// with the values that it may have in both, until do is false.
func eachFact(a, b state, do func(f *field.Field, inA, inB field.Set) bool) bool {
	x, y := a.facts, b.facts
	for len(x) > 0 || len(y) > 0 {
		var f *field.Field
		var inA, inB field.Set
		switch {
		case len(y) == 0 || len(x) > 0 && compareFields(x[0].Field, y[0].Field) < 0:
			f, inA, inB, x = x[0].Field, x[0].In, anyValue[x[0].Field.Width], x[1:]
		case len(x) == 0 || compareFields(x[0].Field, y[0].Field) > 0:
			f, inA, inB, y = y[0].Field, anyValue[y[0].Field.Width], y[0].In, y[1:]
		default:
			f, inA, inB, x, y = x[0].Field, x[0].In, y[0].In, x[1:], y[1:]
		}
		if !do(f, inA, inB) {
			return false
		}
	}
	return true
}

// anyValue are all values of a field, by its width.
var anyValue = func() (out [129]field.Set) {
	for width := range out {
		out[width] = field.All(width)
	}
	return out
}()

// widest maps a field that is a part of another one to that one: ip_dscp to
// ip_tos, ip_flag_df to ip_flags. All facts are kept by the widest field, so
// that two names of one bit cannot contradict each other unseen.
var widest = func() map[*field.Field]*field.Field {
	all := field.Fields()
	out := make(map[*field.Field]*field.Field, len(all))
	for _, f := range all {
		out[f] = f
		for _, g := range all {
			if g.Contains(f) && g.Width > out[f].Width {
				out[f] = g
			}
		}
	}
	return out
}()

// factOf is the fact that f is in in, said of the widest field that has f's
// bits: for each value of the bits before f, and any of those behind it.
func factOf(f *field.Field, in field.Set) Fact {
	wide := widest[f]
	if wide == f {
		return Fact{f, in}
	}
	shift := wide.Bit + wide.Width - f.Bit - f.Width
	var out []field.Range
	for before := uint64(0); before <= wide.Max().Lo; before += 1 << (shift + f.Width) {
		for _, r := range in {
			lo, hi := before|r.Lo.Lo<<shift, before|r.Hi.Lo<<shift|(1<<shift-1)
			out = append(out, field.Range{Lo: field.V(lo), Hi: field.V(hi)})
		}
	}
	return Fact{wide, field.NewSet(out...)}
}
