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
	slotOld     = slotLength // a checksum before it was tried
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
	partial := c.newLabel()
	c.tellPartial(s, check, partial)
	c.finishTC(s, check, false)
	c.bind(partial, false)
	c.load = held{}
	adjusted, exact, broken := onPartial(s, check)
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

// segments leaves on the stack into how many packets the packet is cut. A raw
// socket or a guest does not say; then its length and that of its headers do.
func (c *compiler) segments() {
	c.about("segments")
	have, one := c.newLabel(), c.newLabel()
	c.emit(asm.LoadMem(value, c.reg.ctx, skbSegments, asm.Word))
	c.jumpTo(have, asm.JNE.Imm(value, 0, ""))
	if l3, l4 := c.class.L3, c.class.L4; l3 == field.IP || l3 == field.IP6 {
		c.emit(asm.LoadMem(temp, c.reg.ctx, skbSegment, asm.Word))
		c.jumpTo(one, asm.JEq.Imm(temp, 0, ""))
		if l4 == field.TCP || l4 == field.UDP {
			c.headersByL4()
		} else {
			c.headersByL3(one)
		}
		c.emit(
			asm.LoadMem(temp, c.reg.ctx, skbSegment, asm.Word),
			asm.LoadMem(asm.R1, c.reg.ctx, skbLength, asm.Word),
			asm.Sub.Reg(asm.R1, value),
			asm.Add.Reg(asm.R1, temp),
			asm.Add.Imm(asm.R1, -1),
			asm.Div.Reg(asm.R1, temp),
			asm.Mov.Reg(value, asm.R1),
		)
		c.goTo(have)
	}
	c.bind(one, false)
	c.emit(asm.Mov.Imm(value, 1))
	c.bind(have, false)
	c.emit(asm.StoreMem(asm.R10, slotSegments, value, asm.DWord))
}

