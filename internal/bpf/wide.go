package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/plan"
)

// A value of 128 bits is in two registers while it is worked out: its upper
// half in upper, its lower one in value.
const upper = temp

// wide works an address of IPv6 out.
func (c *compiler) wide(x plan.Compute) {
	a := x.Action
	switch a.Op {
	case operand.Copy:
		c.loadWide(a.From)
	case operand.Random, operand.Hash:
		c.scaled(a)
		c.emit(asm.LoadImm(upper, int64(a.Range.Lo.Hi), asm.DWord))
		c.addWide(a.Range.Lo.Lo)
	case operand.Add:
		c.loadWide(x.Field)
		c.addWide(a.Value.Lo)
		c.stopAtTop()
	case operand.Sub:
		c.loadWide(x.Field)
		c.subtractWide(a.Value.Lo)
	case operand.AtLeast:
		c.loadWide(x.Field)
		c.boundWide(a.Value, asm.JGT, asm.JGE)
	case operand.AtMost:
		c.loadWide(x.Field)
		c.boundWide(a.Value, asm.JLT, asm.JLE)
	}
	c.storeWide(x)
}

func (c *compiler) loadWide(f *field.Field) {
	base, off := c.at(plan.Window{Header: f.Proto, Off: f.Byte()})
	c.emit(
		asm.LoadMem(upper, base, off, asm.DWord),
		asm.HostTo(asm.BE, upper, asm.DWord),
		asm.LoadMem(value, base, off+8, asm.DWord),
		asm.HostTo(asm.BE, value, asm.DWord),
	)
}

// addWide adds n and carries.
func (c *compiler) addWide(n uint64) {
	carried := c.newLabel()
	c.emit(asm.LoadImm(c.reg.end, int64(n), asm.DWord), asm.Add.Reg(value, c.reg.end))
	c.jumpTo(carried, asm.JGE.Reg(value, c.reg.end, ""))
	c.emit(asm.Add.Imm(upper, 1))
	c.bind(carried, false)
}

// stopAtTop is for what has just been added to, and fell below: by 2^64 at
// most, so that the upper half went from all ones to 0, and was not 0 before
// unless the lower half says so.
func (c *compiler) stopAtTop() {
	kept := c.newLabel()
	c.jumpTo(kept, asm.JNE.Imm(upper, 0, ""))
	c.jumpTo(kept, asm.JGE.Reg(value, c.reg.end, "")) // nothing was carried
	c.emit(asm.Mov.Imm(upper, -1), asm.Mov.Imm(value, -1))
	c.bind(kept, false)
}

// subtractWide subtracts n and borrows; at 0 it stops.
func (c *compiler) subtractWide(n uint64) {
	enough, some, done := c.newLabel(), c.newLabel(), c.newLabel()
	c.emit(asm.LoadImm(c.reg.end, int64(n), asm.DWord))
	c.jumpTo(enough, asm.JGE.Reg(value, c.reg.end, ""))
	c.jumpTo(some, asm.JNE.Imm(upper, 0, ""))
	c.emit(asm.Mov.Imm(value, 0))
	c.goTo(done)
	c.bind(some, false)
	c.emit(asm.Sub.Imm(upper, 1))
	c.bind(enough, false)
	c.emit(asm.Sub.Reg(value, c.reg.end))
	c.bind(done, false)
}

// boundWide makes the value v unless it is beyond it by its upper half, or by
// its lower one where the upper halves are equal.
func (c *compiler) boundWide(v field.Value, beyond, lower asm.JumpOp) {
	keep, set := c.newLabel(), c.newLabel()
	c.emit(asm.LoadImm(c.reg.end, int64(v.Hi), asm.DWord))
	c.jumpTo(keep, beyond.Reg(upper, c.reg.end, ""))
	c.jumpTo(set, asm.JNE.Reg(upper, c.reg.end, ""))
	c.emit(asm.LoadImm(c.reg.end, int64(v.Lo), asm.DWord))
	c.jumpTo(keep, lower.Reg(value, c.reg.end, ""))
	c.bind(set, false)
	c.emit(asm.LoadImm(upper, int64(v.Hi), asm.DWord), asm.LoadImm(value, int64(v.Lo), asm.DWord))
	c.bind(keep, false)
}

// storeWide leaves the value on the stack as it will be in the packet. The
// place is aligned to 4 bytes, as the stack wants it.
func (c *compiler) storeWide(x plan.Compute) {
	at := c.image(x.Slot)
	for i, r := range []asm.Register{upper, value} {
		half := at + int16(8*i)
		c.emit(
			asm.HostTo(asm.BE, r, asm.DWord),
			asm.StoreMem(asm.R10, half, r, asm.Word),
			asm.RSh.Imm(r, 32),
			asm.StoreMem(asm.R10, half+4, r, asm.Word),
		)
	}
}
