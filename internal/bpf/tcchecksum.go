package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// Flags of bpf_l4_csum_replace.
const (
	isPseudo    = 0x10 // BPF_F_PSEUDO_HDR
	onesForZero = 0x20 // BPF_F_MARK_MANGLED_0: 0xffff where it comes to 0; 0 stays
	sumsNoByte  = 0x80 // BPF_F_IPV6: the packet's own bytes make up for it
)

// partedSum is a sum of layer 4; what its parts change by lies on the stack.
type partedSum struct {
	plan.Sum
	has [3]bool // by plan.Part
	// steps: the sum changes by more than one call, and can become 0 by them.
	steps bool
}

// part is where it lies what a part changes by.
func (c *tc) part(p plan.Part) int16 { return c.frameOffset(slotParts) + int16(8*p) }

// partsOf leaves on the stack what the parts of a sum change by, 0 if by nothing.
func (c *tc) partsOf(sum plan.Sum, complete bool) *partedSum {
	out := &partedSum{Sum: sum}
	c.About(sum.String())
	for p := range out.has {
		part, some := sum.Part(plan.Part(p))
		if !some {
			continue
		}
		out.steps = !sum.ZeroIsNone && slices.Contains(out.has[:], true)
		out.has[p] = true
		c.Forget()
		if len(part.Terms) == 0 && len(part.Rows) == 0 {
			c.Emit(asm.Mov.Imm(value, int32(inMemory(part.Const))))
		} else {
			checksums{c.code}.change(part)
			c.SkipIf(asm.JNE.Imm32(value, modulus, ""), func() { c.Emit(asm.Mov.Imm(value, 0)) })
		}
		c.Emit(asm.StoreMem(asm.R10, c.part(plan.Part(p)), value, asm.DWord))
	}
	if out.steps {
		c.fetch(value, checkWindow(sum.Check))
		c.save(slotOld, value)
	}
	c.saveOffset(slotCheckAt, c.reg.l4, l4Base+int32(sum.Check.Byte()))
	if sum.Check.Proto == field.UDP && !complete {
		c.completeSum(c.abort)
		c.save(slotWhole, value)
	}
	return out
}

// changeSum has the kernel change the checksum of layer 4.
func (c *tcRewrite) changeSum() {
	done := c.NewLabel()
	switch sum := c.sum; {
	case sum == nil:
	case c.complete:
		c.changeComplete(done)
		c.Bind(done)
		return
	default:
		if sum.Check.Proto == field.UDP {
			c.changeComplete(done)
		}
		for p, has := range sum.has {
			if !has {
				continue
			}
			flags := [...]int32{plan.Own: 0, plan.Pseudo: isPseudo, plan.PseudoIP6: isPseudo | sumsNoByte}[p]
			if sum.ZeroIsNone {
				flags |= onesForZero
			}
			c.About(sum.String())
			c.Emit(asm.LoadMem(asm.R4, asm.R10, c.part(plan.Part(p)), asm.DWord))
			c.SkipIf(asm.JEq.Imm(asm.R4, 0, ""), func() { c.replace(flags, sum.Check == field.OtherCheck) })
		}
		if sum.steps {
			c.keepOnes()
		}
	}
	if c.broken { // one that is offloaded comes out wrong
		c.About("wrong by one")
		c.Emit(asm.Mov.Imm(asm.R4, swapped(1, 2)))
		c.replace(isPseudo, false)
	}
	c.Bind(done)
}

// replace changes the checksum at slotCheckAt by the difference in R4. That of another
// protocol has a flag of its own.
func (c *tc) replace(flags int32, other bool) {
	arg := assembler.Imm(flags)
	if other {
		arg = assembler.Sum(c.content(slotZero), flags)
	}
	c.Call(asm.FnL4CsumReplace, assembler.Reg(c.reg.ctx), c.content(slotCheckAt), assembler.Imm(0), assembler.Reg(asm.R4), arg)
}

