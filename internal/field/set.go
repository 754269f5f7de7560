package field

import "slices"

// Range holds the values from Lo to Hi, both included.
type Range struct {
	Lo, Hi Value
}

// Set is a set of values: sorted ranges that neither overlap nor touch. Every
// test of the language (a value, a list, a comparison, a prefix, "ne") is a
// field and one of these. The zero Set is empty.
type Set []Range

// NewSet is the union of any ranges, in any order. A range whose Lo is above
// its Hi holds nothing.
func NewSet(ranges ...Range) Set {
	in := slices.DeleteFunc(slices.Clone(ranges), func(r Range) bool { return r.Lo.Cmp(r.Hi) > 0 })
	slices.SortFunc(in, func(a, b Range) int { return a.Lo.Cmp(b.Lo) })
	var s Set
	for _, r := range in {
		if n := len(s); n > 0 && touches(s[n-1], r) {
			if r.Hi.Cmp(s[n-1].Hi) > 0 {
				s[n-1].Hi = r.Hi
			}
			continue
		}
		s = append(s, r)
	}
	return s
}

// touches reports whether b, which does not start before a, overlaps a or
// follows it without a gap.
func touches(a, b Range) bool {
	return b.Lo.Cmp(a.Hi) <= 0 || b.Lo == a.Hi.Inc()
}

// One is the set of a single value.
func One(v Value) Set { return Set{{v, v}} }

// All is the set of every value that fits in width bits.
func All(width int) Set { return Set{{Value{}, Ones(width)}} }

// Contains reports whether v is in s.
func (s Set) Contains(v Value) bool {
	_, found := slices.BinarySearchFunc(s, v, func(r Range, v Value) int {
		switch {
		case r.Hi.Cmp(v) < 0:
			return -1
		case r.Lo.Cmp(v) > 0:
			return 1
		}
		return 0
	})
	return found
}

// Empty reports whether s holds nothing.
func (s Set) Empty() bool { return len(s) == 0 }

// Full reports whether s holds every value of width bits.
func (s Set) Full(width int) bool { return len(s) == 1 && s[0].Lo.IsZero() && s[0].Hi == Ones(width) }

// Single is the only value of s; ok is false when s has more or none.
func (s Set) Single() (v Value, ok bool) {
	if len(s) == 1 && s[0].Lo == s[0].Hi {
		return s[0].Lo, true
	}
	return Value{}, false
}

// Equal reports whether s and o hold the same values.
func (s Set) Equal(o Set) bool { return slices.Equal(s, o) }

// Union holds what is in s or in o.
func (s Set) Union(o Set) Set { return NewSet(append(slices.Clone(s), o...)...) }

// Meets reports whether a value is in both s and o.
func (s Set) Meets(o Set) bool {
	for i, j := 0, 0; i < len(s) && j < len(o); {
		switch {
		case s[i].Hi.Cmp(o[j].Lo) < 0:
			i++
		case o[j].Hi.Cmp(s[i].Lo) < 0:
			j++
		default:
			return true
		}
	}
	return false
}

// Intersect holds what is in both s and o.
func (s Set) Intersect(o Set) Set {
	var out Set
	for i, j := 0, 0; i < len(s) && j < len(o); {
		lo, hi := s[i].Lo, s[i].Hi
		if o[j].Lo.Cmp(lo) > 0 {
			lo = o[j].Lo
		}
		if o[j].Hi.Cmp(hi) < 0 {
			hi = o[j].Hi
		}
		if lo.Cmp(hi) <= 0 {
			out = append(out, Range{lo, hi})
		}
		if s[i].Hi.Cmp(o[j].Hi) < 0 {
			i++
		} else {
			j++
		}
	}
	return out
}

// Complement holds the values of width bits that are not in s.
func (s Set) Complement(width int) Set {
	var out Set
	next, top := Value{}, Ones(width)
	for _, r := range s {
		if r.Lo.Cmp(next) > 0 {
			out = append(out, Range{next, r.Lo.Dec()})
		}
		if r.Hi.Cmp(top) >= 0 {
			return out
		}
		next = r.Hi.Inc()
	}
	return append(out, Range{next, top})
}
