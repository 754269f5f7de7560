package packetgen

import (
	"math/bits"
	"math/rand/v2"
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// wish is what a frame should be like: one of the ways to satisfy a condition.
type wish struct {
	link    field.Link
	has     map[field.Protocol]bool // which headers must (not) be there
	sets    []want                  // what fields must hold; each field once
	actions []rule.Action           // of the rule that is aimed at
	whole   bool                    // fix or bad among them: a whole datagram
	quotes  bool                    // ICMP is to be an error that quotes a packet
	spoil   bool                    // which may be one of a bad build
}

// newWish asks for nothing but what every frame of the link has.
func newWish(link field.Link) *wish {
	return &wish{link: link, has: map[field.Protocol]bool{field.Eth: link == field.Ethernet}}
}

// want is what one field must hold.
type want struct {
	field *field.Field
	in    field.Set
}

// want adds what it takes for e to be truth. Where there is more than one way
// it takes one at random; ok is false when that way is closed.
func (w *wish) want(r *rand.Rand, e rule.Expr, truth bool) (ok bool) {
	switch e := e.(type) {
	case rule.All:
		return truth
	case rule.Has:
		if truth {
			return w.present(e.Proto)
		}
		return w.absent(e.Proto)
	case rule.Test:
		return w.test(r, e, truth)
	case rule.Chance: // no frame can do anything about it
		return true
	case rule.Not:
		return w.want(r, e.X, !truth)
	case rule.And:
		return w.some(r, e.X, truth, truth)
	case rule.Or:
		return w.some(r, e.X, truth, !truth)
	}
	return false
}

// some wants truth of every one of xs, or else of one of them.
func (w *wish) some(r *rand.Rand, xs []rule.Expr, truth, every bool) bool {
	if !every {
		return w.want(r, xs[r.IntN(len(xs))], truth)
	}
	for _, x := range merged(xs, truth) {
		if !w.want(r, x, truth) {
			return false
		}
	}
	return true
}

// mergeFrom is how many members are merged: a field that must be none of
// thousands of values would be narrowed a thousand times.
const mergeFrom = 32

// merged are conditions that are all to be true, or all false, with one test in
// the place of all those of one field.
func merged(xs []rule.Expr, truth bool) []rule.Expr {
	if len(xs) < mergeFrom {
		return xs
	}
	var out []rule.Expr
	all := map[*field.Field]field.Set{} // for false what they hold, else what they do not
	at := map[*field.Field]int{}
	for _, x := range xs {
		t, ok := x.(rule.Test)
		if !ok || len(t.Cells) > 0 {
			out = append(out, x)
			continue
		}
		in := t.In
		if truth {
			in = in.Complement(t.Field.Width)
		}
		if _, seen := at[t.Field]; !seen {
			at[t.Field] = len(out)
			out = append(out, t)
		}
		all[t.Field] = append(all[t.Field], in...)
	}
	for f, i := range at {
		in := field.NewSet(all[f]...)
		if truth {
			in = in.Complement(f.Width)
		}
		out[i] = rule.Test{Field: f, In: in, At: out[i].Span()}
	}
	return out
}

// test wants a field's value in the test's set, or, for false, outside of it
// or the header away.
func (w *wish) test(r *rand.Rand, t rule.Test, truth bool) bool {
	proto := t.Field.Proto
	if truth {
		return w.present(proto) && w.limit(t.Field, t.In)
	}
	if w.excluded(proto) {
		return true
	}
	outside := t.In.Complement(t.Field.Width)
	if outside.Empty() || !w.has[proto] && r.IntN(4) == 0 {
		return w.absent(proto)
	}
	return w.present(proto) && w.limit(t.Field, outside)
}

// excluded reports whether a header cannot be there: it must not, or it would be
// the second of its layer, or it has nothing to stand on.
func (w *wish) excluded(p field.Protocol) bool {
	if there, known := w.has[p]; known {
		return !there
	}
	h := p.Header()
	for _, other := range field.AllProtocols() {
		if other != p && other.Header().Layer == h.Layer && w.has[other] {
			return true
		}
	}
	on := func(below field.Protocol) bool { return !w.excluded(below) }
	return len(h.Over) > 0 && !slices.ContainsFunc(h.Over, on)
}

// present wants a header, and the one below it if there is no choice.
func (w *wish) present(p field.Protocol) bool {
	if w.excluded(p) {
		return false
	}
	w.has[p] = true
	var below []field.Protocol
	for _, on := range p.Header().Over {
		if !w.excluded(on) {
			below = append(below, on)
		}
	}
	if len(below) == 1 {
		return w.present(below[0])
	}
	return len(below) > 0 || len(p.Header().Over) == 0
}

// absent wants a header away.
func (w *wish) absent(p field.Protocol) bool {
	if w.has[p] {
		return false
	}
	w.has[p] = false
	for _, over := range field.AllProtocols() { // must it be there, and what does it stand on now?
		if w.has[over] && !w.present(over) {
			return false
		}
	}
	return true
}

// limit narrows what f must hold.
func (w *wish) limit(f *field.Field, in field.Set) bool {
	for i := range w.sets {
		if w.sets[i].field == f {
			w.sets[i].in = w.sets[i].in.Intersect(in)
			return !w.sets[i].in.Empty()
		}
	}
	w.sets = append(w.sets, want{f, in})
	return !in.Empty() // a row may leave no value
}

// wanted is what f must hold; ok is false when nothing is asked.
func (w *wish) wanted(f *field.Field) (in field.Set, ok bool) {
	for _, s := range w.sets {
		if s.field == f {
			return s.in, true
		}
	}
	return nil, false
}

// l4 is the transport header that must be there, or field.None.
func (w *wish) l4() field.Protocol {
	for _, p := range transports {
		if w.has[p] {
			return p
		}
	}
	return field.None
}

var transports = []field.Protocol{field.TCP, field.UDP, field.ICMP, field.ICMP6}

// implied adds what the headers that must be there say about those below them.
func (w *wish) implied(r *rand.Rand) bool {
	if !w.impliedByQuote(r) {
		return false
	}
	p := w.l4()
	if p == field.None {
		return !w.whole || w.limit(ipMF, field.One(field.V(0)))
	}
	if !w.has[field.IP] && !w.has[field.IP6] {
		below := p.Header().Over
		if !w.present(below[r.IntN(len(below))]) {
			return false
		}
	}
	if w.has[field.IP6] {
		return true // how a chain of extension headers begins, the draft knows
	}
	ok := w.limit(ipVer, field.One(field.V(4))) &&
		w.limit(ipHL, field.NewSet(field.Range{Lo: field.V(5), Hi: field.V(15)})) &&
		w.limit(ipOffset, field.One(field.V(0))) &&
		w.limit(ipProtocol, field.One(field.V(uint64(p.Header().Number))))
	return ok && (!w.whole || w.limit(ipMF, field.One(field.V(0))))
}

// leaveOne replaces what one field must hold by the values next to it, or asks
// for the opposite of a header.
func (w *wish) leaveOne(r *rand.Rand) {
	if len(w.sets) == 0 || r.IntN(8) == 0 {
		w.leaveHeader(r)
		return
	}
	s := &w.sets[r.IntN(len(w.sets))]
	top := s.field.Max()
	var near []field.Range
	for _, at := range s.in {
		if !at.Lo.IsZero() {
			near = append(near, field.Range{Lo: at.Lo.Dec(), Hi: at.Lo.Dec()})
		}
		if at.Hi.Cmp(top) < 0 {
			near = append(near, field.Range{Lo: at.Hi.Inc(), Hi: at.Hi.Inc()})
		}
	}
	if len(near) > 0 {
		s.in = field.NewSet(near...)
	}
}

// leaveHeader asks for the opposite of one of the headers.
func (w *wish) leaveHeader(r *rand.Rand) {
	var known []field.Protocol
	for _, p := range field.AllProtocols() {
		if _, ok := w.has[p]; ok && p != field.Eth {
			known = append(known, p)
		}
	}
	if len(known) == 0 {
		return
	}
	p := known[r.IntN(len(known))]
	there := w.has[p]
	delete(w.has, p)
	if there {
		w.absent(p)
	} else {
		w.present(p)
	}
}

// pick takes a value of s: an edge of one of its ranges more often than not.
func pick(r *rand.Rand, s field.Set) field.Value {
	at := s[r.IntN(len(s))]
	switch r.IntN(3) {
	case 0:
		return at.Lo
	case 1:
		return at.Hi
	}
	return within(r, at)
}

// within takes a value of a range.
func within(r *rand.Rand, at field.Range) field.Value {
	lo, borrow := bits.Sub64(at.Hi.Lo, at.Lo.Lo, 0)
	hi, _ := bits.Sub64(at.Hi.Hi, at.Lo.Hi, borrow)
	n := UpTo(r, field.Value{Hi: hi, Lo: lo})
	low, carry := bits.Add64(at.Lo.Lo, n.Lo, 0)
	return field.Value{Hi: at.Lo.Hi + n.Hi + carry, Lo: low}
}

// UpTo takes a value from 0 to top.
func UpTo(r *rand.Rand, top field.Value) field.Value {
	for {
		v := field.Value{Hi: sixtyFour(r, top.Hi), Lo: r.Uint64()}
		if top.Hi == 0 {
			v.Lo = sixtyFour(r, top.Lo)
		}
		if v.Cmp(top) <= 0 {
			return v
		}
	}
}

// sixtyFour takes a number from 0 to top.
func sixtyFour(r *rand.Rand, top uint64) uint64 {
	if top == ^uint64(0) {
		return r.Uint64()
	}
	return r.Uint64N(top + 1)
}
