package rule

import (
	"repacket/internal/field"
)

// widest maps a field that is a part of another one to that one: ip_dscp to
// ip_tos, ip_flag_df to ip_flags. All facts are kept by the widest field, so
// that two names of one bit cannot contradict each other unseen.
var widest = func() map[*field.Field]*field.Field {
	all := field.Fields()
	out := make(map[*field.Field]*field.Field, len(all))
	for _, f := range all {
		out[f] = f
		for _, g := range all {
			if contains(g, f) && g.Width > out[f].Width {
				out[f] = g
			}
		}
	}
	return out
}()

// contains tells whether every bit of inner is a bit of outer.
func contains(outer, inner *field.Field) bool {
	return outer.Proto == inner.Proto && outer.Bit <= inner.Bit && inner.Bit+inner.Width <= outer.Bit+outer.Width
}

// factOf is the fact that f is in in, said of the widest field that has f's
// bits. Such fields have few values, so they are tried one by one.
func factOf(f *field.Field, in field.Set) fact {
	wide := widest[f]
	if wide == f {
		return fact{f, in}
	}
	shift := wide.Bit + wide.Width - f.Bit - f.Width
	var ranges []field.Range
	for v := range wide.Max().Lo + 1 {
		if in.Contains(field.V(v >> shift & f.Max().Lo)) {
			ranges = append(ranges, field.Range{Lo: field.V(v), Hi: field.V(v)})
		}
	}
	return fact{wide, field.NewSet(ranges...)}
}

// packets are the packets on which e holds.
func packets(e Expr) union { return evaluate(e, true) }

// others are the packets on which e does not hold.
func others(e Expr) union { return evaluate(e, false) }

// evaluate is the packets on which e is holds.
func evaluate(e Expr, holds bool) union {
	switch e := e.(type) {
	case All:
		if holds {
			return one(anything())
		}
		return union{}
	case Has:
		if holds {
			return one(anything().with(e.Proto))
		}
		return one(anything().without(e.Proto))
	case Test:
		return testStates(e, holds)
	case Not:
		return evaluate(e.X, !holds)
	case And:
		return combine(e.X, holds, holds)
	case Or:
		return combine(e.X, holds, !holds)
	}
	panic("rule: unknown kind of condition")
}

// combine evaluates the members; all: what is in all of them, else in any.
func combine(xs []Expr, holds, all bool) union {
	switch {
	case len(xs) == 1:
		return evaluate(xs[0], holds)
	case !all: // halves, so that thousands of members are quick
		half := len(xs) / 2
		return either(combine(xs[:half], holds, all), combine(xs[half:], holds, all))
	}
	out := evaluate(xs[0], holds)
	for _, x := range xs[1:] {
		if out.empty() || out.hull && len(xs) > maxStates {
			break // what is left out could only make the hull smaller
		}
		out = both(out, evaluate(x, holds))
	}
	return out
}

// testStates are the packets on which a test holds, or does not: then its
// header is missing or the value is another one, which is one state, since
// facts hold only where the header is there.
func testStates(t Test, holds bool) union {
	s := anything()
	in := t.In
	if holds {
		s = s.with(t.Field.Proto)
	} else {
		in = in.Complement(t.Field.Width)
	}
	if !in.Full(t.Field.Width) {
		s.facts = []fact{factOf(t.Field, in)}
	}
	return one(s)
}

// one is the union of a single state.
func one(s state) union {
	if !s.settle() {
		return union{}
	}
	return union{states: []state{s}}
}
