package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/why"
)

// whyFunction is the function that counts a test that has failed, and what was seen. It is in the
// program once.
const whyFunction = "why_not"

// reasons emits what finds out why a rule has not acted. The packet is as it arrived: behind it,
// the next rule is tried.
type reasons struct{ *code }

// find counts the first test that fails.
func (c reasons) find(y *plan.Why) {
	c.functions[whyFunction] = c.function
	done := c.NewLabel()
	last := len(y.Asks) - 1
	failed := make([]assembler.Label, last)
	for i, a := range y.Asks[:last] {
		failed[i] = c.NewLabel()
		conditions(c).branch(a.Cond, failed[i], false)
	}
	c.count(y.Asks[last])
	for i, a := range y.Asks[:last] {
		c.Goto(done)
		c.Bind(failed[i])
		c.count(a)
	}
	c.Bind(done)
	c.Forget()
}

// Registers of the arguments that are not made at once.
const (
	lowSeen  = asm.R2
	highSeen = asm.R3
)

// count counts a packet for a test that has failed.
func (c reasons) count(a plan.Ask) {
	c.About("why")
	c.Forget()
	switch {
	case a.See.Field != nil:
		c.value(a.See)
	case a.See.Next != field.None:
		c.next(a.See.Next)
	default:
		c.Emit(asm.Mov.Imm(lowSeen, int32(a.See.Known.Lo)), asm.Mov.Imm(highSeen, 0))
	}
	packets := assembler.Imm(1)
	if c.opt.Hook == TC {
		packets = c.content(slotSegments)
	}
	c.Invoke(whyFunction, assembler.Imm(int32(a.Slot)), assembler.Reg(lowSeen), assembler.Reg(highSeen), packets)
	c.Forget()
}

// value brings the value of a field into the arguments.
func (c reasons) value(s plan.See) {
	const half = 64
	list := s.Windows()
	width := 0
	for _, w := range list {
		width += 8 * w.Size
	}
	if width <= half {
		c.Emit(asm.Mov.Imm(highSeen, 0))
	}
	for begun := (map[asm.Register]bool{}); len(list) > 0; list = list[1:] {
		w, to := list[0], lowSeen
		if width > half {
			to = highSeen
		}
		c.loadWindowOnce(w, true)
		if begun[to] {
			c.Emit(asm.LSh.Imm(to, int32(8*w.Size)), asm.Or.Reg(to, value))
		} else {
			c.Emit(asm.Mov.Reg(to, value))
		}
		begun[to] = true
		width -= 8 * w.Size
	}
	c.shift(asm.RSh, lowSeen, s.Shift())
}

// next brings what a header says follows into the arguments.
func (c reasons) next(header field.Protocol) {
	is := func(v field.Value) { c.Emit(asm.Or.Imm(lowSeen, int32(v.Lo))) }
	switch header {
	case field.IP:
		later, have := c.NewLabel(), c.NewLabel()
		c.Emit(asm.LoadMem(lowSeen, c.reg.l3, protocolAt, asm.Byte), asm.LoadMem(value, c.reg.l3, fragmentAt, asm.Half))
		c.Jump(later, asm.JSet.Imm32(value, swapped(0x1fff, 2), ""))
		is(why.Protocol(0))
		c.Goto(have)
		c.Bind(later)
		is(why.LaterFragment(0))
		c.Bind(have)
	case field.IP6:
		c.Emit(asm.LoadMem(lowSeen, c.reg.l3, nextAt, asm.Byte))
		is(why.Next(0))
	default:
		c.Emit(asm.LoadMem(lowSeen, c.reg.l3, ethTypeAt, asm.Half), asm.HostTo(asm.BE, lowSeen, asm.Half))
		is(why.EtherType(0))
	}
	c.Emit(asm.Mov.Imm(highSeen, 0))
}

