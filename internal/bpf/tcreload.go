package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// tellPartial jumps to partial if the checksum of layer 4 is yet to be made: the
// kernel then ignores a change that is not the pseudo-header's.
func (c *compiler) tellPartial(s plan.Step, check *field.Field, partial label) {
	c.about("is " + check.Name + " made later?")
	const size = 2
	at := plan.Sum{Check: check}
	c.offset(c.reg.l4, l4Base+int32(check.Byte()))
	c.emit(asm.StoreMem(asm.R10, slotCheckAt, value, asm.DWord))
	c.remember()
	c.emit(
		c.loadCheck(value, at),
		asm.StoreMem(asm.R10, slotOld, value, asm.DWord),
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotCheckAt, asm.DWord),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 1),
		asm.Mov.Imm(asm.R5, size),
		asm.FnL4CsumReplace.Call(),
	)
	c.reload(s)
	c.emit(c.loadCheck(value, at), asm.LoadMem(temp, asm.R10, slotOld, asm.DWord))
	c.jumpTo(partial, asm.JEq.Reg(value, temp, ""))
	c.emit(asm.Mov.Reg(value, temp), c.storeCheck(at))
}

// remember leaves on the stack where the headers are.
func (c *compiler) remember() {
	c.offset(c.reg.l4, l4Base)
	c.emit(asm.StoreMem(asm.R10, slotL4, value, asm.DWord))
	c.offset(c.reg.l3, 0)
	c.emit(asm.StoreMem(asm.R10, slotL3At, value, asm.DWord))
}

// reload finds the headers again behind a helper that may have moved them. They
// are where they were, which the verifier has to be shown.
func (c *compiler) reload(s plan.Step) {
	c.ends()
	switch {
	case c.plan.Link == field.RawIP:
		c.emit(asm.Add.Imm(c.reg.l3, -ethLen))
	case c.onLink: // so that what is in front of l3 can be reached
		c.emit(asm.Add.Imm(c.reg.l3, int32(tagLen*c.tagsInBytes())))
	default:
		c.emit(
			asm.LoadMem(value, asm.R10, slotL3At, asm.DWord),
			asm.And.Imm(value, 0xf), // two tags at most
			asm.Add.Reg(c.reg.l3, value),
		)
	}
	c.guard(c.reg.l3, ethLen+networkBytes(s), c.pass)
	c.emit(
		asm.LoadMem(value, asm.R10, slotL4, asm.DWord),
		asm.And.Imm(value, 0x7fff),
		asm.LoadMem(c.reg.l4, c.reg.ctx, c.to.data, asm.Word),
		asm.Add.Reg(c.reg.l4, value),
		asm.Add.Imm(c.reg.l4, -l4Base),
	)
	c.guard(c.reg.l4, l4Base+c.class.L4.Header().Fixed, c.pass)
	if c.class.MSS {
		c.emit(
			asm.LoadMem(temp, asm.R10, slotFound, asm.DWord),
			asm.And.Imm(temp, 0x3f),
			asm.Mov.Reg(asm.R1, c.reg.l4),
			asm.Add.Reg(asm.R1, temp),
		)
		c.guard(asm.R1, l4Base+lenMSS, c.pass)
		c.emit(asm.StoreMem(asm.R10, slotMSS, asm.R1, asm.DWord))
	}
}

// networkBytes is how much of the network header a step looks at.
func networkBytes(s plan.Step) int {
	for _, w := range s.Windows() {
		if w.Header == field.IP6 {
			return ip6Len
		}
	}
	for _, sum := range s.Sums {
		if sum.L3 == field.IP6 {
			return ip6Len
		}
	}
	return ipLen
}
