package bpf

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/plan"
)

// tables emits look-ups of rows, and what reads them.
type tables struct{ *code }

// find looks a row up and leaves in temp where it is. It goes to miss where
// there is none.
func (c tables) find(l *plan.Lookup, miss assembler.Label) {
	c.About(l.String())
	switch l.Table.Kind {
	case plan.Hash:
		c.perfectHash(l, miss)
	case plan.Dense:
		c.dense(l, miss)
	case plan.Ordered:
		if len(l.Table.Intervals) <= mostCompared/max(1, c.use.searches) && !l.InMap || !inMap(l.Table) {
			c.tree(l, miss)
		} else {
			c.bisect(l, miss)
		}
	}
	c.Forget()
}

// same goes to miss unless what else the look-up asks of the row, which is where temp says, holds.
func (c tables) same(l *plan.Lookup, miss assembler.Label) {
	for _, s := range l.Same {
		other := c.spare()
		c.fetch(value, s.A)
		c.fetch(other, s.B)
		c.Emit(asm.Xor.Reg(value, other), asm.LoadMem(other, temp, int16(s.Mask.Offset()), sizes[s.A.Size]), asm.And.Reg(value, other))
		c.Jump(miss, asm.JNE.Imm(value, 0, ""))
		c.Forget()
	}
}

// anyMap stands for the map of a table in a program that is only shown.
const anyMap = 0

// address brings the address of a place in the value of a table's map into temp.
func (c tables) address(t *plan.Table, at int) {
	fd := anyMap
	if t.ID < len(c.opt.Tables) {
		fd = c.opt.Tables[t.ID]
	}
	c.Emit(asm.LoadMapValue(temp, fd, uint32(at)))
}

// dense reads the number of the row where the window's value says.
func (c tables) dense(l *plan.Lookup, miss assembler.Label) {
	c.loadWindow(l.Key[0], false)
	c.Forget()             // also where no row is found
	if c.inTag(l.Key[0]) { // the verifier does not know how large a swapped value is
		c.Emit(asm.And.Imm(value, int32(fullMask(l.Key[0].Size))))
	}
	c.Emit(asm.LSh.Imm(value, 1))
	c.address(l.Table, layoutOf(l.Table).numbers)
	c.Emit(asm.Add.Reg(temp, value), asm.LoadMem(value, temp, 0, asm.Half))
	c.rowAt(l.Table, miss)
}

// rowAt leaves in temp where the row is whose number is in value.
func (c tables) rowAt(t *plan.Table, miss assembler.Label) {
	c.Jump(miss, asm.JGE.Imm(value, int32(t.Len()), ""))
	c.Emit(asm.Mul.Imm(value, int32(t.RowSize)))
	c.address(t, 0)
	c.Emit(asm.Add.Reg(temp, value))
}

// perfectHash looks up the key where plan.PerfectHash says: two loads from the map,
// and no search. The kernel's own hash tables take a call, a longer hash and a
// list, and four times the memory.
func (c tables) perfectHash(l *plan.Lookup, miss assembler.Label) {
	s, lay := l.Table.PerfectHash(), layoutOf(l.Table)
	at := c.spare()
	c.hash(l.Key, s.Factor)
	c.Emit(asm.Mov.Reg(value, at), asm.RSh.Imm(at, int32(s.BucketShift())), asm.LSh.Imm(at, multiplierShift))
	c.address(l.Table, lay.multipliers)
	c.Emit(asm.Add.Reg(temp, at), asm.LoadMem(temp, temp, 0, asm.Word))
	c.Emit(asm.Mul.Reg(value, temp), asm.RSh.Imm(value, int32(s.SlotShift())))
	if n := lay.slotSize; n&(n-1) == 0 {
		c.Emit(asm.LSh.Imm(value, int32(bits.TrailingZeros(uint(n)))))
	} else {
		c.Emit(asm.Mul.Imm(value, int32(n)))
	}
	c.address(l.Table, 0)
	c.Emit(asm.Add.Reg(temp, value))
	off := l.Table.RowSize
	for _, w := range l.Key {
		c.Forget()
		c.loadWindow(w, false)
		c.Emit(asm.LoadMem(at, temp, int16(off), sizes[w.Size]))
		c.Jump(miss, asm.JNE.Reg(value, at, ""))
		off += w.Size
	}
}

