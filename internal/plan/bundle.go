package plan

import (
	"fmt"
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
	"repacket/internal/spelling"
)

// MaxWritten is how many rows of files are written out as rules of their own,
// where no table serves them. A program holds fewer, but that is found out by
// compiling them, which takes its time with more.
const MaxWritten = 10_000

// RowsError says that there are more rows than can be written out.
type RowsError struct{ Rows int }

func (e *RowsError) Error() string {
	return fmt.Sprintf("%s rows have to be tested one by one, and no program holds as many", spelling.Thousands(e.Rows))
}

// WrittenOut is a program in which every row of a file is a rule. The error is a
// *RowsError or a *TooLargeError.
func WrittenOut(p *rule.Program) (*rule.Program, error) {
	var all writtenRows
	for _, r := range p.Rules {
		if r.Rows == nil {
			continue
		}
		if err := all.add(r, r.Rows.Len); err != nil {
			return nil, err
		}
	}
	return p.WrittenOut(), nil
}

// writtenRows counts the rows that are written out as rules, and their tests.
type writtenRows struct{ rows, tests int }

// add counts rows of a rule. It is an error if no program holds as many: as for rows,
// that is found out by compiling them, which takes its time and memory. For some kinds
// of packets few tests are left, thus the margin.
func (w *writtenRows) add(r *rule.Rule, rows int) error {
	const margin = 4
	w.rows += rows
	w.tests += rows * len(rule.Leaves(r.Cond))
	switch {
	case w.rows > MaxWritten:
		return &RowsError{w.rows}
	case w.tests > margin*MostParts:
		return &TooLargeError{}
	}
	return nil
}

// mostRows is how many rows a rule may have that lists values in several tests.
const mostRows = 64

// rowMaker gathers the rows of a pattern: the values of its varying tests and
// of what it sets, column by column.
type rowMaker struct {
	lo, hi [][]field.Value // by column; hi is nil where all values are single
	single bool            // so they are, in every column
	rule   []uint32
	order  []uint32
}

// add adds the rows of one rule: every combination of the tests' values. It is
// false if there are too many.
func (m *rowMaker) add(tests []field.Set, values []field.Value, index, order uint32) bool {
	if !m.single { // there is one test
		for _, r := range tests[0] {
			m.row([]field.Range{r}, values, index, order)
		}
		return true
	}
	rows := [][]field.Range{nil}
	for _, in := range tests {
		var next [][]field.Range
		for _, r := range rows {
			each(in, func(v field.Value) { next = append(next, append(r[:len(r):len(r)], field.Range{Lo: v, Hi: v})) })
		}
		if rows = next; len(rows) > mostRows {
			return false
		}
	}
	for _, r := range rows {
		m.row(r, values, index, order)
	}
	return true
}

func (m *rowMaker) row(tests []field.Range, values []field.Value, index, order uint32) {
	if m.lo == nil {
		m.lo = make([][]field.Value, len(tests)+len(values))
		m.hi = make([][]field.Value, len(tests)+len(values))
	}
	for i, r := range tests {
		m.lo[i] = append(m.lo[i], r.Lo)
		if !m.single {
			m.hi[i] = append(m.hi[i], r.Hi)
		}
	}
	for i, v := range values {
		m.lo[len(tests)+i] = append(m.lo[len(tests)+i], v)
	}
	m.rule, m.order = append(m.rule, index), append(m.order, order)
}

// rows are the columns gathered.
func (m *rowMaker) rows() *rule.Rows {
	out := &rule.Rows{Len: len(m.rule)}
	for i := range m.lo {
		out.Cells = append(out.Cells, rule.Cells{Lo: m.lo[i], Hi: m.hi[i]})
	}
	return out
}

// bundleOf makes rules of one shape one pattern with rows, or nil; see gather.
func bundleOf(items []item) *bundle {
	s := items[0].shape
	sets := make([][]field.Set, len(items)) // by rule and test
	for i, it := range items {
		eachTest(it.rule.Cond, true, func(t rule.Test, _ bool) { sets[i] = append(sets[i], t.In) })
	}
	var tests, actions []int // that differ
	for t, hole := range s.holes {
		if hole && slices.ContainsFunc(sets, func(of []field.Set) bool { return !of[t].Equal(sets[0][t]) }) {
			tests = append(tests, t)
		}
	}
	for a, first := range items[0].rule.Actions {
		if slices.ContainsFunc(items, func(it item) bool { return it.rule.Actions[a].Value != first.Value }) {
			actions = append(actions, a)
		}
	}
	list := make([]variant, len(items))
	for i, it := range items {
		list[i] = variant{rule: uint32(it.rule.Index), order: it.order}
		for _, t := range tests {
			list[i].tests = append(list[i].tests, sets[i][t])
		}
		for _, a := range actions {
			list[i].values = append(list[i].values, it.rule.Actions[a].Value)
		}
	}
	return gather(items[0].rule, tests, actions, list)
}

