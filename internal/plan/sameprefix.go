package plan

import (
	"slices"

	"repacket/internal/operand"
	"repacket/internal/rule"
)

// Rows that move a prefix are found by the field that is in it. An ICMP error has two of these: the
// address in its quote, and its own. The row is found by the first, and then the second has to be in
// the same prefix.

// movedIn are the places of the actions that move a prefix.
func movedIn(actions []rule.Action) (out []int) {
	for i, a := range actions {
		if a.Op == operand.Prefix && a.Cell > 0 {
			out = append(out, i)
		}
	}
	return out
}

// samePrefix reports whether two fields of one width are tested for the prefix of one cell, and
// nothing else varies.
func samePrefix(list []vary) bool {
	return len(list) == 2 && list[0].cell == list[1].cell && list[0].field.Width == list[1].field.Width
}

// movesKeys reports whether the actions move nothing but prefixes that the tests are for, by which
// one field finds the row.
func movesKeys(list, key []vary, r *rule.Rule, moved []int) bool {
	return len(key) == 1 && !slices.ContainsFunc(moved, func(i int) bool {
		return !slices.ContainsFunc(list, func(v vary) bool { return v.field == r.Actions[i].Field })
	})
}

// apart reports whether no value is in two rows of an ordered table.
func (t *Table) apart() bool {
	rows := 0
	for _, in := range t.Intervals {
		if in.Row >= 0 {
			rows++
		}
	}
	return t.Kind == Ordered && rows == t.source.rows().Len && rows == len(t.rows)
}

// sameBits is that two fields are in the prefix of the row.
func (t *Table) sameBits(a, b vary) (out []SameBits) {
	bs := fieldWindows(b.field)
	for i, w := range fieldWindows(a.field) {
		out = append(out, SameBits{w, bs[i], t.column(prefixMask{pieceOf(w, a.field, a.cell)}, w.Size)})
	}
	return out
}
