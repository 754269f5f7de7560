package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// At tc a packet's checksum of layer 4 is complete, or its stack or device makes
// it later (partial: it holds the pseudo-header's sum alone), or the device has
// summed the packet up. The kernel's helpers know which, so they carry out what
// changes in a checksum of layer 4. They take the verifier's knowledge of the
// packet away, so they come last: what they need is worked out before, and lies
// on the stack.
//
// A program and the function that it calls have 512 bytes of stack together, so
// places are used again that served to find the headers.
const (
	slotParts   = -240       // what each part of the layer-4 sum changes by; the next is 8 lower
	slotCheckAt = slotOption // where the layer-4 checksum is, from the packet's start
	slotL3At    = slotEnd    // how far behind it l3 is
	slotBytes   = slotLeft   // what bytes change that no checksum covers
	slotTag     = slotNext   // the tag beside the packet as it will be
	slotTagType = slotSteps  // and its type
)

// Flags of bpf_l4_csum_replace.
const (
	isPseudo    = 0x10 // BPF_F_PSEUDO_HDR
	onesForZero = 0x20 // BPF_F_MARK_MANGLED_0: 0xffff where it comes to 0; 0 stays
	sumsNoByte  = 0x80 // BPF_F_IPV6: the packet's own bytes make up for it
)

// pulled is how many bytes are brought into one buffer. Headers that reach
// further are not found.
const pulled = 256

// pull brings the headers into one buffer, where they are not.
func (c *compiler) pull() {
	linear := c.newLabel()
	c.emit(
		asm.LoadMem(temp, c.reg.ctx, skbLength, asm.Word),
		asm.Mov.Reg(value, c.reg.end),
		asm.Sub.Reg(value, c.reg.l3),
	)
	c.jumpTo(linear, asm.JGE.Reg(value, temp, ""))
	c.jumpTo(linear, asm.JGE.Imm(value, pulled, ""))
	some := c.newLabel()
	c.emit(asm.Mov.Reg(asm.R2, temp))
	c.jumpTo(some, asm.JLE.Imm(asm.R2, pulled, ""))
	c.emit(asm.Mov.Imm(asm.R2, pulled))
	c.bind(some, false)
	c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx), asm.FnSkbPullData.Call(), storeLong(slotSegments, 1))
	c.jumpTo(c.alone(ReasonHeaders), asm.JNE.Imm(asm.R0, 0, ""))
	c.ends()
	c.bind(linear, false)
}

// alone is where packets go that are left alone for a reason.
func (c *compiler) alone(why Reason) label {
	if c.leftAlone == nil {
		c.leftAlone = map[Reason]label{}
	}
	l, ok := c.leftAlone[why]
	if !ok {
		l = c.newLabel()
		c.leftAlone[why] = l
		c.later(func() {
			c.bind(l, false)
			c.about("left alone")
			c.emit(asm.StoreImm(asm.R10, slotRule, int64(c.opt.Rules)+int64(why), asm.Word))
			if c.use.verdicts {
				c.emit(asm.StoreImm(asm.R10, slotVerdict, int64(c.to.verdicts[0]), asm.Word))
			}
			c.goTo(c.count)
		})
	}
	return l
}

// actTC is act at tc.
func (c *compiler) actTC(s plan.Step) {
	c.load, c.compared = held{}, false
	c.segments()
	if structural(s) {
		c.about("segmentation offload")
		c.emit(asm.LoadMem(value, c.reg.ctx, skbSegment, asm.Word))
		c.jumpTo(c.alone(ReasonSegments), asm.JNE.Imm(value, 0, ""))
	}
	if !c.typeStays(s) {
		c.goTo(c.alone(ReasonTag))
		return
	}
	check := namedLayer4(s)
	if check == nil {
		c.finishTC(s, nil, false)
		return
	}
	partial, whole := c.newLabel(), c.newLabel()
	adjusted, exact, broken := onPartial(s, check)
	if exact && tellsWhole(check) {
		c.wholeSum()
		c.jumpTo(whole, asm.JNE.Imm(value, 0, ""))
	}
	c.tellPartial(s, check, partial)
	c.bind(whole, false)
	c.load = held{}
	c.finishTC(s, check, false)
	c.bind(partial, false)
	c.load = held{}
	if exact {
		c.goTo(c.alone(ReasonPartial))
		return
	}
	c.finishTC(adjusted, nil, broken)
}

