package bpf

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
	"repacket/internal/rule"
)

// actions emits what is done with a packet on which a rule acts.
type actions struct{ *code }

// rewriter is what a hook adds to a rewrite.
type rewriter interface {
	// limit lets the packet pass untouched if the limit is reached.
	limit()
	// prepare works out what is not possible after the first store, and returns
	// the checksums that are changed in place. Nothing in it fails.
	prepare(s plan.Step) []adjustment
	// finish stands behind the stores.
	finish(s plan.Step)
}

// rewrite carries a step out and counts the packet.
func (c actions) rewrite(s plan.Step, r rewriter) {
	c.frame.Phase = computing
	if s.Track == nil {
		r.limit()
	}
	values(c).compute(s)
	if s.Track != nil { // a packet that is skipped does not count for the limit
		flows(c).track(s)
		r.limit()
	}
	c.frame.Phase = summing
	recompute(c).fix(s.Sums)

	// The packet is as it arrived, and will be rewritten: its record begins here, and
	// ends below. All ways from here lead there but those to c.abort, for want of
	// memory or because the verifier has to be shown a bounds check again.
	c.frame.Phase = preparing
	recorder(c).begin()
	adjusted := r.prepare(s)
	c.frame.Phase = storing
	for _, sum := range adjusted {
		checksums(c).adjust(sum)
	}
	recompute(c).storeFixed(s.Sums)
	for _, e := range s.Exchanges {
		c.About(e.String())
		c.fetch(value, e.A)
		c.fetch(temp, e.B)
		c.store(e.A, temp)
		c.store(e.B, value)
	}
	for _, w := range s.Writes {
		if !c.inTag(w.Window) {
			c.write(w)
		}
	}
	r.finish(s)

	// The packet is as it leaves: its record ends here, with the number of the rule.
	c.frame.Phase = counting
	c.counted(s)
}

// write stores a constant, or what has been worked out; other bits in the
// same bytes stay.
func (c actions) write(w plan.Write) {
	c.About(w.String())
	base, off := c.at(w.Window)
	c.writeTo(w, base, off)
}

// writeTo is write for another place.
func (c actions) writeTo(w plan.Write, base asm.Register, off int16) {
	size, bits := sizes[w.Size], swapped(w.Value, w.Size)
	others := swapped(fullMask(w.Size)&^w.Mask, w.Size)
	switch {
	case w.Made():
		c.loadMade(w.Window, w.Source)
		if !w.Full() {
			c.Emit(asm.LoadMem(value, base, off, size), asm.And.Imm32(value, others), asm.Or.Reg(temp, value))
		}
		c.Emit(asm.StoreMem(base, off, temp, size))
	case w.Full():
		c.Emit(asm.StoreImm(base, off, int64(bits), size))
	default:
		c.Emit(asm.LoadMem(value, base, off, size))
		if w.Value != w.Mask {
			c.Emit(asm.And.Imm32(value, others))
		}
		if w.Value != 0 {
			c.Emit(asm.Or.Imm32(value, bits))
		}
		c.Emit(asm.StoreMem(base, off, value, size))
	}
}

// counted leaves the number of the rule and the verdict for the epilogue, and
// goes there.
func (c actions) counted(s plan.Step) {
	c.About("count")
	if s.Lookup == nil || s.Lookup.Rule == 0 {
		c.Emit(asm.StoreImm(asm.R10, c.frameOffset(slotRule), int64(s.Rule), asm.Word))
	} else {
		tables(c).column(s.Lookup.Rule, 4)
		c.Emit(asm.StoreMem(asm.R10, c.frameOffset(slotRule), temp, asm.Word))
	}
	recorder(c).end()
	if c.use.verdicts {
		c.About(s.Verdict.String())
		c.Emit(asm.StoreImm(asm.R10, c.frameOffset(slotVerdict), int64(c.abi.verdicts[s.Verdict]), asm.Word))
		switch s.Verdict {
		case rule.ToInterface:
			c.saveImm(slotRedirect, int64(c.opt.Redirect[s.Redirect]))
		case rule.Reflect:
			c.hook.reflect()
		}
	}
	c.Goto(c.count)
}
