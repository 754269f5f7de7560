package bpf

import (
	"math"
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// mostCompared is how many intervals are searched in a program by comparisons
// written out, which is faster than reading their ends from a map. Each takes
// about four instructions.
const mostCompared = 4096

// longestTree is how many of them each search can have.
func longestTree(p *plan.Program) int {
	searches := 0
	for _, ch := range p.Chains() {
		for _, s := range ch.Acting() {
			if s.Lookup != nil && s.Lookup.Table.Kind == plan.Ordered {
				searches++
			}
		}
	}
	return mostCompared / max(1, searches)
}

// tree searches the intervals of a field by comparisons written out. None has an
// outcome that is known: removing dead branches costs the kernel quadratic time.
func (c *compiler) tree(l *plan.Lookup, miss label) {
	found := c.newLabel()
	t := treeOf{compiler: c, lookup: l, found: found, miss: miss}
	if len(l.Key) <= 2 {
		c.loadKey(l.Key)
		var cuts []cut
		for _, in := range l.Table.Intervals {
			cuts = append(cuts, cut{from: in.From.Lo << inPlace(l.Key), row: in.Row})
		}
		t.search(cuts)
	} else {
		c.loadKey(l.Key[:2])
		t.search(halves(l.Table.Intervals))
	}
	c.dead = true
	c.bind(found, false)
	// The verifier looks at what follows once for each row: 40 steps a row, where
	// the tree itself takes five (6.18).
	c.emit(asm.LoadMem(value, asm.R10, slotNumber, asm.Half))
	c.rowAt(l.Table, miss)
}

// inPlace is how far a value is shifted in the windows of a key.
func inPlace(key []plan.Window) int { return bits.TrailingZeros32(key[len(key)-1].Mask) }

// loadKey leaves one or two windows in value, as a number.
func (c *compiler) loadKey(key []plan.Window) {
	c.load = held{}
	c.loadWindow(key[0], true)
	for _, w := range key[1:] {
		base, off := c.at(w)
		c.emit(
			asm.LSh.Imm(value, int32(8*w.Size)),
			asm.LoadMem(temp, base, off, sizes[w.Size]),
			asm.HostTo(asm.BE, temp, sizes[w.Size]),
			asm.Or.Reg(value, temp),
		)
	}
	c.load = held{}
}

// cut is an interval of what is in a register: it has a row, or none (-1), or is
// a single value behind which the lower half decides.
type cut struct {
	from  uint64
	row   int32
	lower []cut
}

// halves are the intervals of a field of 128 bits by its upper half.
func halves(list []field.Interval) []cut {
	var out []cut
	for i, in := range list {
		last := len(out) - 1
		if i > 0 && out[last].lower != nil && in.From.Hi > out[last].from && in.From.Hi-out[last].from > 1 {
			out = append(out, cut{from: out[last].from + 1, row: list[i-1].Row})
			last++
		}
		switch {
		case in.From.Lo == 0:
			out = append(out, cut{from: in.From.Hi, row: in.Row})
		case out[last].from == in.From.Hi:
			if out[last].lower == nil {
				out[last].lower = []cut{{row: out[last].row}}
			}
			out[last].lower = append(out[last].lower, cut{from: in.From.Lo, row: in.Row})
		default:
			out = append(out, cut{from: in.From.Hi, lower: []cut{{row: list[i-1].Row}, {from: in.From.Lo, row: in.Row}}})
		}
	}
	if last := out[len(out)-1]; last.lower != nil && last.from != math.MaxUint64 {
		out = append(out, cut{from: last.from + 1, row: list[len(list)-1].Row})
	}
	return out
}

// treeOf writes the comparisons of one search.
type treeOf struct {
	*compiler
	lookup      *plan.Lookup
	found, miss label
}

// search goes on with the one of the cuts, the first of which begins with the
// least that value can be.
func (t *treeOf) search(cuts []cut) {
	if len(cuts) == 1 {
		t.leaf(cuts[0])
		return
	}
	mid := len(cuts) / 2
	above := t.newLabel()
	t.unlessBelow(cuts[mid].from, above)
	t.search(cuts[:mid])
	t.bind(above, false)
	t.search(cuts[mid:])
}

// unlessBelow jumps if value is v or above it.
func (t *treeOf) unlessBelow(v uint64, to label) {
	switch key := t.lookup.Key; {
	case len(key) == 1:
		t.jumpTo(to, asm.JGE.Imm32(value, int32(uint32(v)), ""))
	case v <= math.MaxInt32:
		t.jumpTo(to, asm.JGE.Imm(value, int32(v), ""))
	default:
		t.emit(asm.LoadImm(temp, int64(v), asm.DWord))
		t.jumpTo(to, asm.JGE.Reg(value, temp, ""))
	}
}

func (t *treeOf) leaf(at cut) {
	switch {
	case at.lower != nil:
		t.loadKey(t.lookup.Key[2:])
		t.search(at.lower)
		t.dead = true
	case at.row < 0:
		t.goTo(t.miss)
	default:
		t.emit(asm.StoreImm(asm.R10, slotNumber, int64(at.row), asm.Half))
		t.goTo(t.found)
	}
}

// halve searches the intervals in a map, by halves and without a jump: jumps
// would be guessed wrong half the time, and the verifier would follow each way.
func (c *compiler) halve(l *plan.Lookup, miss label) {
	at := c.reg.end // not needed in a chain
	c.loadKey(l.Key)
	lay := layoutOf(l.Table)
	c.emit(asm.Mov.Imm(at, 0))
	for step := lay.intervals / 2; step > 0; step /= 2 {
		c.emit(
			asm.LoadMapValue(temp, c.tableMap(l.Table), uint32(lay.ends+step*lay.endSize)),
			asm.Add.Reg(temp, at),
			asm.LoadMem(temp, temp, 0, sizesOf[lay.endSize]),
			asm.Sub.Reg(temp, value),
			asm.Add.Imm(temp, -1), // below 0 if it begins there or before
			// Not an arithmetic shift and a mask: new kernels' verifiers follow both
			// outcomes of that (seen on 6.18).
			asm.RSh.Imm(temp, 63),
			asm.LSh.Imm(temp, int32(bits.TrailingZeros(uint(step*lay.endSize)))),
			asm.Add.Reg(at, temp),
		)
	}
	if lay.endSize == 8 {
		c.emit(asm.RSh.Imm(at, 1))
	}
	c.emit(
		asm.LoadMapValue(temp, c.tableMap(l.Table), uint32(lay.numbers)),
		asm.Add.Reg(temp, at),
		asm.LoadMem(value, temp, 0, asm.Word),
	)
	c.rowAt(l.Table, miss)
}

var sizesOf = map[int]asm.Size{4: asm.Word, 8: asm.DWord}

// canHalve tells whether the intervals can be searched in a map.
func canHalve(t *plan.Table) bool { return t.Fields[0].Width <= 64 }
