package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
	"repacket/internal/rule"
)

// epilogue counts the packet, whose rule is on the stack, and passes it on.
func (c *compiler) epilogue() {
	c.about("count")
	c.bind(c.count, c.acts()) // other chains stand behind
	c.length()
	if c.opt.Hook == TC {
		c.emit(asm.LoadMem(segments, asm.R10, slotSegments, asm.DWord))
	}
	c.emit(
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, slotRule),
		asm.LoadMapPtr(asm.R1, c.opt.Counters),
		asm.FnMapLookupElem.Call(),
	)
	c.jumpTo(c.pass, asm.JEq.Imm(asm.R0, 0, ""))
	c.emit(
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		c.onePacket(asm.R1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, 8, asm.DWord),
		asm.Add.Reg(asm.R1, length),
		asm.StoreMem(asm.R0, 8, asm.R1, asm.DWord),
	)
	c.leave()
	c.bind(c.pass, true)
	c.about("pass")
	c.emit(asm.Mov.Imm32(asm.R0, c.to.verdicts[rule.Pass]))
	c.exit()
}

// acts tells whether there is anything to count.
func (c *compiler) acts() bool {
	return slices.ContainsFunc(c.plan.Chains(), func(ch *plan.Chain) bool { return len(ch.Steps) > 0 })
}

// onePacket adds what the packet counts for: at tc, as many as it is cut into.
func (c *compiler) onePacket(to asm.Register) asm.Instruction {
	if c.opt.Hook == TC {
		return asm.Add.Reg(to, segments)
	}
	return asm.Add.Imm(to, 1)
}

// leave returns the verdict of the rule that acted, where that may not be to
// pass.
func (c *compiler) leave() {
	if !c.use.verdicts {
		return
	}
	c.about("verdict")
	c.emit(asm.LoadMem(asm.R0, asm.R10, slotVerdict, asm.Word))
	if !c.use.redirect {
		c.exit()
		return
	}
	redirect := c.newLabel()
	c.jumpTo(redirect, asm.JEq.Imm32(asm.R0, c.to.verdicts[rule.ToInterface], ""))
	c.exit()
	c.bind(redirect, false)
	c.emit(
		asm.LoadMem(asm.R1, asm.R10, slotRedirect, asm.DWord),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
	)
	c.exit()
}

// length is where the packet's length outlives the call that finds the
// counter. The context is not needed behind it.
const length = asm.R6

// segments is where at tc the number of packets outlives it.
const segments = asm.R7

// length leaves the packet's length in length: at tc, with the tag that may lie
// beside it.
func (c *compiler) length() {
	if c.opt.Hook == TC {
		c.emit(
			asm.LoadMem(value, c.reg.ctx, skbTagged, asm.Word),
			asm.LoadMem(length, c.reg.ctx, skbLength, asm.Word), // the context goes
			asm.LSh.Imm(value, 2),                               // a tag takes four bytes
			asm.Add.Reg(length, value),
		)
		return
	}
	if c.opt.Fragments {
		if c.reg.ctx != asm.R1 {
			c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx))
		}
		c.emit(asm.FnXdpGetBuffLen.Call(), asm.Mov.Reg(length, asm.R0))
		return
	}
	c.emit(
		asm.LoadMem(asm.R2, c.reg.ctx, c.to.data, asm.Word),
		asm.LoadMem(length, c.reg.ctx, c.to.end, asm.Word),
		asm.Sub.Reg(length, asm.R2),
	)
}