// function counts as why.Count.Add does: it gets the slot, the value's low and high half, and the
// number of packets.
func (c reasons) function() {
	const low, high, packets, key = asm.R6, asm.R7, asm.R8, -8
	const base, least, fewest = asm.R0, asm.R3, asm.R4
	const highAt, lowAt, packetsAt = 0, 8, 16
	none := c.NewLabel()
	c.About("why: which test")
	c.Emit(
		asm.Mov.Reg(low, asm.R2), asm.Mov.Reg(high, asm.R3), asm.Mov.Reg(packets, asm.R4),
		asm.StoreMem(asm.R10, key, asm.R1, asm.Word),
	)
	c.Call(asm.FnMapLookupElem, assembler.Map(c.opt.Why), assembler.Stack(key))
	c.Jump(none, asm.JEq.Imm(base, 0, ""))
	c.Emit(asm.LoadMem(asm.R1, base, 0, asm.DWord), asm.Add.Reg(asm.R1, packets), asm.StoreMem(base, 0, asm.R1, asm.DWord))

	c.About("why: the row of the value")
	c.Emit(asm.Mov.Reg(asm.R1, high), asm.LSh.Imm(asm.R1, 32), asm.Mov.Reg(asm.R2, high), asm.RSh.Imm(asm.R2, 32))
	c.Emit(asm.Or.Reg(asm.R1, asm.R2), asm.Xor.Reg(asm.R1, low))
	multiplier := uint64(why.Multiplier)
	c.Emit(asm.LoadImm(asm.R2, int64(multiplier), asm.DWord), asm.Mul.Reg(asm.R1, asm.R2), asm.RSh.Imm(asm.R1, why.RowShift))
	c.Emit(asm.Mul.Imm(asm.R1, why.Ways*why.SeenSize), asm.Add.Reg(base, asm.R1), asm.Add.Imm(base, why.SeenAt))
	for way := range int16(why.Ways) {
		other := c.NewLabel()
		at := way * why.SeenSize
		c.Emit(asm.LoadMem(asm.R1, base, at+packetsAt, asm.DWord))
		c.Jump(other, asm.JEq.Imm(asm.R1, 0, ""))
		c.Emit(asm.LoadMem(asm.R2, base, at+lowAt, asm.DWord))
		c.Jump(other, asm.JNE.Reg(asm.R2, low, ""))
		c.Emit(asm.LoadMem(asm.R2, base, at+highAt, asm.DWord))
		c.Jump(other, asm.JNE.Reg(asm.R2, high, ""))
		c.Emit(asm.Add.Reg(asm.R1, packets), asm.StoreMem(base, at+packetsAt, asm.R1, asm.DWord))
		c.Goto(none)
		c.Bind(other)
	}

	c.About("why: in the place of the least frequent")
	c.Emit(asm.Mov.Reg(least, base), asm.LoadMem(fewest, base, packetsAt, asm.DWord))
	for way := range int16(why.Ways - 1) {
		at := (way + 1) * why.SeenSize
		c.Emit(asm.LoadMem(asm.R1, base, at+packetsAt, asm.DWord))
		c.SkipIf(asm.JGE.Reg(asm.R1, fewest, ""), func() {
			c.Emit(asm.Mov.Reg(fewest, asm.R1), asm.Mov.Reg(least, base), asm.Add.Imm(least, int32(at)))
		})
	}
	take := c.NewLabel()
	c.Jump(take, asm.JLE.Reg(fewest, packets, ""))
	c.Emit(asm.Sub.Reg(fewest, packets), asm.StoreMem(least, packetsAt, fewest, asm.DWord))
	c.Goto(none)
	c.Bind(take)
	c.Emit(asm.StoreMem(least, highAt, high, asm.DWord), asm.StoreMem(least, lowAt, low, asm.DWord), asm.StoreMem(least, packetsAt, packets, asm.DWord))
	c.BindLoop(none)
	c.Emit(asm.Mov.Imm(asm.R0, 0))
	c.Exit()
}
