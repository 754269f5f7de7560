package plan

import "repacket/internal/field"

// wideTest tests a field that takes several windows, such as an IPv6 address:
// window by window, the most significant first.
func wideTest(t test, rest field.Set, list []Window) Cond {
	if len(rest) < len(t.in) {
		return negated(byWindows(t.field, list, rest))
	}
	return byWindows(t.field, list, t.in)
}

// byWindows tests that the windows, read one behind the other, have a value in
// in, which is neither empty nor full.
func byWindows(f *field.Field, list []Window, in field.Set) Cond {
	first, fields := list[0], []*field.Field{f}
	if len(list) == 1 {
		return Test{Window: first, In: in, Fields: fields}
	}
	below := 0
	for _, w := range list[1:] {
		below += 8 * w.Size
	}
	whole, parts := split(in, below)
	var out Or
	if !whole.Empty() {
		out = append(out, Test{Window: first, In: whole, Fields: fields})
	}
	for _, p := range parts {
		out = append(out, And{
			Test{Window: first, In: p.upper, Fields: fields},
			byWindows(f, list[1:], p.lower),
		})
	}
	if len(out) == 1 {
		return out[0]
	}
	return out
}

// halves are upper halves of values that go with the same lower halves.
type halves struct{ upper, lower field.Set }

// split divides values in two, below so many bits. whole are the upper halves that
// go with every lower one.
func split(in field.Set, below int) (whole field.Set, parts []halves) {
	lowers := map[field.Value]field.Set{}
	var order []field.Value
	add := func(upper field.Value, lo, hi field.Value) {
		if _, seen := lowers[upper]; !seen {
			order = append(order, upper)
		}
		lowers[upper] = append(lowers[upper], field.Range{Lo: lo, Hi: hi}) // in order, as in is
	}
	ones := field.Ones(below)
	for _, r := range in {
		lo, hi := r.Lo.Shr(below), r.Hi.Shr(below)
		from, to := r.Lo.Low(below), r.Hi.Low(below)
		if lo == hi && (!from.IsZero() || to != ones) {
			add(lo, from, to)
			continue
		}
		if !from.IsZero() {
			add(lo, from, ones)
			lo = lo.Inc()
		}
		if to != ones {
			add(hi, field.Value{}, to)
			hi = hi.Dec()
		}
		if lo.Cmp(hi) <= 0 && hi != (field.Value{}).Dec() {
			whole = append(whole, field.Range{Lo: lo, Hi: hi})
		}
	}
	for _, h := range sameLower(order, lowers) {
		if h.lower.Full(below) { // two ranges that met
			whole = append(whole, h.upper...)
		} else {
			parts = append(parts, h)
		}
	}
	return field.NewSet(whole...), parts
}

// sameLower puts upper halves together that go with the same lower ones.
func sameLower(order []field.Value, lowers map[field.Value]field.Set) []halves {
	var out []halves
	type ends struct {
		first, last field.Range
		ranges      int
	}
	at := map[ends][]int{} // places in out
next:
	for _, upper := range order {
		lower := field.NewSet(lowers[upper]...)
		key := ends{lower[0], lower[len(lower)-1], len(lower)}
		for _, i := range at[key] {
			if out[i].lower.Equal(lower) {
				out[i].upper = append(out[i].upper, field.Range{Lo: upper, Hi: upper})
				continue next
			}
		}
		at[key] = append(at[key], len(out))
		out = append(out, halves{field.One(upper), lower})
	}
	for i := range out {
		out[i].upper = field.NewSet(out[i].upper...)
	}
	return out
}

// negated holds where c does not.
func negated(c Cond) Cond {
	switch c := c.(type) {
	case Test:
		c.Not = !c.Not
		return c
	case And:
		out := make(Or, len(c))
		for i, x := range c {
			out[i] = negated(x)
		}
		return out
	case Or:
		out := make(And, len(c))
		for i, x := range c {
			out[i] = negated(x)
		}
		return out
	}
	return c // no other condition is made of tests
}
