package bpf

import "github.com/cilium/ebpf/asm"

// epilogue counts the packet, whose rule is on the stack, and passes it on.
func (c *compiler) epilogue() {
	c.about("count")
	c.bind(c.count, c.noIP != c.pass) // the chain without IPv4 stands behind
	c.length()
	c.emit(
		asm.StoreMem(asm.R10, slotLen, asm.R0, asm.DWord),
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
		asm.LoadMem(asm.R2, asm.R10, slotLen, asm.DWord),
		asm.Add.Reg(asm.R1, asm.R2),
		asm.StoreMem(asm.R0, 8, asm.R1, asm.DWord),
	)
	c.bind(c.pass, true)
	c.about("pass")
	c.emit(asm.Mov.Imm32(asm.R0, Pass))
	c.exit()
}

// length leaves the packet's length in R0.
func (c *compiler) length() {
	if c.opt.Fragments {
		if c.reg.ctx != asm.R1 {
			c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx))
		}
		c.emit(asm.FnXdpGetBuffLen.Call())
		return
	}
	c.emit(
		asm.LoadMem(asm.R0, c.reg.ctx, 4, asm.Word),
		asm.LoadMem(asm.R2, c.reg.ctx, 0, asm.Word),
		asm.Sub.Reg(asm.R0, asm.R2),
	)
}
