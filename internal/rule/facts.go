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
	inside := make([]bool, f.Max().Lo+1)
	for _, r := range in {
		for v := r.Lo.Lo; v <= r.Hi.Lo; v++ {
			inside[v] = true
		}
	}
	shift := wide.Bit + wide.Width - f.Bit - f.Width
	var out field.Set
	for v := range wide.Max().Lo + 1 {
		switch n := len(out); {
		case !inside[v>>shift&f.Max().Lo]:
		case n > 0 && out[n-1].Hi.Lo+1 == v:
			out[n-1].Hi.Lo = v
		default:
			out = append(out, field.Range{Lo: field.V(v), Hi: field.V(v)})
		}
	}
	return fact{wide, out}
}

// packets are the packets on which e holds, or can by chance.
func packets(e Expr) union { return newEffort(0).packets(e) }

// others are the packets on which e does not hold, or need not by chance.
func others(e Expr) union { return newEffort(0).others(e) }

// packets are the packets on which e holds, or can by chance.
func (w *effort) packets(e Expr) union { return w.evaluate(e, true) }

// others are the packets on which e does not hold, or need not by chance.
func (w *effort) others(e Expr) union { return w.evaluate(e, false) }

// evaluate is the packets on which e is holds, or can be by chance.
func (w *effort) evaluate(e Expr, holds bool) union {
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
		w.spend(1 + len(e.In))
		return testStates(e, holds)
	case Chance: // may hold on every packet, and may not
		return one(anything())
	case Not:
		return w.evaluate(e.X, !holds)
	case And:
		return w.members(e.X, holds, holds)
	case Or:
		return w.members(e.X, holds, !holds)
	}
	panic("rule: unknown kind of condition")
}

// members evaluates the members of an and or an or, once; all: what is in all of
// them, else in any.
func (w *effort) members(xs []Expr, holds, all bool) union {
	of := condition{&xs[0], len(xs), holds, all}
	if u, known := w.known[of]; known {
		return u
	}
	u := w.combine(xs, holds, all)
	w.remember(of, u)
	return u
}

// combine evaluates the members.
func (w *effort) combine(xs []Expr, holds, all bool) union {
	switch {
	case len(xs) == 1:
		return w.evaluate(xs[0], holds)
	case !all: // halves, so that thousands of members are quick
		half := len(xs) / 2
		return w.either(w.combine(xs[:half], holds, all), w.combine(xs[half:], holds, all))
	}
	out := w.evaluate(xs[0], holds)
	for _, x := range xs[1:] {
		if out.empty() || out.hull && (len(xs) > maxStates || w.over()) {
			break // what is left out could only make the hull smaller
		}
		out = w.both(out, w.evaluate(x, holds))
	}
	return out
}

// testStates are the packets on which a test holds, or does not: then its
// header is missing or the value is another one, which is one state, since
// facts hold only where the header is there. Of a test with columns any value
// may be right or wrong.
func testStates(t Test, holds bool) union {
	s := anything()
	in := t.In
	if holds {
		s = s.with(t.Field.Proto)
	}
	if len(t.Cells) > 0 { // what the rows hold is not looked at
		u := one(s)
		u.hull = true
		return u
	}
	if !holds {
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