// hash leaves the hash of plan.PerfectHash in the spare register.
func (c tables) hash(key []plan.Window, factor uint64) {
	h := c.spare()
	for i, w := range key {
		if i > 0 && i%2 == 0 {
			c.Emit(asm.LoadImm(temp, int64(factor), asm.DWord), asm.Mul.Reg(h, temp))
			c.Emit(asm.Mov.Reg(temp, h), asm.RSh.Imm(temp, 32), asm.Xor.Reg(h, temp))
		}
		c.loadWindowOnce(w, false)
		if i == 0 {
			c.Emit(asm.Mov.Reg(h, value))
			continue
		}
		if i%2 == 1 {
			c.Emit(asm.LSh.Imm(value, 32))
		}
		c.Emit(asm.Xor.Reg(h, value))
	}
	c.Emit(asm.LoadImm(temp, int64(factor), asm.DWord), asm.Mul.Reg(h, temp))
}

// column loads what the row has at a place into temp.
func (c tables) column(at plan.Place, size int) {
	c.load(temp, slotRow)
	c.Emit(asm.LoadMem(temp, temp, int16(at.Offset()), sizes[size]))
}

// addRows adds to value, or subtracts from it, what rows add to a sum, and
// returns the most that that is.
func (c tables) addRows(s plan.Sum, sign asm.ALUOp) int64 {
	for _, r := range s.Rows {
		c.column(r.At, 2)
		c.Emit(sign.Reg(value, temp))
	}
	return int64(len(s.Rows)) * modulus
}

// lookup is a step that acts by its row.
func (c tables) lookup(s plan.Step, next assembler.Label) {
	if s.Lookup.Rule != 0 {
		c.ForRule(assembler.NoRule)
	}
	conditions(c).branch(s.Cond, next, false)
	c.find(s.Lookup, next)
	c.same(s.Lookup, next)
	c.save(slotRow, temp)
	c.hook.act(s)
}

// choose looks up what each of the steps has, and carries out the one that comes
// first in the order of the rules.
func (c tables) choose(list []plan.Step, next assembler.Label) {
	c.ForRule(assembler.NoRule)
	best := c.spare()
	c.Emit(asm.Mov.Imm(value, 0))
	c.save(slotFoundBy, value)
	c.Emit(asm.Mov.Imm(value, -1))
	c.save(slotOrder, value)
	c.Forget()
	for i, s := range list {
		skip := c.NewLabel()
		conditions(c).branch(s.Cond, skip, false)
		c.find(s.Lookup, skip)
		c.same(s.Lookup, skip)
		c.About("is it the first?")
		c.Emit(asm.LoadMem(value, temp, int16(s.Lookup.Order.Offset()), asm.Word), asm.Add.Imm(value, int32(s.Lookup.First)))
		c.load(best, slotOrder)
		c.Jump(skip, asm.JGE.Reg(value, best, ""))
		c.save(slotOrder, value)
		c.save(slotBest, temp)
		// Through a register: kernels before 6.3 do not follow constants that are stored.
		c.Emit(asm.Mov.Imm(value, int32(i+1)))
		c.save(slotFoundBy, value)
		c.Bind(skip)
		c.Forget()
	}
	c.About("the first of them")
	c.load(best, slotFoundBy)
	c.Jump(next, asm.JEq.Imm(best, 0, ""))
	c.load(value, slotBest)
	c.save(slotRow, value)
	for i, s := range list {
		other := next
		if i < len(list)-1 {
			other = c.NewLabel()
			c.Jump(other, asm.JNE.Imm(best, int32(i+1), ""))
		}
		if s.Lookup.Rule == 0 {
			c.ForRule(s.Rule)
		}
		c.hook.act(s)
		c.ForRule(assembler.NoRule)
		if other != next {
			c.Bind(other)
		}
	}
}
