package bpf

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// Places on the stack, by their offset from the frame pointer.
const (
	slotRule     = -8  // the rule that acted, for the epilogue (32 bits)
	slotVerdict  = -4  // what becomes of the packet, where not all pass (32 bits)
	slotRedirect = -16 // the interface that it is sent to
)

// act rewrites, leaves the rule's number for the epilogue and goes there.
// Nothing from the first store on can fail.
func (c *compiler) act(s plan.Step) {
	if c.opt.Hook == TC {
		c.actTC(s)
		return
	}
	c.ticket()
	c.compute(s)
	done := c.newLabel()
	if only, ok := onlyChange(s); ok {
		s.Sums, c.compared = c.unchanged(only, done), true
	} else {
		c.load, c.compared = held{}, false
	}
	c.fixSums(s.Sums)
	for _, sum := range s.Sums {
		if sum.Op == plan.Adjust {
			c.adjust(sum)
		}
	}
	c.storeFixed(s.Sums)
	for _, e := range s.Exchanges {
		c.exchange(e)
	}
	for _, w := range s.Writes {
		c.write(w)
	}
	c.lastSums(s.Sums)
	c.bind(done, false)
	c.counted(s)
}

// counted leaves the rule's number and the verdict, and goes to the epilogue.
func (c *compiler) counted(s plan.Step) {
	c.about("count")
	c.ruleOf(s)
	c.verdict(s)
	c.goTo(c.count)
}

// verdict leaves what is to become of the packet for the epilogue.
func (c *compiler) verdict(s plan.Step) {
	if !c.use.verdicts {
		return
	}
	c.about(s.Verdict.String())
	c.emit(asm.StoreImm(asm.R10, slotVerdict, int64(c.to.verdicts[s.Verdict]), asm.Word))
	switch {
	case s.Verdict == rule.ToInterface:
		c.emit(storeLong(slotRedirect, int64(c.opt.Redirect[s.Redirect])))
	case s.Verdict == rule.Reflect && c.opt.Hook == TC:
		c.emit(
			asm.LoadMem(value, c.reg.ctx, skbIfindex, asm.Word),
			asm.StoreMem(asm.R10, slotRedirect, value, asm.DWord),
		)
	}
}

// exchange lets two windows change places.
func (c *compiler) exchange(e plan.Exchange) {
	c.about(e.String())
	base, a := c.at(e.A)
	_, b := c.at(e.B)
	size := sizes[e.A.Size]
	c.emit(
		asm.LoadMem(value, base, a, size),
		asm.LoadMem(temp, base, b, size),
		asm.StoreMem(base, a, temp, size),
		asm.StoreMem(base, b, value, size),
	)
}

// onlyChange is the checksum that changes, if the step writes one field whose
// old value is not known. UDP's is left out: what asking first would save, the
// question costs.
func onlyChange(s plan.Step) (plan.Sum, bool) {
	if len(s.Writes) != 1 || len(s.Sums) != 1 || len(s.Exchanges) > 0 || len(s.Computes) > 0 || s.Lookup != nil {
		return plan.Sum{}, false
	}
	sum := s.Sums[0]
	return sum, sum.Op == plan.Adjust && !sum.ZeroIsNone && len(sum.Terms) == 1 &&
		len(sum.Changes) == 1 && len(s.Writes[0].Fields) == 1
}

// unchanged jumps to done if the field has its new value already: then no byte
// changes. Behind that, the old value of a single bit is known too.
func (c *compiler) unchanged(s plan.Sum, done label) []plan.Sum {
	term, change := s.Terms[0], s.Changes[0]
	want := change.Value.Lo << change.Field.Shift()
	c.test(plan.Test{Window: term.Window, In: field.One(field.V(want)), Fields: []*field.Field{change.Field}}, done, true)
	if bits.OnesCount32(term.Mask) == 1 {
		if want == 0 {
			old := int64(term.Factor) * int64(term.Mask) % modulus
			s.Const = uint32((int64(s.Const) - old + modulus) % modulus)
		}
		s.Terms = nil
	}
	return []plan.Sum{s}
}

// ticket lets the packet pass untouched if the limit is reached. The tickets
// are exact over all CPUs; reading first keeps the CPUs off each other's
// cache line once the limit is reached.
func (c *compiler) ticket() {
	if c.opt.Limit == 0 {
		return
	}
	c.about("limit")
	const limit = asm.R3 // the packet's end is not needed any more
	c.load = held{}
	c.emit(
		asm.LoadImm(limit, int64(c.opt.Limit), asm.DWord),
		asm.LoadMapValue(value, c.opt.Tickets, 0),
		asm.LoadMem(temp, value, 0, asm.DWord),
	)
	c.jumpTo(c.pass, asm.JGE.Reg(temp, limit, ""))
	c.emit(asm.Mov.Imm(temp, 1), fetchAdd(value, temp))
	c.jumpTo(c.pass, asm.JGE.Reg(temp, limit, ""))
}

// fetchAdd adds src to the 64 bits at dst and leaves what was there in src. The
// library (v0.22.0) knows the operation but loses its BPF_FETCH flag when it
// encodes it: what was there would not be fetched.
func fetchAdd(dst, src asm.Register) asm.Instruction {
	const flagFetch = 1 // BPF_FETCH of linux/bpf.h
	ins := asm.FetchAdd.Mem(dst, src, asm.DWord, 0)
	ins.Constant = flagFetch
	return ins
}

// write stores a constant, or what has been worked out; bits beside it in the
// same bytes stay.
func (c *compiler) write(w plan.Write) {
	c.about(w.String())
	base, off := c.at(w.Window)
	size := sizes[w.Size]
	if w.Made() {
		c.loadMade(w.Window, w.Source)
		if !w.Full() {
			c.emit(
				asm.LoadMem(value, base, off, size),
				asm.And.Imm32(value, swapped(fullMask(w.Size)&^w.Mask, w.Size)),
				asm.Or.Reg(temp, value),
			)
		}
		c.emit(asm.StoreMem(base, off, temp, size))
		return
	}
	if w.Full() {
		c.emit(asm.StoreImm(base, off, int64(swapped(w.Value, w.Size)), size))
		return
	}
	c.emit(asm.LoadMem(value, base, off, size))
	if w.Value != w.Mask {
		c.emit(asm.And.Imm32(value, swapped(fullMask(w.Size)&^w.Mask, w.Size)))
	}
	if w.Value != 0 {
		c.emit(asm.Or.Imm32(value, swapped(w.Value, w.Size)))
	}
	c.emit(asm.StoreMem(base, off, value, size))
}
