package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// inverse undoes a rule for some of the flows that it rewrites: for those whose rewritten
// fields held the same value before, or the same prefix; in a rule with rows for those of
// each row (semantics.md 5.2).
type inverse struct {
	rule *Rule
	// flow holds on the flows as they arrive, and result on the same as they leave. Both ask
	// of fields of flows only.
	flow, result Expr
	// changes are what the rule does to the fields of a flow. Its swaps are their own inverse.
	changes []change
	// rows are those of the rule, or nil: the cells of flow, result and changes are in them.
	rows *Rows
	// parted is the first test that holds for some rows of the rule and for others not, where
	// it should for all or none, or nil.
	parted *Test
}

// change is what a rule does to a field of a flow.
type change struct {
	// redo is the action of the rule, and undo the one on the same field that gives
	// the old value back.
	redo, undo Action
	// old and result test the field for the values before and after. Where they have
	// no cells the values are in the same order.
	old, result Test
}

// newChange is the change of the values of a set by an action that can be undone on them: they
// are one value for Set, of one prefix for Prefix, and none of them stops at an end.
func newChange(a Action, old field.Set) change {
	ch := change{redo: a, undo: Action{Field: a.Field, Op: operand.Set, At: a.At}}
	ch.old = Test{Field: a.Field, In: old, At: a.At}
	ch.result = Test{Field: a.Field, In: ch.image(old), At: a.At}
	v, single := old.Single()
	switch {
	case a.Op == operand.Add:
		ch.undo.Op, ch.undo.Value = operand.Sub, a.Value
	case a.Op == operand.Sub:
		ch.undo.Op, ch.undo.Value = operand.Add, a.Value
	case single:
		ch.undo.Value = v
	case a.Op == operand.Prefix:
		ch.undo.Op, ch.undo.Bits, ch.undo.Value = operand.Prefix, a.Bits, old[0].Lo.AndNot(field.Ones(a.Field.Width-a.Bits))
	}
	return ch
}

// image are the values after the change of those that were in a set before.
func (ch change) image(in field.Set) field.Set {
	var out []field.Range
	for _, r := range in.Intersect(ch.old.In) {
		out = append(out, field.Range{Lo: ch.after(r.Lo), Hi: ch.after(r.Hi)})
	}
	return field.NewSet(out...)
}

// after is what one of the old values becomes.
func (ch change) after(v field.Value) field.Value {
	switch a := ch.redo; a.Op {
	case operand.Prefix:
		return a.Value.Or(v.Low(a.Field.Width - a.Bits))
	case operand.Add:
		return v.Plus(a.Value)
	case operand.Sub:
		return v.Minus(a.Value)
	default:
		return a.Value
	}
}

// newInverse is the inverse of a rule on flows that a condition holds on, with these changes.
func newInverse(r *Rule, rows *Rows, flow Expr, changes []change) inverse {
	inv := inverse{rule: r, flow: flow, changes: changes, rows: rows}
	list := []Expr{rewrite(flow, inv.leaving)}
	for _, ch := range changes {
		list = append(list, guarded(ch.result))
	}
	inv.result = both(list, flow.Span())
	return inv
}

// leaving is what a test of a flow as it arrives asks of it as it leaves.
func (inv *inverse) leaving(t Test) Expr {
	for _, s := range inv.rule.Swaps {
		switch src, dest := s.Fields(); t.Field {
		case src:
			t.Field = dest
			return t
		case dest:
			t.Field = src
			return t
		}
	}
	at := slices.IndexFunc(inv.changes, func(ch change) bool { return ch.redo.Field == t.Field })
	if at < 0 {
		return t
	}
	ch := inv.changes[at]
	if len(ch.old.Cells) > 0 {
		return inv.ofRows(ch, t)
	}
	in := t.In.Intersect(ch.old.In)
	if len(t.Cells) > 0 || len(ch.result.Cells) > 0 && !in.Empty() && !in.Equal(ch.old.In) {
		inv.parted = &t
	}
	if in.Empty() || in.Equal(ch.old.In) {
		return constant(!in.Empty(), t.At)
	}
	t.In = ch.image(in)
	return t
}

// ofRows is what a test asks of a field whose values before the change are those of the rows.
func (inv *inverse) ofRows(ch change, t Test) Expr {
	if slices.Equal(t.Cells, ch.old.Cells) && len(t.In) == 0 && !t.Not {
		return constant(true, t.At)
	}
	yes, no := len(t.Cells) == 0, len(t.Cells) == 0
	for row := 0; row < inv.rows.Len && (yes || no); row++ {
		in := field.Set{inv.rows.Cells[ch.old.Cells[0]].Range(row)}
		no = no && !in.Meets(t.In)
		yes = yes && in.Intersect(t.In).Equal(in)
	}
	if !yes && !no {
		inv.parted = &t
	}
	return constant(yes, t.At)
}

// rewrite is a condition with other tests, and no constant in it.
func rewrite(e Expr, f func(Test) Expr) Expr {
	list := func(in []Expr) []Expr {
		out := make([]Expr, len(in))
		for i, x := range in {
			out[i] = rewrite(x, f)
		}
		return out
	}
	switch e := e.(type) {
	case Not:
		return negate(rewrite(e.X, f), e.At)
	case And:
		return both(list(e.X), e.At)
	case Or:
		return either(list(e.X), e.At)
	case Test:
		return f(e)
	}
	return e
}

// reply is the rule that serves the replies: it holds on the result with source and destination
// exchanged.
func (inv inverse) reply() *Rule {
	out := &Rule{Index: inv.rule.Index, Swaps: inv.rule.Swaps, Rows: inv.rows}
	for _, ch := range inv.changes {
		a := ch.undo
		a.Field = flowFields[a.Field]
		out.Actions = append(out.Actions, a)
	}
	cond := rewrite(inv.result, func(t Test) Expr { return exchange(t) })
	out.Cond = withGuards(lean(cond, out), out.Actions)
	return out
}

// lean is the condition of a rule without the headers, and the guards, that something else in
// it asks for.
func lean(e Expr, r *Rule) Expr {
	var fields []*field.Field
	for _, a := range r.Actions {
		fields = append(fields, a.Field)
	}
	for _, s := range r.Swaps {
		src, _ := s.Fields()
		fields = append(fields, src)
	}
	xs := conjuncts(e)
	for _, x := range xs {
		if t, ok := x.(Test); ok {
			fields = append(fields, t.Field)
		}
	}
	var out []Expr
	for i, x := range xs {
		t, test := x.(Test)
		h, header := x.(Has)
		again := slices.ContainsFunc(fields, func(f *field.Field) bool { return header && f.Proto == h.Proto || test && isGuard(t, f) })
		if !again || i+1 < len(xs) && guards(x, xs[i+1]) {
			out = append(out, x)
		}
		if header {
			fields = append(fields, field.AllFields()[slices.IndexFunc(field.AllFields(), func(f *field.Field) bool { return f.Proto == h.Proto })])
		}
	}
	return both(out, e.Span())
}
