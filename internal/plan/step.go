package plan

import (
	"math/bits"
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// step plans one rule for one class, its condition being worked out already.
// It is false if the rule cannot act there.
func step(p *rule.Program, r *rule.Rule, n node, c Class) (Step, bool) {
	known := patterns{}
	cond, ok := compose(n, known)
	if !ok {
		return Step{}, false
	}
	for name, in := range c.facts() {
		if v, single := in.Single(); single {
			f := field.MustByName(name)
			known.of(f.Proto).put(f, v)
		}
	}
	cond, ok = withWhole(cond, r, c)
	if !ok {
		return Step{}, false
	}
	list, computes := edits(r)
	s := Step{
		Rule:      r.Index,
		Cond:      cond,
		DryRun:    p.Written[r.Index].DryRun,
		Flow:      flowOf(computes, c),
		Computes:  computes,
		Sums:      sums(r, list, c, known),
		Exchanges: exchanges(r),
		Writes:    writes(list, known),
		Verdict:   r.Verdict,
		Redirect:  r.Redirect,
	}
	flow := &TrackedFlow{L3: c.L3, L4: c.L4}
	if r.Quote {
		flow.L3, flow.L4, flow.Reply = c.Quoted3, c.Quoted4, r.Reply
	}
	switch {
	case r.Restores():
		s.Answers = flow
	case r.Replies == rule.Tracked:
		s.Track = flow
	}
	return s, true
}

// flowOf is the flow of packets of the class, if a value follows from it.
func flowOf(computes []Compute, c Class) *Flow {
	if !slices.ContainsFunc(computes, func(x Compute) bool { return x.Action.Op == operand.Hash }) {
		return nil
	}
	f := &Flow{L3: c.L3}
	if c.L4 == field.TCP || c.L4 == field.UDP {
		f.L4 = c.L4
	}
	return f
}

// compose makes the condition, and notes in known the bits whose values it
// settles. It is false if the condition asks for two values of one bit.
func compose(n node, known patterns) (Cond, bool) {
	switch n := n.(type) {
	case constant:
		return nil, bool(n)
	case test, chance:
		return composeAll(allOf{n}, known)
	case allOf:
		return composeAll(n, known)
	default:
		return composeAny(n.(anyOf))
	}
}

// composeAll lets tests for one value share loads; they stand where the first
// of them stood.
func composeAll(n allOf, known patterns) (Cond, bool) {
	var out And
	first := -1
	for _, x := range n {
		switch x := x.(type) {
		case test:
			if v, single := x.in.Single(); single {
				if !known.of(x.field.Proto).put(x.field, v) {
					return nil, false
				}
				if first < 0 {
					first = len(out)
				}
				continue
			}
			out = append(out, fieldTest(x))
		case chance:
			out = append(out, Chance(x))
		case anyOf:
			c, ok := composeAny(x)
			if !ok {
				return nil, false
			}
			out = append(out, c)
		}
	}
	if first >= 0 {
		var singles And
		known.each(func(p *pattern) { singles = append(singles, equal(p)...) })
		out = append(out[:first:first], append(singles, out[first:]...)...)
	}
	if len(out) == 1 {
		return out[0], true
	}
	return out, true
}

// composeAny leaves out the halves that ask for two values of one bit, which
// tests of overlapping fields can do. It is false if none is left.
func composeAny(n anyOf) (Cond, bool) {
	var out Or
	for _, x := range n {
		if c, ok := compose(x, patterns{}); ok {
			out = append(out, c)
		}
	}
	if len(out) == 1 {
		return out[0], true
	}
	return out, len(out) > 0
}

// equal tests that a header's bits are what the pattern says.
func equal(p *pattern) []Cond {
	var out []Cond
	for _, l := range p.loads() {
		out = append(out, Test{Window: l.Window, In: field.One(field.V(uint64(l.Value))), Fields: l.Fields})
	}
	return out
}

// fieldTest tests a field for more than one value, turned around if the other
// values are described more simply.
func fieldTest(t test) Cond {
	rest := t.in.Complement(t.field.Width)
	list := fieldWindows(t.field)
	if len(list) > 1 {
		return wideTest(t, rest, list)
	}
	w, fields := list[0], []*field.Field{t.field}
	if len(rest) < len(t.in) || len(rest) == len(t.in) && singles(rest) && !singles(t.in) {
		return Test{Window: w, Not: true, In: inPlace(rest, w), Fields: fields}
	}
	return Test{Window: w, In: inPlace(t.in, w), Fields: fields}
}

func singles(s field.Set) bool {
	return !slices.ContainsFunc(s, func(r field.Range) bool { return r.Lo != r.Hi })
}

// inPlace shifts the values of a field to where they stand in its window.
func inPlace(s field.Set, w Window) field.Set {
	shift := bits.TrailingZeros32(w.Mask)
	out := make(field.Set, len(s))
	for i, r := range s {
		out[i] = field.Range{Lo: field.V(r.Lo.Lo << shift), Hi: field.V(r.Hi.Lo << shift)}
	}
	return out
}

// withWhole adds what fix and bad ask for. It is false if that never holds: the
// rule gives the header a length that no header has, or the last destination of
// a routing header, which the pseudo-header has, is not at hand.
func withWhole(c Cond, r *rule.Rule, class Class) (Cond, bool) {
	for _, a := range r.Actions {
		if !a.Op.Sums() {
			continue
		}
		whole, ok := wholeFor(a.Field.Proto, r, class)
		if !ok {
			return nil, false
		}
		if c == nil {
			c = whole
			continue
		}
		c = And{c, whole}
	}
	return c, true
}

// wholeFor is what the checksum of a protocol asks for to be made anew, as in withWhole.
func wholeFor(proto field.Protocol, r *rule.Rule, class Class) (Cond, bool) {
	if class.L3 == field.IP6 && class.Way.Routed() {
		return nil, false
	}
	if proto != field.IP {
		return WholeDatagram{proto, class.L3}, true
	}
	words := headerWords(r)
	if words != 0 && words < 5 {
		return nil, false
	}
	return WholeHeader{words}, true
}

// headerWords is the length that the rule gives the IPv4 header, -1 if that is
// 0, or 0 if the rule does not change it.
func headerWords(r *rule.Rule) int {
	i := slices.IndexFunc(r.Actions, func(a rule.Action) bool { return a.Field.Name == "ip_hl" })
	switch {
	case i < 0:
		return 0
	case r.Actions[i].Value.IsZero():
		return -1
	}
	return int(r.Actions[i].Value.Lo)
}

// writes are the stores of what the edits say, less the bits that are known to
// have their values already: first the constants, then what is worked out.
func writes(list []edit, known patterns) []Write {
	var out, computed []Write
	set := patterns{}
	for _, e := range list {
		if e.compute != nil {
			computed = append(computed, e.compute.writes()...)
		} else if !settled(e, known) {
			set.of(e.field.Proto).put(e.field, e.value)
		}
	}
	set.each(func(p *pattern) { out = append(out, p.stores()...) })
	return append(out, computed...)
}

// writes are the stores of a value that has been worked out.
func (c Compute) writes() []Write {
	var out []Write
	for _, w := range c.Windows() {
		out = append(out, Write{Window: w, Fields: []*field.Field{c.Field}, Source: c.source(w)})
	}
	return out
}

// exchanges are the pairs of bytes that the rule's swaps exchange.
func exchanges(r *rule.Rule) []Exchange {
	var out []Exchange
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		a, b := pairs(src), pairs(dest)
		for i := range a {
			out = append(out, Exchange{a[i], b[i], s})
		}
	}
	return out
}

// pairs splits a field of whole bytes into windows that do not depend on where
// it stands, so that those of two fields of one width can be paired.
func pairs(f *field.Field) []Window {
	var out []Window
	for off := 0; off < f.Size(); {
		size := longest
		for off+size > f.Size() {
			size /= 2
		}
		out = append(out, Window{f.Proto, f.Byte() + off, size, fullMask(size)})
		off += size
	}
	return out
}

// settled reports whether the field is known to have the value already.
func settled(e edit, known patterns) bool {
	v, ok := known.of(e.field.Proto).get(e.field)
	return e.compute == nil && ok && v == e.value
}
