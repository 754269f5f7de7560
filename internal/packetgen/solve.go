package packetgen

import (
	"math/rand/v2"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// wish is what a frame should be like: one of the ways to satisfy a condition.
type wish struct {
	has     map[field.Protocol]bool // which headers must (not) be there
	sets    []want                  // what fields must hold; each field once
	actions []rule.Action           // of the rule that is aimed at
	whole   bool                    // fix or bad among them: a whole datagram
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
	for _, x := range xs {
		if !w.want(r, x, truth) {
			return false
		}
	}
	return true
}

// test wants a field's value in the test's set, or, for false, outside of it
// or the header away.
func (w *wish) test(r *rand.Rand, t rule.Test, truth bool) bool {
	if truth {
		return w.present(t.Field.Proto) && w.limit(t.Field, t.In)
	}
	outside := t.In.Complement(t.Field.Width)
	there, known := w.has[t.Field.Proto]
	if known && !there {
		return true
	}
	if outside.Empty() || !known && r.IntN(4) == 0 {
		return w.absent(t.Field.Proto)
	}
	return w.present(t.Field.Proto) && w.limit(t.Field, outside)
}

// present wants a header; no packet has two of one layer.
func (w *wish) present(p field.Protocol) bool {
	for _, other := range field.Protocols() {
		if other != p && other.Header().Layer == p.Header().Layer && w.has[other] {
			return false
		}
	}
	if there, known := w.has[p]; known {
		return there
	}
	w.has[p] = true
	return true
}

// absent wants a header away.
func (w *wish) absent(p field.Protocol) bool {
	if w.has[p] {
		return false
	}
	w.has[p] = false
	return p != field.Eth
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
	return true
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

var transports = []field.Protocol{field.TCP, field.UDP, field.ICMP}

// implied adds what the headers that must be there say about the IP header.
func (w *wish) implied() bool {
	p := w.l4()
	if p != field.None && !w.present(field.IP) {
		return false
	}
	ok := true
	if p != field.None {
		ok = w.limit(ipVer, field.One(field.V(4))) &&
			w.limit(ipHL, field.NewSet(field.Range{Lo: field.V(5), Hi: field.V(15)})) &&
			w.limit(ipOffset, field.One(field.V(0))) &&
			w.limit(ipProtocol, field.One(field.V(uint64(p.Header().Number))))
	}
	if w.whole {
		ok = ok && w.limit(ipMF, field.One(field.V(0)))
	}
	return ok
}

// leaveOne replaces what one field must hold by the values next to it.
func (w *wish) leaveOne(r *rand.Rand) {
	if len(w.sets) == 0 {
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

// within takes a value of a range. Wider than 64 bits, it stays near Lo.
func within(r *rand.Rand, at field.Range) field.Value {
	if at.Lo.Hi != at.Hi.Hi {
		return field.Value{Hi: at.Lo.Hi, Lo: at.Lo.Lo | r.Uint64()}
	}
	span := at.Hi.Lo - at.Lo.Lo
	if span == ^uint64(0) {
		return field.Value{Hi: at.Lo.Hi, Lo: r.Uint64()}
	}
	return field.Value{Hi: at.Lo.Hi, Lo: at.Lo.Lo + r.Uint64N(span+1)}
}
