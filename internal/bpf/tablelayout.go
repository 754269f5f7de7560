package bpf

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"repacket/internal/plan"
)

// layout is where the parts of a table lie in the only value of its map, in
// bytes: the rows come first, and of a hash its slots, each with a row and its
// key.
type layout struct {
	slotSize    int
	multipliers int // 32 bits each

	numbers   int // of rows, by value (16 bits) or by interval (32 bits)
	ends      int // where the intervals begin, rising
	endSize   int
	intervals int // a power of two; those behind the last one are never found
	size      int
}

func layoutOf(t *plan.Table) layout {
	var l layout
	room := func(n int) (at int) {
		at = l.size
		l.size += (n + 7) &^ 7
		return at
	}
	if t.Kind == plan.Hash {
		s := t.PerfectHash()
		l.slotSize = t.RowSize + t.KeySize
		room(len(s.Slots) * l.slotSize)
		l.multipliers = room(len(s.Multipliers) << multiplierShift)
		return l
	}
	room(t.Len() * t.RowSize)
	switch {
	case t.Kind == plan.Dense:
		l.numbers = room(2 * len(t.Numbers))
	case inMap(t):
		l.intervals, l.endSize = 1<<bits.Len(uint(len(t.Intervals)-1)), 4
		if t.Fields[0].Width > 32 {
			l.endSize = 8
		}
		l.numbers = room(4 * l.intervals)
		l.ends = room(l.endSize * l.intervals)
	}
	return l
}

// multiplierShift is log2 of the size of a multiplier.
const multiplierShift = 2

// inMap reports whether intervals can be searched in a map.
func inMap(t *plan.Table) bool { return t.Fields[0].Width <= 64 }

// MaxTable is how large a table can be, in bytes: the verifier lets a program
// reach no further into a map (BPF_MAX_VAR_OFF, kernel/bpf/verifier.c).
const MaxTable = 1<<29 - 1

// TableSizeError says that a table is larger than MaxTable.
type TableSizeError struct{ Size int }

func (e *TableSizeError) Error() string {
	return fmt.Sprintf("the rows come to a table of %d MiB, and a program can reach 512", e.Size>>20)
}

// ArraySize is the size in bytes of the only value of an ARRAY map with a table.
// The error is a *TableSizeError.
func ArraySize(t *plan.Table) (int, error) {
	size := max(layoutOf(t).size, 8)
	if size > MaxTable {
		return size, &TableSizeError{size}
	}
	return size, nil
}

// FillArray makes that value, given as many zeros.
func FillArray(t *plan.Table, out []byte) {
	lay := layoutOf(t)
	if t.Kind == plan.Hash {
		lay.hash(t, out)
		return
	}
	for i := range t.Len() {
		t.Row(i, out[i*t.RowSize:][:t.RowSize])
	}
	if t.Kind == plan.Dense {
		for i, n := range t.Numbers {
			binary.LittleEndian.PutUint16(out[lay.numbers+2*i:], n)
		}
		return
	}
	for i := range lay.intervals {
		// Behind the last interval the highest value is found in its place.
		end, row := ^uint64(0), t.Intervals[len(t.Intervals)-1].Row
		if i < len(t.Intervals) {
			end, row = t.Intervals[i].From.Lo<<keyShift(fieldWindows(t.Fields[0])), t.Intervals[i].Row
		}
		binary.LittleEndian.PutUint32(out[lay.numbers+4*i:], uint32(row))
		if lay.endSize == 8 {
			binary.LittleEndian.PutUint64(out[lay.ends+8*i:], min(end, 1<<63-1))
		} else {
			binary.LittleEndian.PutUint32(out[lay.ends+4*i:], uint32(end))
		}
	}
}

// hash fills in the slots and the multipliers of a hash.
func (lay layout) hash(t *plan.Table, out []byte) {
	s := t.PerfectHash()
	for i, row := range s.Slots {
		slot := out[i*lay.slotSize:][:lay.slotSize]
		key := s.Spare
		if row >= 0 {
			key = int(row)
			t.Row(key, slot[:t.RowSize])
		}
		t.KeyBytes(key, slot[t.RowSize:])
	}
	for i, m := range s.Multipliers {
		binary.LittleEndian.PutUint32(out[lay.multipliers+4*i:], m)
	}
}
