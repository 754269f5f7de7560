package bpf

import (
	"math"
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// mostCompared is how many intervals all searches of a program can compare with
// in code, which is faster than reading their ends from a map. Each takes about
// four instructions.
const mostCompared = 4096

// tree searches the intervals of a field by comparisons written out. None has an
// outcome that is known: removing dead branches costs the kernel quadratic time.
func (c tables) tree(l *plan.Lookup, miss assembler.Label) {
	t := tree{tables: c, key: l.Key, found: c.NewLabel(), miss: miss}
	if len(l.Key) <= 2 {
		c.loadKey(l.Key)
		var boundaries []boundary
		for _, in := range l.Table.Intervals {
			boundaries = append(boundaries, boundary{from: in.From.Lo << keyShift(l.Key), row: in.Row})
		}
		t.search(boundaries)
	} else {
		c.loadKey(l.Key[:2])
		t.search(halves(l.Table.Intervals))
	}
	c.Bind(t.found)
	// The verifier looks at what follows once for each row: 40 steps a row, where
	// the tree itself takes five (6.18).
	c.Emit(asm.LoadMem(value, asm.R10, c.frameOffset(slotNumber), asm.Half))
	c.rowAt(l.Table, miss)
}

// keyShift is how far a value is shifted in the windows of a key.
func keyShift(key []plan.Window) int { return bits.TrailingZeros32(key[len(key)-1].Mask) }

// loadKey leaves one or two windows in value, as a number.
func (c tables) loadKey(key []plan.Window) {
	c.loadWindowOnce(key[0], true)
	for _, w := range key[1:] {
		c.Emit(asm.LSh.Imm(value, int32(8*w.Size)))
		c.fetch(temp, w)
		c.Emit(asm.HostTo(asm.BE, temp, sizes[w.Size]), asm.Or.Reg(value, temp))
	}
}

// boundary is an interval of what is in a register: it has a row, or none (-1), or is
// a single value behind which the lower half decides.
type boundary struct {
	from  uint64
	row   int32
	lower []boundary
}

// halves are the intervals of a field of 128 bits by its upper half.
func halves(list []field.Interval) []boundary {
	var out []boundary
	for i, in := range list {
		last := len(out) - 1
		if i > 0 && out[last].lower != nil && in.From.Hi > out[last].from && in.From.Hi-out[last].from > 1 {
			out = append(out, boundary{from: out[last].from + 1, row: list[i-1].Row})
			last++
		}
		switch {
		case in.From.Lo == 0:
			out = append(out, boundary{from: in.From.Hi, row: in.Row})
		case out[last].from == in.From.Hi:
			if out[last].lower == nil {
				out[last].lower = []boundary{{row: out[last].row}}
			}
			out[last].lower = append(out[last].lower, boundary{from: in.From.Lo, row: in.Row})
		default:
			out = append(out, boundary{from: in.From.Hi, lower: []boundary{{row: list[i-1].Row}, {from: in.From.Lo, row: in.Row}}})
		}
	}
	if last := out[len(out)-1]; last.lower != nil && last.from != math.MaxUint64 {
		out = append(out, boundary{from: last.from + 1, row: list[len(list)-1].Row})
	}
	return out
}

// tree writes the comparisons of one search.
type tree struct {
	tables
	key         []plan.Window
	found, miss assembler.Label
}

// search goes on with the one of the boundaries, the first of which begins with the
// least that value can be.
func (t *tree) search(boundaries []boundary) {
	if at := boundaries[0]; len(boundaries) == 1 {
		switch {
		case at.lower != nil:
			t.loadKey(t.key[2:])
			t.search(at.lower)
		case at.row < 0:
			t.Goto(t.miss)
		default:
			t.Emit(asm.StoreImm(asm.R10, t.frameOffset(slotNumber), int64(at.row), asm.Half))
			t.Goto(t.found)
		}
		return
	}
	mid := len(boundaries) / 2
	above, v := t.NewLabel(), boundaries[mid].from
	switch {
	case len(t.key) == 1:
		t.Jump(above, asm.JGE.Imm32(value, int32(uint32(v)), ""))
	case v <= math.MaxInt32:
		t.Jump(above, asm.JGE.Imm(value, int32(v), ""))
	default:
		t.Emit(asm.LoadImm(temp, int64(v), asm.DWord))
		t.Jump(above, asm.JGE.Reg(value, temp, ""))
	}
	t.search(boundaries[:mid])
	t.Bind(above)
	t.search(boundaries[mid:])
}

// bisect searches the intervals in a map, by halves and without a jump: jumps
// would be guessed wrong half the time, and the verifier would follow each way.
func (c tables) bisect(l *plan.Lookup, miss assembler.Label) {
	at, lay := c.spare(), layoutOf(l.Table)
	endSize := map[int]asm.Size{4: asm.Word, 8: asm.DWord}[lay.endSize]
	c.loadKey(l.Key)
	c.Emit(asm.Mov.Imm(at, 0))
	for step := lay.intervals / 2; step > 0; step /= 2 {
		c.address(l.Table, lay.ends+step*lay.endSize)
		c.Emit(
			asm.Add.Reg(temp, at), asm.LoadMem(temp, temp, 0, endSize),
			asm.Sub.Reg(temp, value), asm.Add.Imm(temp, -1), // below 0 if it begins there or before
			// Not an arithmetic shift and a mask: new kernels' verifiers follow both
			// outcomes of that (seen on 6.18).
			asm.RSh.Imm(temp, 63), asm.LSh.Imm(temp, int32(bits.TrailingZeros(uint(step*lay.endSize)))),
			asm.Add.Reg(at, temp),
		)
	}
	if lay.endSize == 8 {
		c.Emit(asm.RSh.Imm(at, 1))
	}
	c.address(l.Table, lay.numbers)
	c.Emit(asm.Add.Reg(temp, at), asm.LoadMem(value, temp, 0, asm.Word))
	c.rowAt(l.Table, miss)
}
