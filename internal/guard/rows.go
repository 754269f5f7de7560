package guard

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/packetset"
	"repacket/internal/rule"
)

// maxRows is the most rows of a file that are held against a flow one by one.
const maxRows = 1000

// rows are the rules that a rule with columns stands for, in order, as far as packets of a set may
// have values of its cells. All other rows do the same to these packets, and others is a rule for
// them, or nil if there are none.
func rows(r *rule.Rule, in packetset.Set) (out []*rule.Rule, others *rule.Rule) {
	if r.Rows == nil {
		return []*rule.Rule{r}, nil
	}
	tests := cellTests(r.Cond)
	known := make([]field.Set, len(tests))
	for i, t := range tests {
		known[i] = values(in, t.Field)
	}
	for row := range r.Rows.Len {
		switch {
		case !meets(r.Rows, row, tests, known):
			if others == nil {
				others = unmet(r)
			}
		case len(out) == maxRows:
			return []*rule.Rule{r}, nil // all rows at once, whatever they hold
		default:
			out = append(out, r.Row(row))
		}
	}
	return out, others
}

// cellTests are the tests of a condition that have columns.
func cellTests(e rule.Expr) (out []rule.Test) {
	for _, leaf := range rule.Leaves(e) {
		if t, ok := leaf.(rule.Test); ok && len(t.Cells) > 0 {
			out = append(out, t)
		}
	}
	return out
}

// meets reports whether a packet may have the value of a cell of a row in one of some tests.
func meets(rows *rule.Rows, row int, tests []rule.Test, known []field.Set) bool {
	for i, t := range tests {
		if slices.ContainsFunc(t.Cells, func(c int) bool { return known[i].Meets(field.Set{rows.Cells[c].Range(row)}) }) {
			return true
		}
	}
	return len(tests) == 0
}

// unmet is a rule with rows for packets that have no value of its columns.
func unmet(r *rule.Rule) *rule.Rule {
	out := *r
	out.Rows = nil
	out.Cond = rule.Map(r.Cond, func(x rule.Expr) rule.Expr {
		t, ok := x.(rule.Test)
		if !ok || len(t.Cells) == 0 {
			return x
		}
		in := t.In
		if t.Not {
			in = in.Complement(t.Field.Width)
		}
		return rule.Test{Field: t.Field, In: in, At: t.At}
	})
	return &out
}