// variant is what differs between rules of one shape: the values of some tests and
// actions, the rule and its place.
type variant struct {
	tests       []field.Set
	values      []field.Value
	rule, order uint32
}

// gather makes a bundle of variants of a rule, whose tests and actions of these places
// differ. It is nil if nothing that they test does, or if they would have too many rows.
func gather(r *rule.Rule, tests, actions []int, list []variant) *bundle {
	more := func(s field.Set) bool { return !few(s) }
	m := rowMaker{single: !slices.ContainsFunc(list, func(v variant) bool { return slices.ContainsFunc(v.tests, more) })}
	if len(tests) == 0 || !m.single && len(tests) > 1 {
		return nil
	}
	for _, v := range list {
		if !m.add(v.tests, v.values, v.rule, v.order) {
			return nil
		}
	}
	return m.bundle(r, tests, actions, len(list))
}

// bundle is the pattern of the rule r, whose tests and actions of these places
// differ.
func (m *rowMaker) bundle(r *rule.Rule, tests, actions []int, count int) *bundle {
	out := *r
	out.Rows = m.rows()
	cells := map[int]int{}
	for i, t := range tests {
		cells[t] = i
	}
	at := 0
	out.Cond = mapTests(r.Cond, func(t rule.Test) rule.Test {
		if cell, varies := cells[at]; varies {
			t.In, t.Not, t.Cells = nil, false, []int{cell}
		}
		at++
		return t
	})
	out.Actions = append([]rule.Action(nil), r.Actions...)
	for i, a := range actions {
		out.Actions[a].Cell = len(tests) + i + 1
	}
	return &bundle{pattern: &out, count: count, rule: m.rule, order: m.order}
}

// movesPrefix reports whether an action that takes a cell puts prefixes in the place of those that
// the rule tests for, of the same length in each row. What such a row changes is
// the same for all packets that it takes: which bits are turned over, and what
// that adds to a sum.
func movesPrefix(r *rule.Rule, a rule.Action, tests []rule.Test) bool {
	if a.Op != operand.Prefix {
		return false
	}
	i := slices.IndexFunc(tests, func(t rule.Test) bool { return t.Field == a.Field })
	if i < 0 || len(r.Swaps) > 0 {
		return false
	}
	for _, o := range r.Actions {
		if o.Op == operand.Prefix && o.Field != a.Field && (o.Cell != a.Cell || !testedAlike(tests, tests[i], o.Field)) {
			return false
		}
	}
	from, to := r.Rows.Cells[tests[i].Cells[0]], r.Rows.Cells[a.Cell-1]
	for row := range r.Rows.Len {
		n := a.Field.PrefixLength(from.Range(row))
		if n < 0 || n != a.Field.PrefixLength(to.Range(row)) {
			return false
		}
	}
	return true
}

// testedAlike reports whether another field is tested for the cell of a test.
func testedAlike(tests []rule.Test, t rule.Test, f *field.Field) bool {
	return slices.ContainsFunc(tests, func(o rule.Test) bool { return o.Field == f && slices.Equal(o.Cells, t.Cells) })
}

// bundleOfRows is what a rule with rows comes to, or nil where no table serves it:
// a cell below a "not", several ranges at once, or an action that does more than
// to set a value or to move a prefix.
func bundleOfRows(r *rule.Rule, order uint32) *bundle {
	rows := r.Rows
	plain, ok := true, true
	var tests []rule.Test
	var at, actions []int
	n := 0
	eachTest(r.Cond, true, func(t rule.Test, bare bool) {
		if len(t.Cells) > 0 {
			ok = ok && bare
			plain = plain && len(t.Cells) == 1 && t.In.Empty() && !t.Not
			tests, at = append(tests, t), append(at, n)
		}
		n++
	})
	for i, a := range r.Actions {
		if a.Cell > 0 {
			ok = ok && (variable(a) || plain && movesPrefix(r, a, tests))
			actions = append(actions, i)
		}
	}
	if !ok {
		return nil
	}
	if plain {
		return &bundle{pattern: r, count: rows.Len, first: order}
	}
	list := make([]variant, rows.Len)
	for i := range list {
		list[i] = variant{rule: uint32(r.Index), order: uint32(i)}
		for _, t := range tests {
			list[i].tests = append(list[i].tests, rows.In(t, i))
		}
		for _, a := range actions {
			list[i].values = append(list[i].values, rows.Cells[r.Actions[a].Cell-1].Lo[i])
		}
	}
	out := gather(r, at, actions, list)
	if out != nil {
		out.rule, out.first = nil, order
	}
	return out
}
