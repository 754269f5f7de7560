package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// madeSum is a sum of layer 4 whose parts lie on the stack.
type madeSum struct {
	plan.Sum
	has [3]bool
}

// twoSteps tells whether the sum changes by more than one call, and can become
// 0 by them.
func (m *madeSum) twoSteps() bool {
	n := 0
	for _, has := range m.has {
		if has {
			n++
		}
	}
	return n > 1 && !m.ZeroIsNone
}

// workOut leaves on the stack what the parts of the adjusted sum of layer 4
// change by. No packet has two such sums.
func (c *compiler) workOut(s plan.Step) *madeSum {
	for _, sum := range s.Sums {
		if sum.Op != plan.Adjust || sum.Check.Proto == field.IP {
			continue
		}
		made := &madeSum{Sum: sum}
		c.about(sum.String())
		for p := range made.has {
			part, some := sum.Part(plan.Part(p))
			if !some {
				continue
			}
			made.has[p] = true
			c.partChange(part)
			c.emit(asm.StoreMem(asm.R10, int16(slotParts-8*p), value, asm.DWord))
		}
		if made.twoSteps() {
			c.emit(c.loadCheck(value, sum), asm.StoreMem(asm.R10, slotOld, value, asm.DWord))
		}
		c.offset(c.reg.l4, l4Base+int32(sum.Check.Byte()))
		c.emit(asm.StoreMem(asm.R10, slotCheckAt, value, asm.DWord))
		if tellsWhole(sum.Check) {
			c.wholeSum()
		}
		return made
	}
	return nil
}

// partChange leaves in value what a part changes by, 0 if by nothing.
func (c *compiler) partChange(part plan.Sum) {
	c.load = held{}
	if len(part.Terms) == 0 && len(part.Rows) == 0 {
		c.emit(asm.Mov.Imm(value, int32(inMemory(part.Const))))
		return
	}
	some := c.newLabel()
	c.change(part)
	c.jumpTo(some, asm.JNE.Imm32(value, modulus, ""))
	c.emit(asm.Mov.Imm(value, 0))
	c.bind(some, false)
}

// carryOut has the kernel change the checksum of layer 4.
func (c *compiler) carryOut(made *madeSum, broken bool) {
	if made == nil {
		if broken { // nothing else changes in it
			c.wrongByOne()
		}
		return
	}
	done := c.newLabel()
	if tellsWhole(made.Check) {
		c.changeWhole(made, broken, done)
	}
	for p, has := range made.has {
		if !has {
			continue
		}
		flags := int32(0)
		if plan.Part(p) != plan.Own {
			flags |= isPseudo
		}
		if plan.Part(p) == plan.PseudoIP6 {
			flags |= sumsNoByte
		}
		if made.ZeroIsNone {
			flags |= onesForZero
		}
		same := c.newLabel()
		c.about(made.String())
		c.emit(asm.LoadMem(asm.R4, asm.R10, int16(slotParts-8*p), asm.DWord))
		c.jumpTo(same, asm.JEq.Imm(asm.R4, 0, ""))
		c.replace(flags)
		c.bind(same, false)
	}
	if made.twoSteps() {
		c.keepOnes()
	}
	if broken {
		c.wrongByOne()
	}
	c.bind(done, false)
}

// keepOnes writes 0xffff over a checksum of 0 that was 0xffff. Both are one
// number, so what changed in one part was made up for in another: a checksum
// whose parts change by nothing together keeps its bytes, but calls that follow
// each other leave 0.
func (c *compiler) keepOnes() {
	const ones, size = 0xffff, 2
	other := c.newLabel()
	c.about("0xffff stays where the parts make up for each other")
	c.emit(asm.LoadMem(value, asm.R10, slotOld, asm.DWord))
	c.jumpTo(other, asm.JNE.Imm(value, ones, ""))
	atOld := []asm.Instruction{
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotCheckAt, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, slotOld),
		asm.Mov.Imm(asm.R4, size),
	}
	c.emit(atOld...)
	c.emit(asm.FnSkbLoadBytes.Call(), asm.LoadMem(value, asm.R10, slotOld, asm.Half))
	c.jumpTo(other, asm.JNE.Imm(value, 0, ""))
	c.emit(asm.StoreImm(asm.R10, slotOld, ones, asm.Half))
	c.emit(atOld...)
	c.emit(asm.Mov.Imm(asm.R5, 0), asm.FnSkbStoreBytes.Call())
	c.bind(other, false)
}

