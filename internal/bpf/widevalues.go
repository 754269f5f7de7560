package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// wide has a value of 128 bits in two registers: its upper half in upper, its
// lower one in value. A third one is to compare with.
type wide struct{ *code }

const upper = temp

func (v wide) loadField(f *field.Field) {
	base, off := v.at(plan.Window{Header: f.Proto, Off: f.Byte()})
	v.Emit(asm.LoadMem(upper, base, off, asm.DWord), asm.HostTo(asm.BE, upper, asm.DWord))
	v.Emit(asm.LoadMem(value, base, off+8, asm.DWord), asm.HostTo(asm.BE, value, asm.DWord))
}

func (v wide) choose(x plan.Compute) {
	values(v).scaled(x.Action)
	v.Emit(asm.LoadImm(upper, int64(x.Action.Range.Lo.Hi), asm.DWord))
	v.carry(x.Action.Range.Lo.Lo)
}

// carry adds n.
func (v wide) carry(n uint64) {
	other := v.spare()
	v.Emit(asm.LoadImm(other, int64(n), asm.DWord), asm.Add.Reg(value, other))
	v.SkipIf(asm.JGE.Reg(value, other, ""), func() { v.Emit(asm.Add.Imm(upper, 1)) })
}

// add stops at the top where it falls below: by 2^64 at most, so that the upper
// half went from all ones to 0, and was not 0 before unless the lower half says so.
func (v wide) add(_ *field.Field, n uint64) {
	v.carry(n)
	kept := v.NewLabel()
	v.Jump(kept, asm.JNE.Imm(upper, 0, ""))
	v.Jump(kept, asm.JGE.Reg(value, v.spare(), "")) // nothing was carried
	v.Emit(asm.Mov.Imm(upper, -1), asm.Mov.Imm(value, -1))
	v.Bind(kept)
}

func (v wide) subtract(_ *field.Field, n uint64) {
	enough, some, done, other := v.NewLabel(), v.NewLabel(), v.NewLabel(), v.spare()
	v.Emit(asm.LoadImm(other, int64(n), asm.DWord))
	v.Jump(enough, asm.JGE.Reg(value, other, ""))
	v.Jump(some, asm.JNE.Imm(upper, 0, ""))
	v.Emit(asm.Mov.Imm(value, 0))
	v.Goto(done)
	v.Bind(some)
	v.Emit(asm.Sub.Imm(upper, 1)) // borrowed
	v.Bind(enough)
	v.Emit(asm.Sub.Reg(value, other))
	v.Bind(done)
}

func (v wide) atLeast(n field.Value) { v.bound(n, asm.JGT, asm.JGE) }
func (v wide) atMost(n field.Value)  { v.bound(n, asm.JLT, asm.JLE) }

// bound makes the value n unless it is beyond it by its upper half, or by its
// lower one where the upper halves are equal.
func (v wide) bound(n field.Value, beyond, lower asm.JumpOp) {
	keep, set, other := v.NewLabel(), v.NewLabel(), v.spare()
	v.Emit(asm.LoadImm(other, int64(n.Hi), asm.DWord))
	v.Jump(keep, beyond.Reg(upper, other, ""))
	v.Jump(set, asm.JNE.Reg(upper, other, ""))
	v.Emit(asm.LoadImm(other, int64(n.Lo), asm.DWord))
	v.Jump(keep, lower.Reg(value, other, ""))
	v.Bind(set)
	v.Emit(asm.LoadImm(upper, int64(n.Hi), asm.DWord), asm.LoadImm(value, int64(n.Lo), asm.DWord))
	v.Bind(keep)
}

// saveImage stores halves of 64 bits in two words each: the place is aligned to 4
// bytes, as the stack wants it.
func (v wide) saveImage(x plan.Compute) {
	at := v.image(x.Slot)
	for i, r := range []asm.Register{upper, value} {
		half := at + int16(8*i)
		v.Emit(asm.HostTo(asm.BE, r, asm.DWord))
		v.Emit(asm.StoreMem(asm.R10, half, r, asm.Word), asm.RSh.Imm(r, 32), asm.StoreMem(asm.R10, half+4, r, asm.Word))
	}
}
