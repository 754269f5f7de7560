package rule

import (
	"repacket/internal/field"
	"repacket/internal/operand"
)

// WrittenOut is the program with a rule for each row of a file.
func (p *Program) WrittenOut() *Program {
	out := *p
	if p.Replies != nil {
		out.Replies = p.Replies.WrittenOut()
	}
	out.Rules = nil
	for _, r := range p.Rules {
		if r.Rows == nil {
			out.Rules = append(out.Rules, r)
			continue
		}
		for i := range r.Rows.Len {
			out.Rules = append(out.Rules, r.Row(i))
		}
	}
	return &out
}

// Row is the rule that a row of its file makes of a rule with rows: one without
// cells.
func (r *Rule) Row(row int) *Rule {
	out := *r
	out.Rows = nil
	out.Cond = Map(r.Cond, func(x Expr) Expr {
		if t, ok := x.(Test); ok && len(t.Cells) > 0 {
			return Test{Field: t.Field, In: r.Rows.In(t, row), At: t.At}
		}
		return x
	})
	out.Actions = make([]Action, len(r.Actions))
	for i, a := range r.Actions {
		out.Actions[i] = r.Rows.action(a, row)
	}
	return &out
}

// In is what a test of a rule with rows tests for in a row; it may be empty.
func (rs *Rows) In(t Test, row int) field.Set {
	in := t.In
	for _, c := range t.Cells {
		in = in.Union(field.Set{rs.Cells[c].Range(row)})
	}
	if t.Not {
		return in.Complement(t.Field.Width)
	}
	return in
}

func (rs *Rows) action(a Action, row int) Action {
	if a.Cell == 0 {
		return a
	}
	cell := rs.Cells[a.Cell-1].Range(row)
	a.Cell, a.Value = 0, cell.Lo
	if a.Op == operand.Prefix {
		a.Bits = a.Field.PrefixLength(cell)
	}
	if a.Op == operand.Prefix && a.Bits == a.Field.Width {
		a.Op, a.Bits = operand.Set, 0
	}
	return a
}
