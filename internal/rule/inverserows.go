package rule

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/spelling"
)

// maxColumn is the most values of a column of an earlier rule that are written into the
// condition of an inverse.
const maxColumn = 1024

// maxTakenRows is the most rows of an earlier rule that are written into it one by one.
const maxTakenRows = 16

// changeOfRows is the change of a rule with rows by an action, if its old or its new values are
// those of the rows; old are the values that all rows have in common.
func (v *inverter) changeOfRows(a Action, old field.Set) (ch change, ok bool) {
	before := -1
	for _, t := range columnTests(v.rule.Cond) {
		if t.Field == a.Field && v.rows.Cells[t.Cells[0]].Compare == "" {
			before = t.Cells[0]
		}
	}
	if before < 0 && a.Cell == 0 {
		return change{}, false
	}
	if before < 0 && len(old) != 1 {
		v.noInverse(a, old)
		return change{}, true
	}
	ch = change{redo: a, undo: Action{Field: a.Field, Op: operand.Set, At: a.At}}
	ch.old, ch.result = Test{Field: a.Field, In: old, At: a.At}, Test{Field: a.Field, At: a.At}
	if before >= 0 {
		ch.old.In, ch.old.Cells = nil, []int{before}
	}
	if before >= 0 && a.Op == operand.Set && a.Cell > 0 && v.rows.Cells[before].Hi == nil { // a value for a value
		ch.undo.Cell, ch.result.Cells = 1+before, []int{a.Cell - 1}
		return ch, true
	}
	v.computeRows(&ch)
	return ch, true
}

// computeRows adds the cells of what a change makes of the old values of each row, and
// of what undoes it.
func (v *inverter) computeRows(ch *change) {
	a := ch.redo
	var result, undo Cells
	var last Action
	for row := range v.rows.Len {
		old := ch.old.In
		if len(ch.old.Cells) > 0 {
			old = field.Set{v.rows.Cells[ch.old.Cells[0]].Range(row)}
		}
		of := v.changeOfRow(v.rows.action(a, row), old, row)
		if v.err != nil {
			return
		}
		result.add(of.result.In[0], row)
		undo.add(of.undo.gives(), row)
		last = of.undo
	}
	result.Column, undo.Column = v.resultName(a, ch.old), v.columnName(ch.old, printSet(a.Field, ch.old.In))
	ch.result.Cells = []int{len(v.rows.Cells)}
	v.rows.Cells = append(v.rows.Cells, result)
	switch a.Op {
	case operand.Add, operand.Sub:
		ch.undo.Op, ch.undo.Value, ch.undo.Cell = operand.Add+operand.Sub-a.Op, a.Value, a.Cell
		return
	}
	if undo.same() {
		ch.undo = last
		return
	}
	if undo.Hi != nil {
		ch.undo.Op = operand.Prefix
	}
	v.rows.Cells = append(v.rows.Cells, undo)
	ch.undo.Cell = len(v.rows.Cells)
}

// same reports whether a column has the same value, or the same values, in all rows.
func (c *Cells) same() bool {
	for row := range c.Lo {
		if c.Range(row) != c.Range(0) {
			return false
		}
	}
	return true
}

// columnName is the name of the column that a test is for, or another one if it is for none.
func (v *inverter) columnName(t Test, other string) string {
	if len(t.Cells) == 0 {
		return other
	}
	return v.rows.Cells[t.Cells[0]].Column
}

// resultName names what an action makes of the values that a test is for.
func (v *inverter) resultName(a Action, old Test) string {
	switch {
	case a.Op == operand.Add || a.Op == operand.Sub:
		return v.columnName(old, printSet(a.Field, old.In)) + strings.Replace(strings.TrimPrefix(v.rows.printAction(a), a.Field.Name+" "), "@", "", 1)
	case a.Cell > 0:
		return v.rows.Cells[a.Cell-1].Column
	}
	return v.columnName(old, "old") + "'"
}

// changeOfRow is the change of a row, which has one inverse.
func (v *inverter) changeOfRow(a Action, old field.Set, row int) change {
	lost := a.Field.Width
	switch a.Op {
	case operand.Add, operand.Sub:
		if saturates(a, old) {
			v.saturates(a)
		}
		return newChange(a, old)
	case operand.Prefix:
		lost = a.Bits
	case operand.Set:
	default:
		v.noInverse(a, old)
		return change{}
	}
	if len(blocks(old, a.Field.Width-lost, 2)) > 1 {
		v.fail(a.At, inverseHint, "%s: row %s: %s to %s has no inverse: which %s did the client use?",
			v.rows.File, v.line(row), anyOrSet(a.Field, old), a.operand(), noun(a.Field)).Propose(v.tracked())
		return change{}
	}
	return newChange(a, old)
}

