package plan

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/spelling"
)

// TableKind says how the row for a packet is found.
type TableKind uint8

// The kinds.
const (
	// Hash: the key is the windows' masked bytes, one behind the other; there is
	// one row for each key. Table.PerfectHash says where it is.
	Hash TableKind = iota
	// Dense: the key is one window of 1 or 2 bytes, and for each value that it
	// can have there is the number of a row.
	Dense
	// Ordered: the key is one field, divided into intervals; each has a row or none.
	Ordered
)

var kindWords = [...]string{Hash: "hash", Dense: "array", Ordered: "search"}

// String is a word for people.
func (k TableKind) String() string { return kindWords[k] }

// Table holds what differs between many rules of one shape: a row for each. The
// same one may serve several chains, which read different columns of its rows.
type Table struct {
	// ID is its place in Program.Tables.
	ID   int
	Kind TableKind
	// Fields are those that the key is made of.
	Fields []*field.Field
	// KeySize and RowSize are in bytes, multiples of 4.
	KeySize, RowSize int
	// Intervals are those of Ordered, the first from 0 on, without a gap.
	Intervals []field.Interval
	// Numbers are those of Dense: for each value of the window, its bytes read
	// as the bytes of a little-endian number, the number of its row, or NoRow.
	Numbers []uint16

	source  *bundle
	key     []image
	columns []column
	// rows are the rows of the source by their number here, and seen the other
	// way round; Hash has them all.
	rows []int32
	seen map[int32]int
	// single: each row has one key.
	single bool

	perfectHashOnce sync.Once
	perfectHash     *PerfectHash
}

// NoRow is the number in Dense and in an Interval of no row.
const NoRow = 0xffff

// Lookup asks for a row of a table; it fails where there is none.
type Lookup struct {
	Table *Table
	// Key are the windows that make the key; of Ordered those of the field, most
	// significant first.
	Key []Window
	// Rule is where the row has the number of its rule, 32 bits, little-endian;
	// or else Step.Rule is that of every row.
	Rule Place
	// Order is where the row has its place among all rules (32 bits,
	// little-endian) less First. It is there in a Step.Select only.
	Order Place
	First uint32
	// InMap: an Ordered table is searched in its map, not by comparisons.
	InMap bool
	// Same must hold of the row too.
	Same []SameBits
}

// SameBits holds where two windows of one size have the same bits under a mask that the row
// has, big-endian: both values are in the prefix of the row.
type SameBits struct {
	A, B Window
	Mask Place
}

// Place is 1 + an offset in bytes in the row of a table, or 0 for none.
type Place int

// Offset is in bytes.
func (p Place) Offset() int { return int(p) - 1 }

// RowPart is what the row adds to a part of a sum: 16 bits, big-endian, below
// 65535.
type RowPart struct {
	Part Part
	At   Place
}

// column is what stands at one place of every row.
type column struct {
	at, size int // bytes
	what     any // ruleColumn, orderColumn, linear, image or prefixMask
}

type (
	// ruleColumn is the number of the rule, orderColumn its place.
	ruleColumn  struct{}
	orderColumn struct{}
	// linear is a sum modulo 65535: start and each cell's value times a factor.
	linear struct {
		start   uint32
		factors []factorOf
	}
	factorOf struct {
		cell   int
		factor uint32
	}
	// image is the bytes of a window, big-endian: bits that are the same in
	// every row and pieces that come from cells, next to each other or, with
	// xor, combined.
	image struct {
		size   int
		fixed  uint32
		pieces []piece
		xor    bool
	}
	// prefixMask is the bits of a window that are those of the prefix in a cell.
	prefixMask struct{ piece }
	// piece is a cell's value shifted right (left if negative), and masked.
	piece struct {
		cell, shift int
		mask        uint32
	}
)

// pieceOf is how the value of f stands in a window.
func pieceOf(w Window, f *field.Field, cell int) piece {
	below := 8*(f.Byte()+f.Size()) - 8*(w.Off+w.Size)
	return piece{cell, below - f.Shift(), w.MaskOf(f)}
}

// column is the place of a column, which is added if it is not there.
func (t *Table) column(what any, size int) Place {
	for _, c := range t.columns {
		if sameColumn(c.what, what) {
			return Place(c.at + 1)
		}
	}
	at := 0
	for _, c := range t.columns {
		at = max(at, c.at+c.size)
	}
	at = (at + size - 1) / size * size
	t.columns = append(t.columns, column{at, size, what})
	t.RowSize = (at + size + 3) &^ 3
	return Place(at + 1)
}

