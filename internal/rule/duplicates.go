package rule

import (
	"hash/maphash"
	"slices"

	"repacket/internal/field"
	"repacket/internal/spelling"
	"repacket/internal/syntax"
)

// twice warns of rows that can never act because an earlier one has the same
// values wherever the rule tests for them.
func (s *sheet) twice() {
	tested := s.tested()
	var cells []Cells
	for _, i := range tested {
		cells = append(cells, s.rows.Cells[i])
	}
	switch {
	case len(tested) == 0 && s.rows.Len > 1:
		s.c.warn(syntax.Warning, s.at, "a column before then tells for which packets a row is",
			"%s: only its first row can ever act: the rule tests for no column", s.file)
	case len(tested) > 0:
		s.equal = s.repeated(cells)
	}
}

// tested are the places in rows.Cells that the rule tests for.
func (s *sheet) tested() []int {
	var out []int
	for i, n := range s.columns {
		if n.Tests() {
			out = append(out, i)
		}
	}
	return out
}

// covered warns of the rows whose values earlier rows have all taken, where the
// rule tests for one column, and acts where a row has the packet's value.
func (s *sheet) covered(cond Expr) {
	tested := s.tested()
	if s.equal || len(tested) != 1 || !wants(cond) || len(columnsIn(cond)) != 1 {
		return // one row may have what a field is tested for, and another one what another field is
	}
	cells := s.rows.Cells[tested[0]]
	if cells.Hi == nil {
		return // then only equal ones would be
	}
	acts := make([]bool, s.rows.Len)
	for _, i := range field.Intervals(cells.Lo, cells.Hi, s.columns[tested[0]].Ref.Fields[0].Width) {
		if i.Row >= 0 {
			acts[i.Row] = true
		}
	}
	row := slices.Index(acts, false)
	if row < 0 {
		return
	}
	more := ""
	if n := len(slices.DeleteFunc(acts, func(acts bool) bool { return acts })); n > 1 {
		more = "; so it is with " + count(n-1, "more row")
	}
	s.c.warn(syntax.Warning, s.at, "the first row that matches acts: what is narrower goes first",
		"%s: row %s can never act: earlier rows have all its values%s", s.file, s.line(row), more)
}

// wants reports whether a condition that holds for a set of values of its columns
// holds for each larger one.
func wants(e Expr) bool {
	switch e := e.(type) {
	case Test:
		return len(e.Cells) == 0 || !e.Not
	case Not:
		return len(columnsIn(e)) == 0
	}
	return !slices.ContainsFunc(parts(e), func(x Expr) bool { return !wants(x) })
}

// columnsIn are the tests of a condition for columns.
func columnsIn(e Expr) []Test {
	return slices.DeleteFunc(find[Test](e), func(t Test) bool { return len(t.Cells) == 0 })
}

// repeated warns of the rows whose values are those of an earlier one, and tells
// whether there are any.
func (s *sheet) repeated(tested []Cells) bool {
	seen := newRowSet(tested, s.rows.Len)
	found, first, row := 0, 0, 0
	for i := range s.rows.Len {
		before := seen.add(i)
		if before == i {
			continue
		}
		if found++; found == 1 {
			first, row = before, i
		}
	}
	if found == 0 {
		return false
	}
	what := "can never act: it tests for the same as row"
	if !slices.ContainsFunc(s.rows.Cells, func(c Cells) bool { return c.Range(first) != c.Range(row) }) {
		what = "says the same as row"
	}
	more := ""
	if found > 1 {
		more = ", and " + count(found-1, "more row") + " can be left out too"
	}
	s.c.warn(syntax.Warning, s.at, "the first row that matches acts", "%s: row %s %s %s%s",
		s.file, s.line(row), what, s.line(first), more)
	return true
}

// line is the place of a row in its file, for messages.
func (s *sheet) line(row int) string { return spelling.Thousands(int(s.lines[row])) }

// rowSet finds rows by their values: a hash table of places, open, at most
// half full.
type rowSet struct {
	cells []Cells
	seed  maphash.Seed
	table []int32 // 1 + row, or 0
}

func newRowSet(cells []Cells, rows int) *rowSet {
	size := 16
	for size < 2*rows {
		size *= 2
	}
	return &rowSet{cells, maphash.MakeSeed(), make([]int32, size)}
}

// add puts a row in and gives the first row that has the same values, itself
// if none has.
func (s *rowSet) add(row int) int {
	mask := uint64(len(s.table) - 1)
	for at := s.hash(row) & mask; ; at = (at + 1) & mask {
		have := int(s.table[at]) - 1
		switch {
		case have < 0:
			s.table[at] = int32(row + 1)
			return row
		case s.same(have, row):
			return have
		}
	}
}

func (s *rowSet) hash(row int) uint64 {
	h := uint64(0)
	for _, c := range s.cells {
		h = h*0x9e3779b97f4a7c15 + maphash.Comparable(s.seed, c.Range(row))
	}
	return h
}

func (s *rowSet) same(a, b int) bool {
	return !slices.ContainsFunc(s.cells, func(c Cells) bool { return c.Range(a) != c.Range(b) })
}
