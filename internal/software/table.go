package software

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// table is a plan.Table with its rows.
type table struct {
	*plan.Table
	// rows are one behind the other, RowSize bytes each; of plan.Hash those of the slots,
	// each with its key.
	rows   []byte
	stride int
	// Of a plan.PerfectHash, so that nothing is worked out for each packet.
	factor                 uint64
	multipliers            []uint32
	bucketShift, slotShift int
}

func newTable(p *plan.Table) *table {
	t := &table{Table: p, stride: p.RowSize}
	if p.Kind != plan.Hash {
		t.rows = make([]byte, p.Len()*t.stride)
		for i := range p.Len() {
			p.Row(i, t.rows[i*t.stride:][:t.stride])
		}
		return t
	}
	h := p.PerfectHash()
	t.factor, t.multipliers, t.bucketShift, t.slotShift = h.Factor, h.Multipliers, h.BucketShift(), h.SlotShift()
	t.stride += p.KeySize
	t.rows = make([]byte, len(h.Slots)*t.stride)
	for i, row := range h.Slots {
		slot := t.rows[i*t.stride:][:t.stride]
		key := h.Spare
		if row >= 0 {
			key = int(row)
			p.Row(key, slot[:p.RowSize])
		}
		p.KeyBytes(key, slot[p.RowSize:])
	}
	return t
}

// lookup is a plan.Lookup.
type lookup struct {
	*table
	key   []window
	rule  plan.Place
	at    plan.Place // of the order
	first uint32
}

func (c *compiler) lookup(p *plan.Lookup) *lookup {
	l := &lookup{table: c.tables[p.Table.ID], key: windowsOf(p.Key), rule: p.Rule, at: p.Order, first: p.First}
	return l
}

// order is the place among all rules of the row that was found.
func (r *Runner) order(l *lookup) uint64 {
	return uint64(binary.LittleEndian.Uint32(r.row[l.at.Offset():])) + uint64(l.first)
}

// find looks up the packet's row. If a byte of the key was not captured it is unknown.
func (r *Runner) find(l *lookup) (row []byte, found truth) {
	switch l.Kind {
	case plan.Dense:
		return r.findDense(l)
	case plan.Ordered:
		return r.findOrdered(l)
	}
	return r.findHash(l)
}

func (r *Runner) findDense(l *lookup) ([]byte, truth) {
	v, ok := r.load(l.key[0])
	if !ok {
		return nil, unknown
	}
	if l.key[0].size == 2 {
		v = v>>8 | v&0xff<<8
	}
	return l.numbered(int(l.Numbers[v]))
}

// numbered is a row by its number.
func (l *lookup) numbered(n int) ([]byte, truth) {
	if n < 0 || n >= l.Len() {
		return nil, no
	}
	return l.rows[n*l.stride:][:l.stride], yes
}

func (r *Runner) findOrdered(l *lookup) ([]byte, truth) {
	for _, w := range l.key {
		if _, ok := r.load(w); !ok {
			return nil, unknown
		}
	}
	v := r.loadField(l.key)
	i, exact := slices.BinarySearchFunc(l.Intervals, v, func(in field.Interval, v field.Value) int { return in.From.Cmp(v) })
	if !exact {
		i--
	}
	return l.numbered(int(l.Intervals[i].Row))
}

// findHash goes where plan.PerfectHash says, and compares the key there.
func (r *Runner) findHash(l *lookup) ([]byte, truth) {
	var h uint64
	for i, w := range l.key {
		v, ok := r.load(w)
		if !ok {
			return nil, unknown
		}
		word := uint64(bits.ReverseBytes32(v << (32 - 8*w.size))) // as plan.PerfectHash.Hash has it
		switch {
		case i%2 == 1:
			h ^= word << 32
			continue
		case i > 0:
			h *= l.factor
			h ^= h >> 32
		}
		h ^= word
	}
	h *= l.factor
	slot := int(h * uint64(l.multipliers[h>>l.bucketShift]) >> l.slotShift)
	row := l.rows[slot*l.stride:][:l.stride]
	key := row[l.RowSize:]
	for _, w := range l.key {
		if v, _ := r.load(w); v != read(key, w.size) {
			return nil, no
		}
		key = key[w.size:]
	}
	return row, yes
}