// headersByL4 leaves in value how long all headers are, from the layer-4 header.
func (c *compiler) headersByL4() {
	c.offset(value, c.reg.l4, l4Base)
	if c.class.L4 == field.UDP {
		c.emit(asm.Add.Imm(value, int32(field.UDP.Header().Fixed)))
		return
	}
	c.emit(
		asm.LoadMem(asm.R1, c.reg.l4, l4Base+lengthAt, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.Add.Reg(value, asm.R1),
	)
}

// headersByL3 is headersByL4 where no rule asks for layer 4, so nobody has found
// it. Only the packets of raw sockets and guests come here, so it may be slow;
// extension headers they do not cut up.
func (c *compiler) headersByL3(unknown label) {
	const udp = 17
	isUDP, done := c.newLabel(), c.newLabel()
	c.offset(value, c.reg.l3, ethLen)
	if c.class.L3 == field.IP {
		c.emit(
			asm.LoadMem(asm.R1, c.reg.l3, ethLen, asm.Byte),
			asm.And.Imm(asm.R1, 0xf),
			asm.LSh.Imm(asm.R1, 2),
			asm.Add.Reg(value, asm.R1),
			asm.LoadMem(temp, c.reg.l3, protocolAt, asm.Byte),
		)
	} else {
		c.emit(asm.Add.Imm(value, ip6Len), asm.LoadMem(temp, c.reg.l3, ethLen+6, asm.Byte))
	}
	c.jumpTo(isUDP, asm.JEq.Imm(temp, udp, ""))
	c.emit(
		asm.StoreMem(asm.R10, slotSegments, value, asm.DWord),
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.Mov.Reg(asm.R2, value),
		asm.Add.Imm(asm.R2, lengthAt),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, slotTag),
		asm.Mov.Imm(asm.R4, 1),
		asm.FnSkbLoadBytes.Call(),
	)
	c.jumpTo(unknown, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(
		asm.LoadMem(asm.R1, asm.R10, slotTag, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.LoadMem(value, asm.R10, slotSegments, asm.DWord),
		asm.Add.Reg(value, asm.R1),
	)
	c.goTo(done)
	c.bind(isUDP, false)
	c.emit(asm.Add.Imm(value, int32(field.UDP.Header().Fixed)))
	c.bind(done, false)
}

// ticketTC is ticket for packets that stand for several: one that would go
// beyond the limit is left to pass, and gives back what it took.
func (c *compiler) ticketTC() {
	if c.opt.Limit == 0 {
		return
	}
	const limit, count = asm.R3, asm.R4
	within := c.newLabel()
	c.about("limit")
	c.emit(
		asm.LoadImm(limit, int64(c.opt.Limit), asm.DWord),
		asm.LoadMapValue(value, c.opt.Tickets, 0),
		asm.LoadMem(count, asm.R10, slotSegments, asm.DWord),
		asm.LoadMem(temp, value, 0, asm.DWord),
		asm.Add.Reg(temp, count),
	)
	c.jumpTo(c.pass, asm.JGT.Reg(temp, limit, ""))
	c.emit(asm.Mov.Reg(temp, count), fetchAdd(value, temp), asm.Add.Reg(temp, count))
	c.jumpTo(within, asm.JLE.Reg(temp, limit, ""))
	c.emit(asm.Neg.Imm(count, 0), fetchAdd(value, count))
	c.goTo(c.pass)
	c.bind(within, false)
}

// finishTC rewrites and counts. check is the checksum of layer 4 that the rule
// names, or nil; broken: one that is yet to be made is to come out wrong.
func (c *compiler) finishTC(s plan.Step, check *field.Field, broken bool) {
	c.ticketTC()
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

// madeSum is a sum of layer 4 whose parts lie on the stack.
type madeSum struct {
	plan.Sum
	has [3]bool
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
		c.offset(value, c.reg.l4, l4Base+int32(sum.Check.Byte()))
		c.emit(asm.StoreMem(asm.R10, slotCheckAt, value, asm.DWord))
		return made
	}
	return nil
}

// partChange leaves in value what a part changes by, 0 if by nothing.
func (c *compiler) partChange(part plan.Sum) {
	c.load = held{}
	if len(part.Terms) == 0 {
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
	if broken {
		c.wrongByOne()
	}
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
		out.Const = (out.Const + uint32(uint64(w.Value&mask)*uint64(factor)%modulus)) % modulus
		w.Mask = mask
		out.Terms = append(out.Terms, plan.Term{Window: w.Window, Factor: factor})
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

// tellPartial jumps to partial if the checksum of layer 4 is yet to be made: the
// kernel then ignores a change that is not the pseudo-header's.
func (c *compiler) tellPartial(s plan.Step, check *field.Field, partial label) {
	c.about("is " + check.Name + " made later?")
	const size = 2
	at := plan.Sum{Check: check}
	c.offset(value, c.reg.l4, l4Base+int32(check.Byte()))
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
	c.offset(value, c.reg.l4, l4Base)
	c.emit(asm.StoreMem(asm.R10, slotL4, value, asm.DWord))
	c.offset(value, c.reg.l3, 0)
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

// beside tells whether a window lies beside the packet: the first tag and its
// type, where the kernel has taken them out of it.
func (c *compiler) beside(w plan.Window) bool {
	return c.aside && (w.Header == field.VLAN && w.Off < 2 || w.Header == field.Eth && w.Off >= ethTypeAt)
}

// loadBeside loads such a window as if it were in the packet.
func (c *compiler) loadBeside(w plan.Window) {
	if w.Header == field.Eth {
		c.emit(asm.LoadMem(value, c.reg.ctx, skbTagType, asm.Word))
		return
	}
	c.emit(asm.LoadMem(value, c.reg.ctx, skbTag, asm.Word))
	switch {
	case w.Size == 2:
		c.emit(asm.HostTo(asm.BE, value, asm.Half))
	case w.Off == 0:
		c.emit(asm.RSh.Imm(value, 8))
	default:
		c.emit(asm.And.Imm(value, 0xff))
	}
}

// typeStays tells whether the type of a tag beside the packet stays one that
// the kernel keeps there.
func (c *compiler) typeStays(s plan.Step) bool {
	for _, w := range s.Writes {
		if c.beside(w.Window) && w.Header == field.Eth && w.Value != typeTag && w.Value != typeService {
			return false
		}
	}
	return true
}

// tagBeside puts a tag beside the packet in the place of the one that is there.
func (c *compiler) tagBeside(s plan.Step) {
	var mask, val uint32
	newType := int32(0)
	for _, w := range s.Writes {
		switch {
		case !c.beside(w.Window):
		case w.Header == field.Eth:
			newType = swapped(w.Value, 2)
		default:
			shift := 8 * (2 - w.Off - w.Size)
			mask |= w.Mask << shift
			val |= w.Value << shift
		}
	}
	if mask == 0 && newType == 0 {
		return
	}
	c.about("vlan tag")
	c.emit(
		asm.LoadMem(value, c.reg.ctx, skbTag, asm.Word),
		asm.And.Imm(value, int32(0xffff&^mask)),
		asm.Or.Imm(value, int32(val)),
		asm.StoreMem(asm.R10, slotTag, value, asm.DWord),
	)
	if newType != 0 {
		c.emit(storeLong(slotTagType, int64(newType)))
	} else {
		c.emit(
			asm.LoadMem(value, c.reg.ctx, skbTagType, asm.Word),
			asm.StoreMem(asm.R10, slotTagType, value, asm.DWord),
		)
	}
	lost := c.newLabel()
	c.emit(asm.Mov.Reg(asm.R1, c.reg.ctx), asm.FnSkbVlanPop.Call())
	c.jumpTo(c.pass, asm.JNE.Imm(asm.R0, 0, ""))
	c.emit(
		asm.Mov.Reg(asm.R1, c.reg.ctx),
		asm.LoadMem(asm.R2, asm.R10, slotTagType, asm.DWord),
		asm.LoadMem(asm.R3, asm.R10, slotTag, asm.DWord),
		asm.FnSkbVlanPush.Call(),
	)
	c.jumpTo(lost, asm.JNE.Imm(asm.R0, 0, ""))
	c.later(func() {
		// There is no memory for the tag, and without it the packet is another's.
		c.bind(lost, false)
		c.about("no memory")
		c.emit(asm.Mov.Imm(asm.R0, c.to.verdicts[1]))
		c.exit()
	})
}
