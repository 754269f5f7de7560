package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// flowState is where the state of the hash of a packet's flow is, at the end of what
// values are worked out in.
const flowState = -slotsSize - 8

// goldenRatio and the two factors of MurmurHash3's end are those of semantics.md 3.11.
const (
	goldenRatio  = 0x9e3779b97f4a7c15
	firstFactor  = 0xff51afd7ed558ccd
	secondFactor = 0xc4ceb9fe1a85ec53
)

// flowHash works the state of the hash out and leaves it on the stack.
func (v values) flowHash(f plan.Flow) {
	ratio := v.spare()
	mix := func() { // takes the word in temp into the hash in value
		v.Emit(asm.Xor.Reg(value, temp), asm.Mul.Reg(value, ratio))
		v.Emit(asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 32), asm.Xor.Reg(value, temp))
	}
	v.About("hash of the flow")
	v.Forget()
	v.Emit(asm.LoadImm(ratio, signed(goldenRatio), asm.DWord), asm.Mov.Imm(value, 0))
	both := f.Addresses()
	base, off := v.at(both)
	for at := range both.Size / 8 {
		v.Emit(asm.LoadMem(temp, base, off+int16(8*at), asm.DWord), asm.HostTo(asm.BE, temp, asm.DWord))
		mix()
	}
	v.flowPorts(f)
	mix()
	v.Emit(asm.StoreMem(asm.R10, flowState, value, asm.DWord))
}

// flowPorts brings the ports and the protocol into temp; fragments have no ports.
func (v values) flowPorts(f plan.Flow) {
	bare, done := v.NewLabel(), v.NewLabel()
	number := int16(protocolAt)
	if f.L3 == field.IP6 {
		number = nextAt
	}
	if f.L4 != field.None {
		const moreFragments = 0x20 // of the first byte of the flags and the offset
		if f.L3 == field.IP6 {
			v.load(temp, slotSeen)
			v.Jump(bare, asm.JSet.Imm(temp, seenMore, ""))
		} else {
			v.Emit(asm.LoadMem(temp, v.reg.l3, fragmentAt, asm.Byte))
			v.Jump(bare, asm.JSet.Imm(temp, moreFragments, ""))
		}
		v.Emit(asm.LoadMem(temp, v.reg.l4, l4Base, asm.Word), asm.HostTo(asm.BE, temp, asm.Word))
		v.Emit(asm.LSh.Imm(temp, 32), asm.Or.Imm(temp, int32(f.L4.Header().Number)))
		v.Goto(done)
		v.Bind(bare)
	}
	v.Emit(asm.LoadMem(temp, v.reg.l3, number, asm.Byte))
	v.Bind(done)
}

// flowNumber brings number i of the hash into value.
func (v values) flowNumber(i int) {
	v.Forget()
	v.Emit(asm.LoadMem(value, asm.R10, flowState, asm.DWord))
	if i > 0 {
		v.Emit(asm.LoadImm(temp, signed(uint64(i)*goldenRatio), asm.DWord), asm.Add.Reg(value, temp))
	}
	for _, factor := range []uint64{firstFactor, secondFactor} {
		v.Emit(asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 33), asm.Xor.Reg(value, temp))
		v.Emit(asm.LoadImm(temp, signed(factor), asm.DWord), asm.Mul.Reg(value, temp))
	}
	v.Emit(asm.RSh.Imm(value, 32))
}

// signed is v as an immediate has it.
func signed(v uint64) int64 { return int64(v) }
