package bpf

import (
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// tc emits for tc. There a packet's checksum of layer 4 is complete, or
// offloaded (CHECKSUM_PARTIAL: it holds the pseudo-header's sum alone, and the
// stack or the device makes it later), or the device has summed the packet up
// (CHECKSUM_COMPLETE). The kernel's helpers know which, so they carry out what
// changes in a checksum of layer 4. They take the verifier's knowledge of the
// packet away, so they come last: what they need is worked out before, and lies
// on the stack.
type tc struct{ *code }

// Places in struct __sk_buff.
const (
	skbLength   = 0
	skbTagged   = 20 // vlan_present
	skbTag      = 24 // vlan_tci, in the host's order
	skbTagType  = 28 // vlan_proto, in network order
	skbIfindex  = 40
	skbSegments = 164 // gso_segs
	skbSegment  = 176 // gso_size
)

// pulled is how many bytes are brought into one buffer. Headers that reach
// further are not found.
const pulled = 256

func (c *tc) loadContext(dst asm.Register, at int16) {
	c.Emit(asm.LoadMem(dst, c.reg.ctx, at, asm.Word))
}

func (c *tc) length() { c.loadContext(value, skbLength) }

// increase adds a register to a slot. It takes R1.
func (c *tc) increase(s slot, by asm.Register) {
	c.load(asm.R1, s)
	c.Emit(asm.Add.Reg(asm.R1, by))
	c.save(s, asm.R1)
}

func (c *tc) reflect() {
	c.loadContext(value, skbIfindex)
	c.save(slotRedirect, value)
}

func (c *tc) linearize() {
	linear := c.NewLabel()
	c.loadContext(temp, skbLength)
	c.Emit(asm.Mov.Reg(value, c.end()), asm.Sub.Reg(value, c.reg.l3))
	c.Jump(linear, asm.JGE.Reg(value, temp, ""))
	c.Jump(linear, asm.JGE.Imm(value, pulled, ""))
	c.Emit(asm.Mov.Reg(asm.R2, temp))
	c.SkipIf(asm.JLE.Imm(asm.R2, pulled, ""), func() { c.Emit(asm.Mov.Imm(asm.R2, pulled)) })
	c.Call(asm.FnSkbPullData, assembler.Reg(c.reg.ctx), assembler.Reg(asm.R2))
	c.saveImm(slotSegments, 1)
	c.Jump(c.skip(ReasonHeaders), asm.JNE.Imm(asm.R0, 0, ""))
	c.ends()
	c.Bind(linear)
}

// measure counts a packet with the tag that may be offloaded, and as many as it
// stands for.
func (c *tc) measure() asm.Instruction {
	c.loadContext(value, skbTagged)
	c.loadContext(packetLength, skbLength)                          // the context goes
	c.Emit(asm.LSh.Imm(value, 2), asm.Add.Reg(packetLength, value)) // a tag takes four bytes
	c.load(segments, slotSegments)
	return asm.Add.Reg(asm.R1, segments)
}

func (c *tc) act(s plan.Step) {
	c.frame.Phase = examining
	c.Forget()
	c.segments()
	check, structural := named(s)
	if structural {
		c.About("segmentation offload")
		c.loadContext(value, skbSegment)
		c.Jump(c.skip(ReasonSegments), asm.JNE.Imm(value, 0, ""))
	}
	if !c.typeStays(s) {
		c.Goto(c.skip(ReasonTag))
		return
	}
	if check == nil {
		actions{c.code}.rewrite(s, &tcRewrite{tc: c})
		return
	}
	// Where the checksum that the rule names is offloaded nothing here completes it, so
	// neither a value nor the right one can be had; bad, it is made to come out wrong.
	// That of a tunnel is complete, and follows, where one inside is offloaded: what it
	// sums is not to be had.
	partial, complete := c.NewLabel(), c.NewLabel()
	i := slices.IndexFunc(s.Sums, func(sum plan.Sum) bool { return sum.Check == check })
	exact, broken := i < 0, i >= 0 && s.Sums[i].Op == plan.Bad
	if exact && check.Proto == field.UDP {
		c.completeSum(c.pass)
		c.Jump(complete, asm.JNE.Imm(value, 0, ""))
	}
	c.tellPartial(s, check, partial)
	c.Bind(complete)
	c.Forget()
	actions{c.code}.rewrite(s, &tcRewrite{tc: c, check: check})
	c.frame.Phase = examining
	c.Bind(partial)
	c.Forget()
	tunnel := !exact && !broken && check.Proto == field.UDP
	if tunnel {
		c.completeSum(c.pass)
		c.Jump(c.skip(ReasonPartial), asm.JEq.Imm(value, 0, ""))
	} else if !broken {
		c.Goto(c.skip(ReasonPartial))
		return
	}
	s.Sums = slices.Clone(s.Sums)
	s.Sums[i].Op = plan.Adjust
	actions{c.code}.rewrite(s, &tcRewrite{tc: c, broken: broken, complete: tunnel})
}

// named is the checksum of layer 4 that a step's rule names, or nil, and whether
// the rule sets a field that shapes segmentation.
func named(s plan.Step) (check *field.Field, structural bool) {
	see := func(f *field.Field) {
		structural = structural || f.Structural
		if check == nil && f.Kind == field.Checksum && f.Proto != field.IP {
			check = f
		}
	}
	for _, w := range s.Writes {
		for _, f := range w.Fields {
			see(f)
		}
	}
	for _, sum := range s.Sums {
		if sum.Op != plan.Adjust {
			see(sum.Check)
		}
	}
	return check, structural
}

// tellPartial jumps to partial if the checksum of layer 4 is offloaded: the
// kernel then ignores a change that is not the pseudo-header's.
func (c *tc) tellPartial(s plan.Step, check *field.Field, partial assembler.Label) {
	const size = 2
	c.About("is " + check.Name + " partial?")
	c.saveOffset(slotCheckAt, c.reg.l4, l4Base+int32(check.Byte()))
	c.remember()
	c.fetch(value, checkWindow(check))
	c.save(slotTried, value)
	c.Call(asm.FnL4CsumReplace, assembler.Reg(c.reg.ctx), c.content(slotCheckAt), assembler.Imm(0), assembler.Imm(1), assembler.Imm(size))
	c.relocate(s, c.pass)
	c.fetch(value, checkWindow(check))
	c.load(temp, slotTried)
	c.Jump(partial, asm.JEq.Reg(value, temp, ""))
	c.Emit(asm.Mov.Reg(value, temp))
	c.store(checkWindow(check), value)
}

// remember leaves on the stack where the headers are.
func (c *tc) remember() {
	c.saveOffset(slotL4, c.reg.l4, l4Base)
	c.saveOffset(slotL3Base, c.reg.l3, 0)
}

// relocate finds the headers again behind a helper that may have moved them. They
// are where they were, which the verifier has to be shown.
func (c *tc) relocate(s plan.Step, short assembler.Label) {
	c.ends()
	switch {
	case c.plan.Link == field.RawIP:
		c.Emit(asm.Add.Imm(c.reg.l3, -ethLen))
	case c.chain.OnLink(): // so that what is in front of l3 can be reached
		c.Emit(asm.Add.Imm(c.reg.l3, int32(tagLen*c.tagsInBytes())))
	default:
		c.load(value, slotL3Base)
		c.Emit(asm.And.Imm(value, 0xf), asm.Add.Reg(c.reg.l3, value)) // two tags at most
	}
	network := ipLen // what the step looks at
	if slices.ContainsFunc(s.Windows(), func(w plan.Window) bool { return w.Header == field.IP6 }) ||
		slices.ContainsFunc(s.Sums, func(sum plan.Sum) bool { return sum.L3 == field.IP6 }) {
		network = ip6Len
	}
	c.guard(c.reg.l3, ethLen+network, short)
	c.load(value, slotL4)
	c.Emit(asm.And.Imm(value, 0x7fff))
	c.loadContext(c.reg.l4, c.abi.data)
	c.Emit(asm.Add.Reg(c.reg.l4, value), asm.Add.Imm(c.reg.l4, -l4Base))
	c.guard(c.reg.l4, l4Base+c.chain.Class.L4.Header().Fixed, short)
	if c.chain.Class.MSS {
		c.load(temp, slotMSSAt)
		c.loadMSS(short)
	}
}

// tcRewrite is a rewrite at tc.
type tcRewrite struct {
	*tc
	// check is the checksum of layer 4 that the rule names, or nil; broken: one that
	// is offloaded is to come out wrong; complete: it is known not to be offloaded.
	check            *field.Field
	broken, complete bool
	// sum is the one of layer 4 that a helper changes, or nil.
	sum *partedSum
	// uncovered: in slotBytes is what bytes change by that no checksum covers.
	uncovered bool
}

// limit is for packets that stand for several: one that would go beyond the limit
// is skipped, and gives back what it took. It is counted so that whoever waits for
// the last packets sees why they do not come.
func (c *tcRewrite) limit() {
	if c.opt.Limit == 0 {
		return
	}
	const limit, count = asm.R3, asm.R4
	within := c.NewLabel()
	c.About("limit")
	c.Emit(asm.LoadImm(limit, int64(c.opt.Limit), asm.DWord), asm.LoadMapValue(value, c.opt.Tickets, 0))
	c.load(count, slotSegments)
	c.Emit(asm.LoadMem(temp, value, 0, asm.DWord))
	c.Jump(c.pass, asm.JGE.Reg(temp, limit, ""))
	c.Emit(asm.Add.Reg(temp, count))
	c.Jump(c.skip(ReasonLimit), asm.JGT.Reg(temp, limit, ""))
	c.Emit(asm.Mov.Reg(temp, count), assembler.FetchAdd(value, temp), asm.Add.Reg(temp, count))
	c.Jump(within, asm.JLE.Reg(temp, limit, ""))
	c.Emit(asm.Neg.Imm(count, 0), assembler.FetchAdd(value, count))
	c.Goto(c.skip(ReasonLimit))
	c.Bind(within)
}

func (c *tcRewrite) prepare(s plan.Step) (inPlace []adjustment) {
	for _, sum := range s.Sums {
		switch {
		case sum.Op != plan.Adjust:
		case sum.Check.Proto == field.IP || sum.Check.Proto.IsQuoted():
			inPlace = append(inPlace, adjustment{Sum: sum})
		default: // no packet has two
			c.sum = c.partsOf(sum, c.complete)
		}
	}
	c.bytesChange(s)
	return inPlace
}

func (c *tcRewrite) finish(s plan.Step) {
	last := slices.ContainsFunc(s.Sums, func(sum plan.Sum) bool { return sum.Last })
	if last { // the header may reach over the checksum that is changed now
		c.remember()
		c.changeSum()
		c.relocate(s, c.abort)
		recompute{c.code}.storeLast(s.Sums)
		c.newSums(s.Sums)
	} else {
		if c.uncovered {
			c.newSums(s.Sums)
		}
		c.changeSum()
	}
	if c.uncovered {
		c.About("bytes that no checksum covers")
		c.load(asm.R2, slotBytes)
		c.SkipIf(asm.JEq.Imm(asm.R2, 0, ""), func() { // it does nothing, unless a device has summed the packet up
			c.Call(asm.FnCsumUpdate, assembler.Reg(c.reg.ctx), assembler.Reg(asm.R2))
		})
	}
	if c.check != nil {
		const reset = 3 // BPF_CSUM_LEVEL_RESET: what the device found right is not so any more
		c.About(c.check.Name)
		c.Call(asm.FnCsumLevel, assembler.Reg(c.reg.ctx), assembler.Imm(reset))
	}
	c.rewriteTag(s)
}
