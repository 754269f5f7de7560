package plan

import (
	"math/bits"
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// Why finds the first test of a rule that failed for a packet on which the rule has not acted
// (semantics.md 3.13).
type Why struct {
	// Asks are in order. The last one always fails.
	Asks []Ask
}

// Ask is a test of a rule in one class. Where Cond does not hold, the packet is counted at Slot,
// see why.Slot, and no other is asked.
type Ask struct {
	Cond Cond // nil: it never holds
	Slot int
	See  See
}

// See is what is seen where a test fails: the value of Field, or else what follows Next (IPv4, IPv6
// or Ethernet, behind the tags) by its number, as package why has it, or else Known.
type See struct {
	Field *field.Field
	Next  field.Protocol
	Known field.Value
}

// Windows are the loads that hold the value of Field, most significant first.
func (s See) Windows() []Window {
	if s.Field == nil {
		return nil
	}
	return fieldWindows(s.Field)
}

// Shift is by how much the windows, read one behind the other, show the value shifted.
func (s See) Shift() int {
	list := s.Windows()
	return bits.TrailingZeros32(list[len(list)-1].Mask)
}

func (y *Why) windows() []Window {
	var out []Window
	for _, a := range y.Asks {
		out = append(append(out, conditionWindows(a.Cond)...), a.See.Windows()...)
	}
	return out
}

// parts is how many parts a plan has of it.
func (y *Why) parts() int {
	n := 0
	for _, a := range y.Asks {
		n += 1 + leavesOf(a.Cond)
	}
	return n
}

// examined is a rule of which it is counted why it does not act.
type examined struct {
	// first is the place of the first of its tests among all.
	first int
	tests []why.Test
	// rule is one of the rules that it stands for; alone: there is no other.
	rule  *rule.Rule
	alone bool
}

// examine has it counted why rules do not act. What is there instead of a header is told apart
// by all headers there are.
func (b *builder) examine(tests []why.Test) {
	b.tests = tests
	if len(tests) == 0 {
		return
	}
	for _, p := range []field.Protocol{field.IP, field.IP6, field.TCP, field.UDP, field.ICMP, field.ICMP6} {
		b.asked.headers[p] = true
	}
	if b.link == field.Ethernet {
		b.asked.headers[field.ARP] = true
	}
}

// examineBehind finds behind which items the rules are examined: the last that they stand for.
func (b *builder) examineBehind(items []item) {
	b.behind = map[int]*examined{}
	for first := 0; first < len(b.tests); {
		e := &examined{first: first}
		for first < len(b.tests) && b.tests[first].Rule == b.tests[e.first].Rule {
			first++
		}
		e.tests = b.tests[e.first:first]
		last := -1
		var stands []*rule.Rule
		for i, it := range items {
			if it.rule.Index != e.tests[0].Rule {
				continue
			}
			if last = i; !it.rule.Quote {
				stands = append(stands, it.rule)
			}
		}
		if last >= 0 {
			e.rule, e.alone = stands[0], len(stands) == 1
			b.behind[last] = e
		}
	}
}

// why adds the step that finds out why a rule has not acted.
func (w *walk) why(e *examined) {
	if w.done {
		return
	}
	f := finder{walk: w, examined: e, known: w.known}
	for i, t := range e.tests {
		if f.test(e.first+i, t) {
			break
		}
	}
	f.close()
	w.out = append(w.out, Step{Rule: e.tests[0].Rule, Why: &Why{f.asks}})
	w.effort.spend(stepsOfRule)
}

// finder makes the asks of a rule in one class.
type finder struct {
	*walk
	*examined
	known facts // of packets for which the tests so far hold
	asks  []Ask
	ended bool
}

// test asks a test, and reports whether nothing is left to ask.
func (f *finder) test(place int, t why.Test) bool {
	if len(t.Headers) > 0 && !slices.ContainsFunc(t.Headers, f.class.has) {
		return f.ask(never, why.Slot(place, why.NoHeader), f.class.instead(t.Headers[0]))
	}
	if t.Guard != nil && f.expr(t.Guard, why.Slot(place, why.NoField), f.see([]*field.Field{t.GuardSees})) {
		return true
	}
	failed := why.Slot(place, why.Failed)
	switch {
	case t.Whole != nil:
		return f.whole(t.Whole.Proto, failed)
	case t.Rest:
		return f.ask(never, failed, f.see(t.Sees))
	case t.Expr != nil:
		return f.expr(t.Expr, failed, f.see(t.Sees))
	}
	return false
}

// expr asks a condition.
func (f *finder) expr(e rule.Expr, slot int, see See) bool {
	if f.effort.rule = f.examined.rule; f.effort.err != nil {
		return true
	}
	n := f.effort.simplify(lower(e, f.class, false), f.known)
	if n == always {
		return false
	}
	if f.ask(n, slot, see) {
		return true
	}
	for _, x := range flatten[allOf]([]node{n}) {
		if t, plain := x.(test); plain {
			f.known = f.known.with(t)
		}
	}
	return false
}

// whole asks whether the datagram is whole for a checksum to be made anew.
func (f *finder) whole(proto field.Protocol, slot int) bool {
	cond, ok := wholeFor(proto, f.examined.rule, f.class)
	if !ok {
		return f.ask(never, slot, See{})
	}
	f.asks = append(f.asks, Ask{Cond: cond, Slot: slot})
	return false
}

// ask adds an ask, and reports whether it always fails.
func (f *finder) ask(n node, slot int, see See) bool {
	cond, possible := compose(n, patterns{})
	f.ended = n == never || !possible
	if f.ended {
		cond = nil
	}
	f.asks = append(f.asks, Ask{cond, slot, see})
	return f.ended
}

// close makes the last ask one that always fails: since the rule has not acted, the last test
// need not be asked where there is one rule, and where there are several it is the last.
func (f *finder) close() {
	if f.ended {
		return
	}
	if f.alone && len(f.asks) > 0 {
		f.asks[len(f.asks)-1].Cond = nil
		return
	}
	last := len(f.tests) - 1
	f.ask(never, why.Slot(f.first+last, why.Failed), f.see(f.tests[last].Sees))
}

// see is the value of the one field of a list that packets of the class have.
func (f *finder) see(list []*field.Field) See {
	for _, x := range list {
		if x != nil && f.class.has(x.Proto) {
			return See{Field: x}
		}
	}
	return See{}
}

// instead is what packets of the class have in place of a header.
func (c Class) instead(missing field.Protocol) See {
	layer := missing.Header().Layer
	switch {
	case layer < field.NetworkLayer:
		return See{}
	case layer > field.NetworkLayer && c.L4 != field.None:
		return See{Known: why.Header(c.L4)}
	case c.L3 != field.None && (layer == field.NetworkLayer || c.L3 == field.ARP):
		return See{Known: why.Header(c.L3)}
	case c.L3 != field.None:
		return See{Next: c.L3}
	case c.Link == field.RawIP:
		return See{Known: why.NoIP()}
	}
	return See{Next: field.Eth}
}
