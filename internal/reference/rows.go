package reference

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// acting is the rule that acts on p for r: r itself or, where r has rows, the
// rule of the first row that acts, and which row that is. It is nil if there is none.
func acting(r *rule.Rule, p packet) (_ *rule.Rule, row int) {
	switch {
	case r.Rows == nil && holds(r.Cond, p) && able(r, p):
		return r, 0
	case r.Rows == nil, !reaches(r, p): // which fields, rows do not say
		return nil, 0
	}
	holdsIn := byRow(r.Cond, r.Rows, p)
	for row := range r.Rows.Len {
		if !holdsIn(row) {
			continue
		}
		if one := r.Row(row); able(one, p) {
			return one, row
		}
	}
	return nil, 0
}

// byRow tells of each row whether a condition holds on p. It asks the packet
// once for all rows: a rule may have many.
func byRow(e rule.Expr, rows *rule.Rows, p packet) func(row int) bool {
	switch e := e.(type) {
	case rule.Test:
		if len(e.Cells) > 0 {
			return cellsHold(e, rows, p)
		}
	case rule.Not:
		x := byRow(e.X, rows, p.otherwise())
		return func(row int) bool { return !x(row) }
	case rule.And:
		xs := each(e.X, rows, p)
		return func(row int) bool {
			return !slices.ContainsFunc(xs, func(x func(int) bool) bool { return !x(row) })
		}
	case rule.Or:
		xs := each(e.X, rows, p)
		return func(row int) bool {
			return slices.ContainsFunc(xs, func(x func(int) bool) bool { return x(row) })
		}
	}
	same := holds(e, p)
	return func(int) bool { return same }
}

func each(list []rule.Expr, rows *rule.Rows, p packet) []func(row int) bool {
	var out []func(int) bool
	for _, x := range list {
		out = append(out, byRow(x, rows, p))
	}
	return out
}

// cellsHold tells of each row whether a test with columns holds: where the
// value is in what is written or in a cell of the row or, with ne, in none.
func cellsHold(t rule.Test, rows *rule.Rows, p packet) func(row int) bool {
	if !p.has(t.Field.Proto) { // false, with ne too (semantics.md 3.3)
		return func(int) bool { return p.maybe(t.Field.Proto) }
	}
	if !p.captured(t.Field) {
		return func(int) bool { return p.cut.guess }
	}
	v := p.get(t.Field)
	written := t.In.Contains(v)
	return func(row int) bool {
		in := written || slices.ContainsFunc(t.Cells, func(c int) bool { return contains(rows.Cells[c].Range(row), v) })
		return in != t.Not
	}
}

func contains(r field.Range, v field.Value) bool { return r.Lo.Cmp(v) <= 0 && v.Cmp(r.Hi) <= 0 }
