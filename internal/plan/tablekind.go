package plan

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// tableFor is the table of rules by the tests that vary, made once; nil if no
// kind serves.
func (ts *tables) tableFor(m *bundle, list []vary) *Table {
	t := &Table{source: m, single: true, seen: map[int32]int{}}
	for _, v := range list {
		t.Fields = append(t.Fields, v.field)
		t.single = t.single && m.single(v.cell)
	}
	windows := keyWindows(Hash, list)
	t.Kind = Hash
	for _, w := range windows {
		t.key = append(t.key, imageOf(w, list))
		t.KeySize += w.Size
	}
	t.KeySize = (t.KeySize + 3) &^ 3
	short := len(list) == 1 && len(windows) == 1 && windows[0].Size <= 2
	switch {
	case short && (!t.single || m.rows().Len < NoRow):
		t.Kind = Dense
	case !t.single && len(list) > 1:
		return nil
	case !t.single:
		t.Kind = Ordered
	}
	if t.Kind == Hash { // else the fields' places are in the steps alone
		t.single = true
	}
	for _, old := range ts.all {
		if old.like(t) {
			return old
		}
	}
	switch t.Kind {
	case Dense:
		t.number(list[0], windows[0])
		if len(t.rows) >= NoRow {
			return nil
		}
	case Ordered:
		t.divide(list[0])
	}
	t.ID = len(ts.all)
	ts.all = append(ts.all, t)
	return t
}

// like reports whether a table can be the one that has been made: it has the same
// rules and finds them by the same bytes.
func (t *Table) like(o *Table) bool {
	same := func(a, b []field.Value) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
	a, b := t.source, o.source
	sameRows := a == b || a.rule == nil && b.rule == nil && a.order == nil && b.order == nil && a.rows().Len == b.rows().Len &&
		slices.EqualFunc(a.rows().Cells, b.rows().Cells, func(c, d rule.Cells) bool { return same(c.Lo, d.Lo) && same(c.Hi, d.Hi) })
	if t.Kind != o.Kind || !sameRows || !slices.EqualFunc(t.key, o.key, func(v, w image) bool { return sameColumn(v, w) }) {
		return false
	}
	return t.Kind != Ordered || t.Fields[0].Width == o.Fields[0].Width && t.Fields[0].Shift() == o.Fields[0].Shift()
}

// imageOf is how the tests' values stand in a window.
func imageOf(w Window, list []vary) image {
	out := image{size: w.Size}
	for _, v := range list {
		if v.field.Proto == w.Header && v.field.Byte() < w.Off+w.Size && w.Off < v.field.Byte()+v.field.Size() {
			out.pieces = append(out.pieces, pieceOf(w, v.field, v.cell))
		}
	}
	return out
}

// single reports whether a cell is a single value in every row.
func (m *bundle) single(cell int) bool {
	c := m.rows().Cells[cell]
	return c.Hi == nil || slices.Equal(c.Lo, c.Hi)
}

// number fills in the numbers of rows by the values of the window.
func (t *Table) number(v vary, w Window) {
	t.Numbers = slices.Repeat([]uint16{NoRow}, 1<<(8*w.Size))
	list := t.intervals(v)
	place := t.key[0].pieces[0]
	for i, in := range list {
		last := v.field.Max()
		if i+1 < len(list) {
			last = list[i+1].From.Dec()
		}
		if in.Row < 0 {
			continue
		}
		number := uint16(min(t.numbered(in.Row), NoRow))
		for n := in.From.Lo; n <= last.Lo; n++ {
			at := place.of(field.V(n))
			if w.Size == 2 {
				at = at>>8 | at&0xff<<8
			}
			t.Numbers[at] = number
		}
	}
}

// numbered is the number of a row of the source here.
func (t *Table) numbered(row int32) int {
	n, known := t.seen[row]
	if !known {
		n = len(t.rows)
		t.seen[row] = n
		t.rows = append(t.rows, row)
	}
	return n
}

// intervals are those of the rows of the source.
func (t *Table) intervals(v vary) []field.Interval {
	cells := t.source.rows().Cells[v.cell]
	if cells.Hi == nil {
		return field.Intervals(cells.Lo, cells.Lo, v.field.Width)
	}
	return field.Intervals(cells.Lo, cells.Hi, v.field.Width)
}

// divide fills in the intervals.
func (t *Table) divide(v vary) {
	t.Intervals = t.intervals(v)
	for i := range t.Intervals {
		if in := &t.Intervals[i]; in.Row >= 0 {
			in.Row = int32(t.numbered(in.Row))
		}
	}
}
