package packetset

import (
	"slices"

	"repacket/internal/field"
)

// Set is a set of packets: those in one of its states. The zero Set is empty.
type Set struct {
	states []state
	// hull: the states hold more packets than they should.
	hull bool
}

// MaxStates is the most states that a set has: the most cases that are told apart.
const MaxStates = 64

// All is every packet.
func All() Set { return Set{states: []state{{stacks: layers.every}}} }

// With are the packets that have a header.
func With(p field.Protocol) Set { return of(state{stacks: layers.having[p]}) }

// Without are the packets that have none of some headers.
func Without(list ...field.Protocol) Set {
	s := state{stacks: layers.every}
	for _, p := range list {
		s.stacks = s.stacks.without(layers.having[p])
	}
	return of(s)
}

// Where are the packets that have a field of the language, with one of some values.
func Where(f *field.Field, in field.Set) Set {
	return of(state{layers.having[f.Proto], facts(f, in)})
}

// Unless are the packets that do not have a field, or not with one of some
// values. That is one state, since facts hold only where the header is there.
func Unless(f *field.Field, in field.Set) Set {
	return of(state{layers.every, facts(f, in.Complement(f.Width))})
}

func facts(f *field.Field, in field.Set) []Fact {
	if in.Full(f.Width) {
		return nil
	}
	return []Fact{factOf(f, in)}
}

// of is the set of a single state.
func of(s state) Set {
	if !s.settle() {
		return Set{}
	}
	return Set{states: []state{s}}
}

// Around is a set as one that holds more packets than it should.
func (s Set) Around() Set { return Set{s.states, true} }

// Exact reports whether the set holds no more packets than it should.
func (s Set) Exact() bool { return !s.hull }

// Empty reports whether no packet is in the set: certain, also if it is not exact.
func (s Set) Empty() bool { return len(s.states) == 0 }

// Size is how many states, facts and ranges there are in the set.
func (s Set) Size() int {
	n := len(s.states)
	for _, x := range s.states {
		n += x.size()
	}
	return n
}

// Contains reports whether a packet of just these headers and values is in the set.
func (s Set) Contains(h Headers, value func(*field.Field) field.Value) bool {
	var stack stacks
	if n := slices.Index(layers.all, h); n >= 0 {
		stack.add(n)
	}
	return slices.ContainsFunc(s.states, func(x state) bool {
		return x.stacks.meets(stack) && !slices.ContainsFunc(x.facts, func(k Fact) bool {
			return h.Has(k.Field.Proto) && !k.In.Contains(value(k.Field))
		})
	})
}

// Headers are the headers of a layer that packets of the set may have, with
// field.None if they may have none.
func (s Set) Headers(layer field.Layer) Headers {
	return s.stacks().headers(layer)
}

func (s Set) stacks() (all stacks) {
	for _, x := range s.states {
		all = all.or(x.stacks)
	}
	return all
}

// Facts are what is known of the fields that every packet of the set has, if
// that is one case: outer fields first, each the widest that has its bits.
func (s Set) Facts() []Fact {
	if len(s.states) != 1 {
		return nil
	}
	only := s.states[0]
	return slices.DeleteFunc(slices.Clone(only.facts), func(k Fact) bool {
		return only.stacks.without(layers.having[k.Field.Proto]) != stacks{}
	})
}

// Span is from the least to the largest value that a field has in packets of the
// set that have it. It is false if none can have it.
func (s Set) Span(f *field.Field) (span field.Range, ok bool) {
	all := s.Values(f)
	if all.Empty() {
		return field.Range{}, false
	}
	return field.Range{Lo: all[0].Lo, Hi: all[len(all)-1].Hi}, true
}

// Values are those that a field, the widest that has its bits, has in packets of the set that have it.
func (s Set) Values(f *field.Field) (all field.Set) {
	for _, x := range s.states {
		values := anyValue[f.Width]
		for _, k := range x.facts {
			if k.Field == f {
				values = k.In
			}
		}
		if x.may(f.Proto) {
			all = all.Union(values)
		}
	}
	return all
}

// Needed are the values that a field, or the widest one that has its bits, has in
// packets of the set because of the headers there. They are empty if no packet
// of the set has the field.
func (b *Budget) Needed(s Set, f *field.Field) Fact {
	out := Fact{Field: widest[f]}
	layers.having[f.Proto].each(func(n int) {
		var stack stacks
		stack.add(n)
		if !b.Meets(s, of(state{stacks: stack})) {
			return
		}
		in := field.All(out.Field.Width)
		for _, n := range needs[out.Field] {
			if n.stacks.meets(stack) {
				in = n.in
			}
		}
		out.In = out.In.Union(in)
	})
	return out
}