// keepOnes writes 0xffff over a checksum of 0 that was 0xffff. Both are one
// number, so what changed in one part was made up for in another: a checksum
// whose parts change by nothing together keeps its bytes, but calls that follow
// each other leave 0.
func (c *tc) keepOnes() {
	const ones, size = 0xffff, 2
	other := c.NewLabel()
	c.About("0xffff stays where the parts make up for each other")
	c.load(value, slotOld)
	c.Jump(other, asm.JNE.Imm(value, ones, ""))
	at := []assembler.Arg{assembler.Reg(c.reg.ctx), c.content(slotCheckAt), c.address(slotOld), assembler.Imm(size)}
	c.Call(asm.FnSkbLoadBytes, at...)
	c.Emit(asm.LoadMem(value, asm.R10, c.frameOffset(slotOld), asm.Half))
	c.Jump(other, asm.JNE.Imm(value, 0, ""))
	c.Emit(asm.StoreImm(asm.R10, c.frameOffset(slotOld), ones, asm.Half))
	c.Call(asm.FnSkbStoreBytes, append(at, assembler.Imm(0))...)
	c.Bind(other)
}

// bytesChange leaves in slotBytes what bytes will have changed by that no
// checksum in the packet makes up for.
func (c *tcRewrite) bytesChange(s plan.Step) {
	if bytes := uncovered(s, c.chain.Class.Odd); len(bytes.Terms) > 0 {
		c.uncovered = true
		c.About("bytes that no checksum covers")
		c.Forget()
		terms := memoryTerms(bytes.Terms, -1)
		start := unsigned(inMemory(bytes.Const), terms, 0)
		c.Emit(asm.Mov.Imm(value, int32(start)))
		sums := checksums{c.code}
		sums.fold(start+sums.addTerms(terms), 0xffff)
		c.save(slotBytes, value)
	}
	if c.sum == nil || !c.sum.ZeroIsNone {
		return
	}
	// What a UDP checksum covers counts too, if that is 0: then there is none that
	// makes up for it, and the kernel's helper leaves all alone.
	some := c.NewLabel()
	c.About("is there a checksum?")
	if !c.uncovered {
		c.saveImm(slotBytes, 0)
	}
	c.uncovered = true
	c.fetch(value, checkWindow(c.sum.Check))
	c.Jump(some, asm.JNE.Imm(value, 0, ""))
	for p, has := range c.sum.has {
		if has && plan.Part(p) != plan.Pseudo { // the header's checksum makes up for that
			c.Emit(asm.LoadMem(temp, asm.R10, c.part(plan.Part(p)), asm.DWord))
			c.increase(slotBytes, temp)
		}
	}
	c.Bind(some)
	c.Forget()
}

// newSums adds to slotBytes the checksums that have been recomputed; what they
// were has been taken away.
func (c *tc) newSums(sums []plan.Sum) {
	for _, s := range sums {
		if s.Op != plan.Adjust {
			c.fetch(value, checkWindow(s.Check))
			c.increase(slotBytes, value)
		}
	}
}

// uncovered is what bytes change by, from the network header on, without a
// checksum in the packet that makes up for it. Where a device has summed the
// packet up, its sum has to follow.
func uncovered(s plan.Step, odd bool) plan.Sum {
	var out plan.Sum
	for _, w := range s.Writes {
		if w.Header.Header().Layer < field.NetworkLayer || w.Header == field.ARP || w.Header.IsQuoted() {
			continue // no IP packet, or made up for by the checksums in the quote and the message's
		}
		mask := uint32(0)
		for _, f := range w.Fields {
			madeUp := func(ch plan.Change) bool { return ch.Field == f && (!ch.Pseudo || f.Proto == field.IP6) }
			if !slices.ContainsFunc(s.Sums, func(sum plan.Sum) bool {
				return sum.Op == plan.Adjust && slices.ContainsFunc(sum.Changes, madeUp)
			}) {
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
		w.Mask, w.Value = mask, w.Value&mask
		out.Terms = append(out.Terms, plan.Term{Window: w.Window, Factor: factor})
		if w.Made() {
			out.Terms = append(out.Terms, plan.Term{Window: w.Window, Source: w.Source, Factor: -factor})
		} else {
			out.Const = (out.Const + uint32(uint64(w.Value)*uint64(factor)%modulus)) % modulus
		}
	}
	for _, sum := range s.Sums {
		if sum.Op != plan.Adjust {
			out.Terms = append(out.Terms, plan.Term{Window: checkWindow(sum.Check), Factor: 1})
		}
	}
	return out
}