// structural tells whether a step says how a packet is cut up.
func structural(s plan.Step) bool {
	for _, w := range s.Writes {
		for _, f := range w.Fields {
			if f.Structural {
				return true
			}
		}
	}
	for _, sum := range s.Sums {
		if sum.Op != plan.Adjust && sum.Check.Structural {
			return true
		}
	}
	return false
}

// namedLayer4 is the checksum of layer 4 that a step's rule names, or nil.
func namedLayer4(s plan.Step) *field.Field {
	for _, w := range s.Writes {
		for _, f := range w.Fields {
			if f.Kind == field.Checksum && f.Proto != field.IP {
				return f
			}
		}
	}
	for _, sum := range s.Sums {
		if sum.Op != plan.Adjust && sum.Check.Proto != field.IP {
			return sum.Check
		}
	}
	return nil
}

// onPartial is what a step comes to where the checksum that it names is yet to
// be made: there is nothing to fix; broken, it is made to come out wrong; an
// exact value cannot be had.
func onPartial(s plan.Step, check *field.Field) (out plan.Step, exact, broken bool) {
	out, exact = s, true
	out.Sums = nil
	for _, sum := range s.Sums {
		if sum.Check == check {
			exact, broken = false, sum.Op == plan.Bad
			sum.Op = plan.Adjust
		}
		out.Sums = append(out.Sums, sum)
	}
	return out, exact, broken
}

// finishTC rewrites and counts. check is the checksum of layer 4 that the rule
// names, or nil; broken: one that is yet to be made is to come out wrong.
func (c *compiler) finishTC(s plan.Step, check *field.Field, broken bool) {
	c.ticketTC()
	c.compute(s)
	made := c.workOut(s)
	bytes := uncovered(s, c.class.Odd)
	others := len(bytes.Terms) > 0
	if others {
		c.bytesChange(bytes)
	}
	if made != nil && made.ZeroIsNone {
		c.noneChange(made, others)
		others = true
	}
	c.fixSums(s.Sums)
	for _, sum := range s.Sums {
		if sum.Op == plan.Adjust && sum.Check.Proto == field.IP {
			c.adjust(sum)
		}
	}
	c.storeFixed(s.Sums)
	for _, e := range s.Exchanges {
		c.exchange(e)
	}
	for _, w := range s.Writes {
		if !c.beside(w.Window) {
			c.write(w)
		}
	}
	last := headerLast(s.Sums)
	if others && !last {
		c.remadeChange(s.Sums)
	}
	if last {
		c.remember()
	}
	c.carryOut(made, broken)
	if last { // the header may reach over the checksum that has just been changed
		c.reload(s)
		c.lastSums(s.Sums)
		c.remadeChange(s.Sums)
	}
	if others {
		same := c.newLabel()
		c.about("bytes that no checksum covers")
		c.emit(asm.LoadMem(asm.R2, asm.R10, slotBytes, asm.DWord))
		c.jumpTo(same, asm.JEq.Imm(asm.R2, 0, ""))
		c.emit(
			asm.Mov.Reg(asm.R1, c.reg.ctx),
			asm.FnCsumUpdate.Call(), // nothing, unless a device has summed the packet up
		)
		c.bind(same, false)
	}
	if check != nil {
		const reset = 3 // BPF_CSUM_LEVEL_RESET: what the device found right is not so any more
		c.about(check.Name)
		c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx), asm.Mov.Imm(asm.R2, reset), asm.FnCsumLevel.Call())
	}
	c.tagBeside(s)
	c.counted(s)
}

// headerLast tells whether the header's checksum waits for all stores.
func headerLast(sums []plan.Sum) bool {
	for _, s := range sums {
		if s.Last {
			return true
		}
	}
	return false
}
