package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
)

// Places on the stack of look-ups. Those of headers are free again in a chain.
const (
	slotNumber  = headerAt  // the number of a row (16 bits), where a sum of the header comes later
	slotRow     = slotSeen  // where the row is, while a step acts
	slotBest    = slotSteps // the row of the first rule found, while one is chosen
	slotOrder   = slotNext  // and its place among all (32 bits)
	slotFoundBy = slotOld   // 1 + the place in Select of the step that found it
)

// find looks a row up and leaves in temp where it is. It goes to miss where
// there is none.
func (c *compiler) find(l *plan.Lookup, miss label) {
	c.about(l.String())
	switch l.Table.Kind {
	case plan.Hash:
		c.scattered(l, miss)
	case plan.Dense:
		c.dense(l, miss)
	case plan.Ordered:
		if len(l.Table.Intervals) <= c.longestTree && !l.InMap || !canHalve(l.Table) {
			c.tree(l, miss)
		} else {
			c.halve(l, miss)
		}
	}
	c.load = held{}
}

// anyMap stands for the map of a table in a program that is only shown.
const anyMap = 0

func (c *compiler) tableMap(t *plan.Table) int {
	if t.ID < len(c.opt.Tables) {
		return c.opt.Tables[t.ID]
	}
	return anyMap
}

// dense reads the number of the row where the window's value says.
func (c *compiler) dense(l *plan.Lookup, miss label) {
	c.loadWindow(l.Key[0], false)
	c.load = held{}         // also where no row is found
	if c.beside(l.Key[0]) { // the verifier does not know how large a swapped value is
		c.emit(asm.And.Imm(value, int32(fullMask(l.Key[0].Size))))
	}
	c.emit(
		asm.LSh.Imm(value, 1),
		asm.LoadMapValue(temp, c.tableMap(l.Table), uint32(layoutOf(l.Table).numbers)),
		asm.Add.Reg(temp, value),
		asm.LoadMem(value, temp, 0, asm.Half),
	)
	c.rowAt(l.Table, miss)
}

// rowAt leaves in temp where the row is whose number is in value.
func (c *compiler) rowAt(t *plan.Table, miss label) {
	c.jumpTo(miss, asm.JGE.Imm(value, int32(t.Len()), ""))
	c.emit(
		asm.Mul.Imm(value, int32(t.RowSize)),
		asm.LoadMapValue(temp, c.tableMap(t), 0),
		asm.Add.Reg(temp, value),
	)
}

// fromRow loads what a row has at a place into temp.
func (c *compiler) fromRow(at plan.Place, size int) {
	c.emit(
		asm.LoadMem(temp, asm.R10, slotRow, asm.DWord),
		asm.LoadMem(temp, temp, int16(at.Offset()), sizes[size]),
	)
}

// rowParts adds to value, or subtracts from it, what rows add to a sum, and
// returns the most that that is.
func (c *compiler) rowParts(s plan.Sum, sign asm.ALUOp) int64 {
	for _, r := range s.Rows {
		c.fromRow(r.At, 2)
		c.emit(sign.Reg(value, temp))
	}
	return int64(len(s.Rows)) * modulus
}

// ruleOf leaves the number of the rule that acts for the epilogue.
func (c *compiler) ruleOf(s plan.Step) {
	if s.Lookup == nil || s.Lookup.Rule == 0 {
		c.emit(asm.StoreImm(asm.R10, slotRule, int64(s.Rule), asm.Word))
		return
	}
	c.fromRow(s.Lookup.Rule, 4)
	c.emit(asm.StoreMem(asm.R10, slotRule, temp, asm.Word))
}

// lookup is a step that acts by its row.
func (c *compiler) lookup(s plan.Step, next label) {
	if s.Lookup.Rule != 0 {
		c.note.Rule = noRule
	}
	if s.Cond != nil {
		c.unless(s.Cond, next)
	}
	c.find(s.Lookup, next)
	c.emit(asm.StoreMem(asm.R10, slotRow, temp, asm.DWord))
	c.act(s)
}

// choose looks up what each of the steps has, and carries out the one that comes
// first in the order of the rules.
func (c *compiler) choose(list []plan.Step, next label) {
	c.note.Rule = noRule
	best := c.reg.end // not needed in a chain
	c.emit(
		asm.Mov.Imm(value, 0),
		asm.StoreMem(asm.R10, slotFoundBy, value, asm.DWord),
		asm.Mov.Imm(value, -1),
		asm.StoreMem(asm.R10, slotOrder, value, asm.DWord),
	)
	c.load = held{}
	for i, s := range list {
		skip := c.newLabel()
		if s.Cond != nil {
			c.unless(s.Cond, skip)
		}
		c.find(s.Lookup, skip)
		c.about("is it the first?")
		c.emit(
			asm.LoadMem(value, temp, int16(s.Lookup.Order.Offset()), asm.Word),
			asm.Add.Imm(value, int32(s.Lookup.First)),
			asm.LoadMem(best, asm.R10, slotOrder, asm.DWord),
		)
		c.jumpTo(skip, asm.JGE.Reg(value, best, ""))
		c.emit(
			asm.StoreMem(asm.R10, slotOrder, value, asm.DWord),
			asm.StoreMem(asm.R10, slotBest, temp, asm.DWord),
			// Through a register: kernels before 6.3 do not follow constants that
			// are stored.
			asm.Mov.Imm(value, int32(i+1)),
			asm.StoreMem(asm.R10, slotFoundBy, value, asm.DWord),
		)
		c.load = held{}
		c.bind(skip, false)
		c.load = held{}
	}
	c.about("the first of them")
	c.emit(asm.LoadMem(best, asm.R10, slotFoundBy, asm.DWord))
	c.jumpTo(next, asm.JEq.Imm(best, 0, ""))
	c.emit(
		asm.LoadMem(value, asm.R10, slotBest, asm.DWord),
		asm.StoreMem(asm.R10, slotRow, value, asm.DWord),
	)
	for i, s := range list {
		other := next
		if i < len(list)-1 {
			other = c.newLabel()
			c.jumpTo(other, asm.JNE.Imm(best, int32(i+1), ""))
		}
		if s.Lookup.Rule == 0 {
			c.note.Rule = s.Rule
		}
		c.act(s)
		c.note.Rule = noRule
		if other != next {
			c.bind(other, false)
		}
	}
}