func sameColumn(a, b any) bool {
	switch a := a.(type) {
	case linear:
		b, ok := b.(linear)
		return ok && a.start == b.start && slices.Equal(a.factors, b.factors)
	case image:
		b, ok := b.(image)
		return ok && a.size == b.size && a.fixed == b.fixed && a.xor == b.xor && slices.Equal(a.pieces, b.pieces)
	}
	return a == b
}

// Len is the number of rows; of Hash, some may have the same key, and of these
// the one with the lowest number counts.
func (t *Table) Len() int {
	if t.Kind == Hash {
		return t.source.rows().Len
	}
	return len(t.rows)
}

// Row fills b, of RowSize bytes, with a row.
func (t *Table) Row(number int, b []byte) {
	row := number
	if t.Kind != Hash {
		row = int(t.rows[number])
	}
	t.fill(row, b)
}

func (t *Table) fill(row int, b []byte) {
	for _, c := range t.columns {
		to := b[c.at : c.at+c.size]
		switch what := c.what.(type) {
		case ruleColumn:
			binary.LittleEndian.PutUint32(to, t.source.ruleOf(row))
		case orderColumn:
			binary.LittleEndian.PutUint32(to, t.source.orderOf(row))
		case linear:
			binary.BigEndian.PutUint16(to, t.source.sum(what, row))
		case image:
			t.source.put(to, what, row)
		case prefixMask:
			r := t.source.rows().Cells[what.cell].Range(row)
			host := r.Hi.AndNot(r.Lo) // no bit of a prefix's first value is set there
			putBytes(to, what.mask&^what.of(host))
		}
	}
}

// sum works out a linear column.
func (m *bundle) sum(l linear, row int) uint16 {
	return uint16(l.at(func(cell int) field.Value { return m.rows().Cells[cell].Lo[row] }))
}

// image is what an image is in a row.
func (m *bundle) image(w image, row int) uint32 {
	v := w.fixed
	for _, p := range w.pieces {
		bits := p.of(m.rows().Cells[p.cell].Lo[row])
		if w.xor {
			v ^= bits
		} else {
			v |= bits
		}
	}
	return v
}

// put writes an image.
func (m *bundle) put(to []byte, w image, row int) {
	putBytes(to, m.image(w, row))
}

// putBytes writes a number, big-endian.
func putBytes(to []byte, v uint32) {
	for i := range to {
		to[i] = byte(v >> (8 * (len(to) - 1 - i)))
	}
}

func (p piece) of(v field.Value) uint32 {
	switch {
	case p.shift < 0:
		return uint32(v.Lo<<-p.shift) & p.mask
	case p.shift == 0:
		return uint32(v.Lo) & p.mask
	}
	return uint32(v.Shr(p.shift).Lo) & p.mask
}

// Description says how many rules it holds and how they are found, in words.
func (t *Table) Description() string {
	how := "one look-up"
	if t.Kind == Ordered {
		how = "one search"
	}
	text := ""
	for i, f := range t.Fields {
		if i > 0 {
			text += " and "
		}
		text += f.Name
	}
	return fmt.Sprintf("%s: %s by %s (%s)", t.source.what(), how, text, t.Kind)
}

// what says how many rules there are, and where rows are from.
func (m *bundle) what() string {
	if file := m.rows().File; file != "" {
		return spelling.Thousands(m.rows().Len) + " rows of " + file
	}
	return spelling.Thousands(m.count) + " rules of one shape"
}

// bundle are rules of one shape: a pattern whose rows are the rules. Each of its
// tests that has a cell has one, and nothing else.
type bundle struct {
	pattern *rule.Rule
	// count is how many rules they are; one with a list may have several rows.
	count int
	// rule and order are by row, or nil: then the rule is the pattern's, and the
	// order is first and the row.
	rule, order []uint32
	first       uint32
}

func (m *bundle) rows() *rule.Rows { return m.pattern.Rows }

func (m *bundle) ruleOf(row int) uint32 {
	if m.rule == nil {
		return uint32(m.pattern.Index)
	}
	return m.rule[row]
}

// orderOf is the order less Lookup.First.
func (m *bundle) orderOf(row int) uint32 {
	if m.order == nil {
		return uint32(row)
	}
	return m.order[row]
}
