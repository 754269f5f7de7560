package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// flowState is where the state of the hash of a packet's flow is, at the end of what
// values are worked out in.
const flowState = scratchTop - 8

// goldenRatio and the two factors of MurmurHash3's end are those of semantics.md 3.11.
const (
	goldenRatio  = 0x9e3779b97f4a7c15
	firstFactor  = 0xff51afd7ed558ccd
	secondFactor = 0xc4ceb9fe1a85ec53
)

// flowHash works the state of the hash out and leaves it on the stack. The end of the
// packet is not needed any more, so its register has the factor.
func (c *compiler) flowHash(f plan.Flow) {
	c.about("hash of the flow")
	c.load = held{}
	c.emit(asm.LoadImm(c.reg.end, signed(goldenRatio), asm.DWord), asm.Mov.Imm(value, 0))
	both := f.Addresses()
	base, off := c.at(both)
	for at := range both.Size / 8 {
		c.emit(asm.LoadMem(temp, base, off+int16(8*at), asm.DWord), asm.HostTo(asm.BE, temp, asm.DWord))
		c.mixFlow()
	}
	c.flowPorts(f)
	c.mixFlow()
	c.emit(asm.StoreMem(asm.R10, flowState, value, asm.DWord))
}

// mixFlow takes the word in temp into the hash in value.
func (c *compiler) mixFlow() {
	c.emit(
		asm.Xor.Reg(value, temp),
		asm.Mul.Reg(value, c.reg.end),
		asm.Mov.Reg(temp, value),
		asm.RSh.Imm(temp, 32),
		asm.Xor.Reg(value, temp),
	)
}

// flowPorts brings the ports and the protocol into temp; fragments have no ports.
func (c *compiler) flowPorts(f plan.Flow) {
	bare, done := c.newLabel(), c.newLabel()
	number := int16(protocolAt)
	if f.L3 == field.IP6 {
		number = nextAt
	}
	if f.L4 != field.None {
		const moreFragments = 0x20 // of the first byte of the flags and the offset
		if f.L3 == field.IP6 {
			c.emit(asm.LoadMem(temp, asm.R10, slotSeen, asm.DWord))
			c.jumpTo(bare, asm.JSet.Imm(temp, seenMore, ""))
		} else {
			c.emit(asm.LoadMem(temp, c.reg.l3, fragmentAt, asm.Byte))
			c.jumpTo(bare, asm.JSet.Imm(temp, moreFragments, ""))
		}
		c.emit(
			asm.LoadMem(temp, c.reg.l4, l4Base, asm.Word),
			asm.HostTo(asm.BE, temp, asm.Word),
			asm.LSh.Imm(temp, 32),
			asm.Or.Imm(temp, int32(f.L4.Header().Number)),
		)
		c.goTo(done)
		c.bind(bare, false)
	}
	c.emit(asm.LoadMem(temp, c.reg.l3, number, asm.Byte))
	c.bind(done, false)
}

// flowNumber brings number i of the hash into value.
func (c *compiler) flowNumber(i int) {
	c.load = held{}
	c.emit(asm.LoadMem(value, asm.R10, flowState, asm.DWord))
	if i > 0 {
		c.emit(asm.LoadImm(temp, signed(uint64(i)*goldenRatio), asm.DWord), asm.Add.Reg(value, temp))
	}
	for _, factor := range []uint64{firstFactor, secondFactor} {
		c.emit(
			asm.Mov.Reg(temp, value),
			asm.RSh.Imm(temp, 33),
			asm.Xor.Reg(value, temp),
			asm.LoadImm(temp, signed(factor), asm.DWord),
			asm.Mul.Reg(value, temp),
		)
	}
	c.emit(asm.RSh.Imm(value, 32))
}

// signed is v as an immediate has it.
func signed(v uint64) int64 { return int64(v) }
