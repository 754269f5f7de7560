package plan

import (
	"fmt"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// tableFrom is how many rules of one shape become a table: fewer are tested one
// after the other, which is faster.
const tableFrom = 8

// fewValues is how many values a test may have to count as one for a list: each
// is looked up by itself.
const fewValues = 8

// narrowest is the width in bits of the narrowest field that a column may set.
const narrowest = 4

// shape is what rules of one table have in common: all but the values of some
// tests, the holes, and what is set.
type shape struct {
	// pattern is one of the rules with cells in the place of its holes.
	pattern *rule.Rule
	holes   []bool // by test, in the order of eachTest
}

// item is a rule in its place.
type item struct {
	rule *rule.Rule
	// shape is nil where no table serves the rule; rows is what a rule with rows
	// comes to.
	shape *shape
	rows  *bundle
	order uint32 // of the rule, or of its first row
}

// eachTest calls f for every test of a condition; bare is false below a "not".
func eachTest(e rule.Expr, bare bool, f func(t rule.Test, bare bool)) {
	switch e := e.(type) {
	case rule.Test:
		f(e, bare)
	case rule.Not:
		eachTest(e.X, false, f)
	case rule.And:
		for _, x := range e.X {
			eachTest(x, bare, f)
		}
	case rule.Or:
		for _, x := range e.X {
			eachTest(x, bare, f)
		}
	}
}

// mapTests is a condition with other tests, which f makes in the order of
// eachTest.
func mapTests(e rule.Expr, f func(rule.Test) rule.Test) rule.Expr {
	return rule.Map(e, func(x rule.Expr) rule.Expr {
		if t, ok := x.(rule.Test); ok {
			return f(t)
		}
		return x
	})
}

// few reports whether a set has so few values that each can be looked up.
func few(s field.Set) bool {
	left := fewValues
	for _, r := range s {
		for v := r.Lo; left > 0 && v != r.Hi; v = v.Inc() {
			left--
		}
		if left--; left < 0 {
			return false
		}
	}
	return true
}

// each calls f for every value of a set.
func each(s field.Set, f func(field.Value)) {
	for _, r := range s {
		for v := r.Lo; ; v = v.Inc() {
			f(v)
			if v == r.Hi {
				break
			}
		}
	}
}

// holesOf are the holes that the tests of a rule can have: those for few values,
// and the only one for more of them, by itself. With one test both are it.
func holesOf(r *rule.Rule) (ofFew, ofMore []bool) {
	tests, more := 0, 0
	eachTest(r.Cond, true, func(t rule.Test, bare bool) {
		isFew := few(t.In)
		ofFew = append(ofFew, bare && isFew)
		ofMore = append(ofMore, bare && !isFew)
		tests++
		if !isFew {
			more++
		}
	})
	switch {
	case tests == 1 && more == 1:
		return ofMore, nil
	case more != 1:
		return ofFew, nil
	}
	return ofFew, ofMore
}

// signature is the same for rules of one shape.
func signature(p *rule.Program, r *rule.Rule, holes []bool) string {
	var b strings.Builder
	test := 0
	signCondition(&b, r.Cond, func() bool { test++; return holes[test-1] })
	for _, a := range r.Actions {
		if variable(a) {
			fmt.Fprintf(&b, ";%s=?", a.Field.Name)
			continue
		}
		a.At = rule.Span{}
		from := ""
		if a.From != nil {
			from = a.From.Name
		}
		fmt.Fprintf(&b, ";%s %d %v %s %d %v %d", a.Field.Name, a.Op, a.Value, from, a.Bits, a.Range, a.Draw)
	}
	for _, s := range r.Swaps {
		fmt.Fprintf(&b, ";swap %d", s.Proto)
	}
	if r.Replies == rule.Tracked { // an entry in the table of flows names its rule
		fmt.Fprintf(&b, ";tracked %d", r.Index)
	}
	fmt.Fprintf(&b, ";%d %s %t", r.Verdict, r.Redirect, p.Written[r.Index].DryRun)
	return b.String()
}

func signCondition(b *strings.Builder, e rule.Expr, hole func() bool) {
	list := func(kind string, in []rule.Expr) {
		b.WriteString(kind)
		for _, x := range in {
			signCondition(b, x, hole)
		}
		b.WriteByte(')')
	}
	switch e := e.(type) {
	case rule.Has:
		fmt.Fprintf(b, "h%d,", e.Proto)
	case rule.Test:
		b.WriteString(e.Field.Name)
		if hole() {
			b.WriteString("?,")
			return
		}
		fmt.Fprintf(b, "%v,", e.In)
	case rule.Chance:
		fmt.Fprintf(b, "c%d/%d/%d,", e.Num, e.Den, e.Index)
	case rule.Not:
		list("n(", []rule.Expr{e.X})
	case rule.And:
		list("a(", e.X)
	case rule.Or:
		list("o(", e.X)
	case rule.All:
		b.WriteString("t,")
	}
}

// variable reports whether what an action sets may differ within a table. The
// length of the IPv4 header and the type behind the addresses decide more than
// what is stored.
func variable(a rule.Action) bool {
	return a.Op == operand.Set && a.Field.Width >= narrowest && a.Field.Name != "ip_hl" && a.Field.Name != "eth_type"
}

// items are the rules of a program in order, with their shapes.
func (b *builder) items() ([]item, error) {
	var out []item
	order, written := uint32(0), writtenRows{}
	first := map[*rule.Rule]int{} // where in out the rows of a rule begin
	for _, r := range b.program.Rules {
		if r.Rows == nil {
			out = append(out, item{rule: r, order: order})
			order++
			continue
		}
		if r.Rows.Len >= tableFrom {
			if m := bundleOfRows(r, order); m != nil {
				out = append(out, item{rule: r, shape: &shape{pattern: m.pattern}, rows: m, order: order})
				order += uint32(r.Rows.Len)
				continue
			}
		}
		if err := written.add(r, r.Rows.Len); err != nil {
			return nil, err
		}
		first[r] = len(out)
		for i := range r.Rows.Len {
			out = append(out, item{rule: r.Row(i), order: order})
			order++
		}
	}
	b.shapes(out)
	for _, r := range b.program.Rules {
		if at, ok := first[r]; ok && r.Rows.Len >= tableFrom && out[at].shape == nil {
			b.written = append(b.written, r)
		}
	}
	return out, nil
}

// shapes finds the shapes of rules without rows.
func (b *builder) shapes(items []item) {
	type choice struct {
		sign  string
		holes []bool
	}
	choices := make([][]choice, len(items))
	count := map[string]int{}
	for i, it := range items {
		if it.shape != nil || it.rule.Restores() { // a table of its own tells which packets these are for
			continue
		}
		ofFew, ofMore := holesOf(it.rule)
		for _, holes := range [][]bool{ofFew, ofMore} {
			if holes != nil {
				c := choice{signature(b.program, it.rule, holes), holes}
				choices[i] = append(choices[i], c)
				count[c.sign]++
			}
		}
	}
	known := map[string]*shape{}
	for i := range items {
		best := choice{}
		for _, c := range choices[i] {
			if count[c.sign] >= tableFrom && (best.sign == "" || count[c.sign] > count[best.sign]) {
				best = c
			}
		}
		if best.sign == "" {
			continue
		}
		if known[best.sign] == nil {
			known[best.sign] = &shape{patternOf(items[i].rule, best.holes), best.holes}
		}
		items[i].shape = known[best.sign]
	}
}

// patternOf is a rule with a cell in each hole.
func patternOf(r *rule.Rule, holes []bool) *rule.Rule {
	out := *r
	at := 0
	out.Cond = mapTests(r.Cond, func(t rule.Test) rule.Test {
		if holes[at] {
			t.In, t.Cells = nil, []int{at}
		}
		at++
		return t
	})
	return &out
}