// gives are the values that an action gives: the value of Set, those of the prefix of Prefix.
func (a Action) gives() field.Range {
	out := field.Range{Lo: a.Value, Hi: a.Value}
	if a.Op == operand.Prefix {
		out.Hi = a.Value.Or(field.Ones(a.Field.Width - a.Bits))
	}
	return out
}

// line is the place of a row of the rule in its file.
func (v *inverter) line(row int) string {
	return spelling.Thousands(int(v.lines[v.rule.Rows][row]))
}

// rowsApart rejects rows of which two hold on the same flow, before the change or behind it.
func (v *inverter) rowsApart(tests []Test, do string) {
	var single, ranges []Cells
	for _, t := range tests {
		cells := v.rows.Cells[t.Cells[0]]
		if cells.Compare != "" || cells.Hi != nil {
			ranges = append(ranges, cells)
		} else {
			single = append(single, cells)
		}
	}
	if v.err != nil || v.rows.Len < 2 {
		return
	}
	if len(tests) == 0 {
		v.fail(v.node.RepliesAt, "", "%s: no column that is tested tells its rows apart: which of them did the client use?", v.rows.File).Propose(v.tracked())
		return
	}
	a, b := 0, 0
	if len(ranges) == 0 {
		if a, b = repeated(v.rows.Len, single); b == 0 {
			return
		}
	}
	for _, last := range ranges {
		if a, b = overlap(v.rows.Len, single, last); b == 0 {
			return
		}
	}
	v.fail(v.node.RepliesAt, "", "%s: rows %s and %s %s the same %s: which of them did the client use?",
		v.rows.File, v.line(a), v.line(b), do, noun(tests[len(tests)-1].Field)).Propose(v.tracked())
}

// repeated finds two rows that have the same values in some columns; both are 0 if there are none.
func repeated(rows int, cells []Cells) (a, b int) {
	seen := newRowSet(cells, rows)
	for row := range rows {
		if before := seen.add(row); before != row {
			return before, row
		}
	}
	return 0, 0
}

// overlap finds two rows that have the same values in some columns and a value in common in
// the last one; both are 0 if there are none.
func overlap(rows int, same []Cells, last Cells) (a, b int) {
	order := make([]int32, rows)
	for i := range order {
		order[i] = int32(i)
	}
	compare := func(a, b int32) int {
		for _, c := range same {
			if n := c.Lo[a].Cmp(c.Lo[b]); n != 0 {
				return n
			}
		}
		return 0
	}
	slices.SortFunc(order, func(a, b int32) int {
		if n := compare(a, b); n != 0 {
			return n
		}
		if n := last.Lo[a].Cmp(last.Lo[b]); n != 0 {
			return n
		}
		return int(a - b)
	})
	for i, row := range order[1:] {
		before := order[i]
		if compare(before, row) == 0 && last.Lo[row].Cmp(last.Range(int(before)).Hi) <= 0 {
			return int(min(before, row)), int(max(before, row))
		}
	}
	return 0, 0
}

// column are all values of a column.
func (c *checker) column(rows *Rows, cell int) field.Set {
	cells := &rows.Cells[cell]
	if in, known := c.columns[&cells.Lo[0]]; known {
		return in
	}
	list := make([]field.Range, rows.Len)
	for row := range list {
		list[row] = cells.Range(row)
	}
	in := field.NewSet(list...)
	c.columns[&cells.Lo[0]] = in
	return in
}

// apartByRows reports whether a field that two rules test for, one of them by a column, has no
// value that both want.
func (c *checker) apartByRows(a, b *Rule) bool {
	if a.Rows == nil && b.Rows == nil {
		return false
	}
	for _, x := range conjuncts(a.Cond) {
		s, ok := x.(Test)
		if !ok {
			continue
		}
		for _, y := range conjuncts(b.Cond) {
			if t, ok := y.(Test); ok && s.Field == t.Field && len(s.Cells)+len(t.Cells) > 0 && !c.wanted(a, s).Meets(c.wanted(b, t)) {
				return true
			}
		}
	}
	return false
}

// wanted are the values for which a test of a rule holds in any of its rows.
func (c *checker) wanted(r *Rule, t Test) field.Set {
	switch {
	case len(t.Cells) == 0:
		return t.In
	case len(t.Cells) > 1 || t.Not:
		return field.All(t.Field.Width)
	case len(t.In) == 0:
		return c.column(r.Rows, t.Cells[0])
	}
	return t.In.Union(c.column(r.Rows, t.Cells[0]))
}