// wrongByOne makes a checksum that is yet to be made come out wrong.
func (c *compiler) wrongByOne() {
	c.about("wrong by one")
	c.emit(asm.Mov.Imm(asm.R4, swapped(1, 2)))
	c.replace(isPseudo)
}

// replace changes the checksum at slotCheckAt by the difference in R4.
func (c *compiler) replace(flags int32) {
	c.emit(
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotCheckAt, asm.DWord),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R5, flags),
		asm.FnL4CsumReplace.Call(),
	)
}

// uncovered is what bytes change by, from the network header on, without a
// checksum in the packet that makes up for it. Where a device has summed the
// packet up, its sum has to follow.
func uncovered(s plan.Step, odd bool) plan.Sum {
	var out plan.Sum
	for _, w := range s.Writes {
		if w.Header.Header().Layer < field.NetworkLayer || w.Header == field.ARP {
			continue
		}
		mask := uint32(0)
		for _, f := range w.Fields {
			if !madeUp(s.Sums, f) {
				mask |= w.MaskOf(f)
			}
		}
		if mask == 0 {
			continue
		}
		factor := 1
		if w.Size == 1 && w.Off%2 == 0 || w.Header == field.MSS && odd {
			factor = 256
		}
		if !w.Made() {
			out.Const = (out.Const + uint32(uint64(w.Value&mask)*uint64(factor)%modulus)) % modulus
		}
		w.Mask = mask
		out.Terms = append(out.Terms, plan.Term{Window: w.Window, Factor: factor})
		if w.Made() {
			out.Terms = append(out.Terms, plan.Term{Window: w.Window, Source: w.Source, Factor: -factor})
		}
	}
	for _, sum := range s.Sums {
		if sum.Op != plan.Adjust {
			out.Terms = append(out.Terms, plan.Term{Window: checkWindow(sum.Check), Factor: 1})
		}
	}
	return out
}

func checkWindow(f *field.Field) plan.Window {
	return plan.Window{Header: f.Proto, Off: f.Byte(), Size: 2, Mask: 0xffff}
}

// madeUp tells whether a checksum in the packet makes up for a change of f.
func madeUp(sums []plan.Sum, f *field.Field) bool {
	for _, sum := range sums {
		for _, ch := range sum.Changes {
			if sum.Op == plan.Adjust && ch.Field == f && (!ch.Pseudo || f.Proto == field.IP6) {
				return true
			}
		}
	}
	return false
}

// bytesChange leaves in slotBytes what bytes will have changed by.
func (c *compiler) bytesChange(s plan.Sum) {
	c.about("bytes that no checksum covers")
	c.load = held{}
	terms := memoryTerms(s.Terms, -1)
	start := unsigned(inMemory(s.Const), terms, 0)
	c.emit(asm.Mov.Imm(value, int32(start)))
	c.fold(start+c.addTerms(terms), 0xffff)
	c.emit(asm.StoreMem(asm.R10, slotBytes, value, asm.DWord))
}

// noneChange adds to slotBytes what a UDP checksum covers, if that is 0: then
// there is none that makes up for it, and the kernel's helper leaves all alone.
func (c *compiler) noneChange(made *madeSum, others bool) {
	some := c.newLabel()
	c.about("is there a checksum?")
	if !others {
		c.emit(storeLong(slotBytes, 0))
	}
	c.emit(c.loadCheck(value, made.Sum))
	c.jumpTo(some, asm.JNE.Imm(value, 0, ""))
	for p, has := range made.has {
		if !has || plan.Part(p) == plan.Pseudo { // the header's checksum makes up for it
			continue
		}
		c.emit(
			asm.LoadMem(temp, asm.R10, int16(slotParts-8*p), asm.DWord),
			asm.LoadMem(value, asm.R10, slotBytes, asm.DWord),
			asm.Add.Reg(value, temp),
			asm.StoreMem(asm.R10, slotBytes, value, asm.DWord),
		)
	}
	c.bind(some, false)
	c.load = held{}
}

// remadeChange adds to slotBytes the checksums that have been made anew; what
// they were has been taken away.
func (c *compiler) remadeChange(sums []plan.Sum) {
	for _, s := range sums {
		if s.Op == plan.Adjust {
			continue
		}
		c.emit(
			asm.LoadMem(temp, asm.R10, slotBytes, asm.DWord),
			c.loadCheck(value, s),
			asm.Add.Reg(temp, value),
			asm.StoreMem(asm.R10, slotBytes, temp, asm.DWord),
		)
	}
}
