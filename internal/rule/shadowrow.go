package rule

import (
	"fmt"

	"repacket/internal/field"
)

// mostRowsTried is how many rows are held against later rules, all told, so that
// a million rows before a thousand rules do not keep anyone waiting.
const mostRowsTried = 20_000_000

// takenByRow says which row of an earlier rule certainly takes all packets of a
// later one, in words for a message; "" is none.
func (c *checker) takenByRow(early, late *reach) string {
	rows := early.rules[0].Rows
	if rows == nil || late.rules[0].Rows != nil || !containsAll(late.sums, early.sums) {
		return ""
	}
	for _, r := range early.rules {
		tests := columnTests(r.Cond)
		row, ok := c.rowAround(r, tests, late)
		if !ok {
			continue
		}
		var wholes []Expr
		for _, x := range early.rules {
			wholes = append(wholes, c.complete(x.Row(row)))
		}
		if !c.sets.Meets(late.in, c.sets.others(anyOf(wholes, Span{}))) {
			cells := r.Rows.Cells[tests[0].Cells[0]]
			return fmt.Sprintf("where %s is %s", cells.Column, printRange(tests[0].Field, cells.Range(row)))
		}
	}
	return ""
}

// columnTests are the tests for a column alone that have to hold in every row.
func columnTests(e Expr) []Test {
	var out []Test
	for _, x := range conjuncts(e) {
		if t, ok := x.(Test); ok && len(t.Cells) == 1 && len(t.In) == 0 && !t.Not {
			out = append(out, t)
		}
	}
	return out
}

// rowAround finds the first row whose columns hold all values that the tested
// fields have in the packets of a later rule.
func (c *checker) rowAround(r *Rule, tests []Test, late *reach) (row int, ok bool) {
	if len(tests) == 0 {
		return 0, false
	}
	asked := make([]field.Range, len(tests))
	for i, t := range tests {
		if asked[i], ok = late.in.Span(t.Field); !ok {
			return 0, false
		}
	}
next:
	for row := range r.Rows.Len {
		if c.rowsTried++; c.rowsTried > mostRowsTried {
			break
		}
		for i, t := range tests {
			in := r.Rows.Cells[t.Cells[0]].Range(row)
			if asked[i].Lo.Cmp(in.Lo) < 0 || in.Hi.Cmp(asked[i].Hi) < 0 {
				continue next
			}
		}
		return row, true
	}
	return 0, false
}
