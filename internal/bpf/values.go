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

// values emits what works new values out. Each operand is carried out here, on
// words of up to 64 bits and on addresses of IPv6.
type values struct{ *code }

// arithmetic is what operands need of a value in registers.
type arithmetic interface {
	loadField(f *field.Field)
	choose(x plan.Compute) // by random numbers, or by the hash of the flow
	// add and subtract a number to and from a field: at its highest value and at 0
	// they stop, or wrap around.
	add(f *field.Field, n uint64)
	subtract(f *field.Field, n uint64)
	// atLeast and atMost make the value v where it is below or above.
	atLeast(v field.Value)
	atMost(v field.Value)
	// saveImage leaves the value on the stack as the field's windows will have it.
	saveImage(x plan.Compute)
}

// compute works out the new values of a step and leaves their images on the
// stack.
func (v values) compute(s plan.Step) {
	if s.Flow != nil {
		v.flowHash(*s.Flow)
	}
	for _, x := range s.Computes {
		v.About(x.String())
		v.Forget()
		var n arithmetic = narrow(v)
		if x.Field.Width > 64 {
			n = wide(v)
		}
		switch a := x.Action; a.Op {
		case operand.Copy:
			n.loadField(a.From)
		case operand.Random, operand.Hash:
			n.choose(x)
		case operand.Restore:
			flows(v).restore(*s.Answers, x)
			continue
		case operand.Add:
			n.loadField(x.Field)
			n.add(x.Field, a.Value.Lo)
		case operand.Sub:
			n.loadField(x.Field)
			n.subtract(x.Field, a.Value.Lo)
		case operand.AtLeast:
			n.loadField(x.Field)
			n.atLeast(a.Value)
		case operand.AtMost:
			n.loadField(x.Field)
			n.atMost(a.Value)
		}
		n.saveImage(x)
		v.Forget()
	}
}

// draw brings random number i into value: 32 bits. All registers that a call
// does not keep are lost.
func (v values) draw(i int) {
	v.Forget()
	if v.opt.Draws == 0 {
		v.Call(asm.FnGetPrandomU32)
		return
	}
	v.Emit(asm.LoadMapValue(value, v.opt.Draws, uint32(4*i)), asm.LoadMem(value, value, 0, asm.Word))
}

// number brings into value number i of those that a value is chosen by.
func (v values) number(a rule.Action, i int) {
	if a.Op == operand.Hash {
		v.flowNumber(i)
	} else {
		v.draw(a.Draw + i)
	}
}

// scaled leaves in value which one of a range's values is chosen, from 0
// on: size * r / 2^32.
func (v values) scaled(a rule.Action) {
	size := a.Range.Hi.Lo - a.Range.Lo.Lo + 1 // also where the range crosses 2^64
	v.number(a, 0)
	if size < 1<<32 {
		v.constant(asm.Mul, size)
		v.Emit(asm.RSh.Imm(value, 32))
	}
}

// constant combines value with a constant, which takes temp if it is large.
func (v values) constant(op asm.ALUOp, n uint64) {
	if n <= math.MaxInt32 {
		v.Emit(op.Imm(value, int32(n)))
		return
	}
	v.Emit(asm.LoadImm(temp, int64(n), asm.DWord), op.Reg(value, temp))
}

// narrow has a value of up to 64 bits in value.
type narrow struct{ *code }

func (v narrow) loadField(f *field.Field) {
	for i, w := range fieldWindows(f) {
		if i == 0 {
			v.loadWindowOnce(w, true)
			v.shift(asm.RSh, value, bits.TrailingZeros32(w.Mask))
			continue
		}
		v.fetch(temp, w) // the windows of an address are full
		v.Emit(asm.HostTo(asm.BE, temp, sizes[w.Size]), asm.LSh.Imm(value, int32(8*w.Size)), asm.Or.Reg(value, temp))
	}
}

// choose brings bits of the numbers into value, up to 32, which may lie in two
// numbers; or one of the values of a range.
func (v narrow) choose(x plan.Compute) {
	const word = 32
	if !x.Bits() {
		values(v).scaled(x.Action)
		if lo := x.Action.Range.Lo.Lo; lo > 0 {
			values(v).constant(asm.Add, lo)
		}
		return
	}
	first, skip, n := x.Skip/word, x.Skip%word, x.Field.Width
	values(v).number(x.Action, first)
	if skip+n <= word {
		v.shift(asm.RSh, value, word-skip-n)
		if skip > 0 {
			v.Emit(asm.And.Imm32(value, int32(uint32(uint64(1)<<n-1))))
		}
		return
	}
	upper := v.spare() // outlives the second call
	v.Emit(asm.Mov.Reg(upper, value))
	values(v).number(x.Action, first+1)
	v.Emit(asm.LSh.Imm(upper, word), asm.Or.Reg(value, upper))
	v.Emit(asm.LSh.Imm(value, int32(skip)), asm.RSh.Imm(value, int32(2*word-n)))
}

// add leaves it to the store to cut a value that wraps around: such fields are
// whole words.
func (v narrow) add(f *field.Field, n uint64) {
	values(v).constant(asm.Add, n)
	if !f.Wraps {
		v.atMost(f.Max())
	}
}

func (v narrow) subtract(f *field.Field, n uint64) {
	if !f.Wraps {
		v.atLeast(field.V(n))
	}
	values(v).constant(asm.Sub, n)
}

func (v narrow) atLeast(n field.Value) { v.bound(asm.JGE, n.Lo) }
func (v narrow) atMost(n field.Value)  { v.bound(asm.JLE, n.Lo) }

// bound makes value n, unless the comparison of the two holds.
func (v narrow) bound(holds asm.JumpOp, n uint64) {
	if n <= math.MaxInt32 {
		v.SkipIf(holds.Imm(value, int32(n), ""), func() { v.Emit(asm.Mov.Imm(value, int32(n))) })
		return
	}
	v.Emit(asm.LoadImm(temp, int64(n), asm.DWord))
	v.SkipIf(holds.Reg(value, temp, ""), func() { v.Emit(asm.Mov.Reg(value, temp)) })
}

func (v narrow) saveImage(x plan.Compute) {
	list := x.Windows()
	below := 0
	for i := len(list) - 1; i >= 0; i-- {
		w := list[i]
		v.Emit(asm.Mov.Reg(temp, value))
		v.shift(asm.RSh, temp, below)
		v.shift(asm.LSh, temp, bits.TrailingZeros32(w.Mask))
		if w.Size > 1 {
			v.Emit(asm.HostTo(asm.BE, temp, sizes[w.Size]))
		}
		v.Emit(asm.StoreMem(asm.R10, v.image(x.At(w)), temp, sizes[w.Size]))
		below += 8 * w.Size
	}
}
