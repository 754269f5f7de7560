package bpf

import (
	"math"
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// What values are worked out in lies below all other places on the stack. A
// program and the function that it calls have stackSize bytes together.
const (
	scratchTop = -256
	stackSize  = 512
)

// image is where on the stack a place of the scratch area is.
func (c *compiler) image(slot int) int16 { return int16(scratchTop - c.use.scratch + slot) }

// compute works out the new values of a step and leaves their images on the
// stack. Addresses of IPv6 take two registers, and a third to compare them
// with: the packet's end, which is not needed any more.
func (c *compiler) compute(s plan.Step) {
	if s.Flow != nil {
		c.flowHash(*s.Flow)
	}
	for _, x := range s.Computes {
		c.about(x.String())
		c.load = held{}
		if x.Field.Width > 64 {
			c.wide(x)
		} else {
			c.narrow(x)
		}
		c.load = held{}
	}
}

// narrow works a value of up to 64 bits out, in value.
func (c *compiler) narrow(x plan.Compute) {
	a := x.Action
	switch a.Op {
	case operand.Copy:
		c.loadField(a.From)
	case operand.Random, operand.Hash:
		c.chosen(x)
	case operand.Add:
		c.loadField(x.Field)
		c.addTo(x.Field, a.Value.Lo)
	case operand.Sub:
		c.loadField(x.Field)
		c.subtract(x.Field, a.Value.Lo)
	case operand.AtLeast:
		c.loadField(x.Field)
		c.bound(asm.JGE, a.Value.Lo)
	case operand.AtMost:
		c.loadField(x.Field)
		c.bound(asm.JLE, a.Value.Lo)
	}
	c.storeImage(x)
}

// loadField brings a field of up to 64 bits into value, as a number.
func (c *compiler) loadField(f *field.Field) {
	for i, w := range fieldWindows(f) {
		if i == 0 {
			c.load = held{}
			c.loadWindow(w, true)
			c.load = held{}
			if shift := bits.TrailingZeros32(w.Mask); shift > 0 {
				c.emit(asm.RSh.Imm(value, int32(shift)))
			}
			continue
		}
		base, off := c.at(w) // the windows of an address are full
		c.emit(
			asm.LoadMem(temp, base, off, sizes[w.Size]),
			asm.HostTo(asm.BE, temp, sizes[w.Size]),
			asm.LSh.Imm(value, int32(8*w.Size)),
			asm.Or.Reg(value, temp),
		)
	}
}

func fieldWindows(f *field.Field) []plan.Window { return plan.Compute{Field: f}.Windows() }

// addTo adds n to value, which is what f holds. At f's highest value it stops.
// Where it wraps around instead, the store cuts it off: such fields are whole
// words.
func (c *compiler) addTo(f *field.Field, n uint64) {
	if n <= math.MaxInt32 {
		c.emit(asm.Add.Imm(value, int32(n)))
	} else {
		c.emit(asm.LoadImm(temp, int64(n), asm.DWord), asm.Add.Reg(value, temp))
	}
	if !f.Wraps {
		c.bound(asm.JLE, f.Max().Lo)
	}
}

// subtract takes n from value, which is what f holds. At 0 it stops, or wraps
// around as adding does.
func (c *compiler) subtract(f *field.Field, n uint64) {
	if !f.Wraps {
		c.bound(asm.JGE, n)
	}
	if n <= math.MaxInt32 {
		c.emit(asm.Sub.Imm(value, int32(n)))
	} else {
		c.emit(asm.LoadImm(temp, int64(n), asm.DWord), asm.Sub.Reg(value, temp))
	}
}

// bound makes value n, unless the comparison of the two holds.
func (c *compiler) bound(holds asm.JumpOp, n uint64) {
	keep := c.newLabel()
	if n <= math.MaxInt32 {
		c.jumpTo(keep, holds.Imm(value, int32(n), ""))
		c.emit(asm.Mov.Imm(value, int32(n)))
	} else {
		c.emit(asm.LoadImm(temp, int64(n), asm.DWord))
		c.jumpTo(keep, holds.Reg(value, temp, ""))
		c.emit(asm.Mov.Reg(value, temp))
	}
	c.bind(keep, false)
}

// storeImage leaves value on the stack as the field's windows will have it.
func (c *compiler) storeImage(x plan.Compute) {
	list := x.Windows()
	below := 0
	for i := len(list) - 1; i >= 0; i-- {
		w := list[i]
		c.emit(asm.Mov.Reg(temp, value))
		if below > 0 {
			c.emit(asm.RSh.Imm(temp, int32(below)))
		}
		if shift := bits.TrailingZeros32(w.Mask); shift > 0 {
			c.emit(asm.LSh.Imm(temp, int32(shift)))
		}
		if w.Size > 1 {
			c.emit(asm.HostTo(asm.BE, temp, sizes[w.Size]))
		}
		c.emit(asm.StoreMem(asm.R10, c.image(x.At(w)), temp, sizes[w.Size]))
		below += 8 * w.Size
	}
}

// draw brings random number i into value: 32 bits. All registers that a call
// does not keep are lost.
func (c *compiler) draw(i int) {
	c.load = held{}
	if c.opt.Draws == 0 {
		c.emit(asm.FnGetPrandomU32.Call())
		return
	}
	c.emit(asm.LoadMapValue(value, c.opt.Draws, uint32(4*i)), asm.LoadMem(value, value, 0, asm.Word))
}

// number brings into value number i of those that a value is chosen by.
func (c *compiler) number(a rule.Action, i int) {
	if a.Op == operand.Hash {
		c.flowNumber(i)
	} else {
		c.draw(a.Draw + i)
	}
}

// chosen brings a chosen value of up to 64 bits into value.
func (c *compiler) chosen(x plan.Compute) {
	if x.Bits() {
		c.drawnBits(x)
		return
	}
	c.scaled(x.Action)
	lo := x.Action.Range.Lo.Lo
	switch {
	case lo == 0:
	case lo <= math.MaxInt32:
		c.emit(asm.Add.Imm(value, int32(lo)))
	default:
		c.emit(asm.LoadImm(temp, int64(lo), asm.DWord), asm.Add.Reg(value, temp))
	}
}

// drawnBits brings bits of the numbers into value: up to 32, which may lie
// in two numbers.
func (c *compiler) drawnBits(x plan.Compute) {
	const word = 32
	first, skip, n := x.Skip/word, x.Skip%word, x.Field.Width
	c.number(x.Action, first)
	if skip+n <= word {
		c.shiftRight(word - skip - n)
		if skip > 0 {
			c.emit(asm.And.Imm32(value, int32(uint32(uint64(1)<<n-1))))
		}
		return
	}
	// The end of the packet keeps the first number over the second call.
	c.emit(asm.Mov.Reg(c.reg.end, value))
	c.number(x.Action, first+1)
	c.emit(asm.LSh.Imm(c.reg.end, word), asm.Or.Reg(value, c.reg.end), asm.LSh.Imm(value, int32(skip)))
	c.shiftRight(2*word - n)
}

func (c *compiler) shiftRight(n int) {
	if n > 0 {
		c.emit(asm.RSh.Imm(value, int32(n)))
	}
}

// scaled leaves in value which one of a range's values is chosen, from 0
// on: size * r / 2^32.
func (c *compiler) scaled(a rule.Action) {
	size := a.Range.Hi.Lo - a.Range.Lo.Lo + 1 // also where the range crosses 2^64
	c.number(a, 0)
	switch {
	case size == 1<<32:
		return
	case size <= math.MaxInt32:
		c.emit(asm.Mul.Imm(value, int32(size)))
	default:
		c.emit(asm.LoadImm(temp, int64(size), asm.DWord), asm.Mul.Reg(value, temp))
	}
	c.emit(asm.RSh.Imm(value, 32))
}

// chance jumps to l if the outcome is when.
func (c *compiler) chance(x plan.Chance, l label, when bool) {
	c.about("if " + x.String())
	c.draw(x.Index)
	op := asm.JLT
	if when == x.Not {
		op = asm.JGE
	}
	c.jumpTo(l, op.Imm32(value, int32(x.Below), ""))
}
