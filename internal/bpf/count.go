package bpf

import "github.com/cilium/ebpf/asm"

// epilogue counts the packet, whose rule is on the stack, and passes it on.
func (c *compiler) epilogue() {
	c.about("count")
	c.bind(c.count, c.noIP != c.pass) // the chain without IPv4 stands behind
	c.length()
	c.emit(
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, slotRule),
		asm.LoadMapPtr(asm.R1, c.opt.Counters),
		asm.FnMapLookupElem.Call(),
	)
	c.jumpTo(c.pass, asm.JEq.Imm(asm.R0, 0, ""))
	c.emit(
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, 8, asm.DWord),
		asm.Add.Reg(asm.R1, length),
		asm.StoreMem(asm.R0, 8, asm.R1, asm.DWord),
	)
	c.bind(c.pass, true)
	c.about("pass")
	c.emit(asm.Mov.Imm32(asm.R0, Pass))
	c.exit()
}

// length is where the packet's length outlives the call that finds the
// counter. The context is not needed behind it.
const length = asm.R6

// length leaves the packet's length in length.
func (c *compiler) length() {
	if c.opt.Fragments {
		if c.reg.ctx != asm.R1 {
			c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx))
		}
		c.emit(asm.FnXdpGetBuffLen.Call(), asm.Mov.Reg(length, asm.R0))
		return
	}
	c.emit(
		asm.LoadMem(asm.R2, c.reg.ctx, 0, asm.Word),
		asm.LoadMem(length, c.reg.ctx, 4, asm.Word),
		asm.Sub.Reg(length, asm.R2),
	)
}
