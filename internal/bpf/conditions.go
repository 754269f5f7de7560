package bpf

import (
	"math/bits"
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/field"
	"repacket/internal/plan"
)

// conditions emits what decides whether a step acts.
type conditions struct{ *code }

// branch jumps to l if the condition's outcome is when, and falls through if
// it is not; so it does if there is no condition.
func (c conditions) branch(cond plan.Cond, l assembler.Label, when bool) {
	switch cond := cond.(type) {
	case plan.And:
		c.list(cond, l, when, false)
	case plan.Or:
		c.list(cond, l, when, true)
	case plan.Test:
		c.test(cond, l, when)
	case plan.Chance:
		c.chance(cond, l, when)
	case plan.WholeDatagram: // the plan has these at the top alone, where what fails jumps
		recompute(c).wholeDatagram(cond, l)
	case plan.WholeHeader:
		recompute(c).wholeHeader(cond, l)
	}
}

// list is an "and", decided by the first part that is false, or an "or",
// decided by the first that is true.
func (c conditions) list(parts []plan.Cond, l assembler.Label, when, decides bool) {
	if when == decides {
		for _, p := range parts {
			c.branch(p, l, when)
		}
		return
	}
	through := c.NewLabel()
	for _, p := range parts[:len(parts)-1] {
		c.branch(p, through, decides)
	}
	c.branch(parts[len(parts)-1], l, when)
	c.Bind(through)
}

// chance jumps to l if the outcome is when.
func (c conditions) chance(x plan.Chance, l assembler.Label, when bool) {
	c.About("if " + x.String())
	values(c).draw(x.Index)
	op := asm.JLT
	if when == x.Not {
		op = asm.JGE
	}
	c.Jump(l, op.Imm32(value, int32(x.Below), ""))
}

// longestList is how many single values are compared one after the other. More
// are searched by halves, which is faster; and the verifier gives up behind
// 8,192 jumps in a row, with EFAULT.
const longestList = 8

// test jumps to l if the test's outcome is when.
func (c conditions) test(t plan.Test, l assembler.Label, when bool) {
	c.About("if " + t.String())
	t = narrowed(t)
	when = when != t.Not
	through := c.NewLabel()
	if set, ok := anyBit(t); ok { // a single instruction
		raw := t.Window
		raw.Mask = fullMask(raw.Size)
		c.loadWindow(raw, false)
		jump := asm.JSet.Imm32(value, swapped(t.Mask, t.Size), "")
		if when == set {
			c.Jump(l, jump)
			return
		}
		c.Jump(through, jump)
		c.Goto(l)
		c.Bind(through)
		return
	}
	if len(t.In) > longestList || slices.ContainsFunc(t.In, func(r field.Range) bool { return r.Lo != r.Hi }) {
		c.loadWindow(t.Window, true)
		in, out := l, through
		if !when {
			in, out = through, l
		}
		c.search(t.In, 0, uint64(t.Mask), in, out)
		c.Bind(through)
		return
	}
	c.loadWindow(t.Window, false)
	last := len(t.In) - 1
	for i, r := range t.In {
		v := swapped(uint32(r.Lo.Lo), t.Size)
		switch {
		case when:
			c.Jump(l, asm.JEq.Imm32(value, v, ""))
		case i < last:
			c.Jump(through, asm.JEq.Imm32(value, v, ""))
		default:
			c.Jump(l, asm.JNE.Imm32(value, v, ""))
		}
	}
	c.Bind(through)
}

// narrowed turns a range that is a prefix into a test of its bits for one
// value, with the shortest load that has them.
func narrowed(t plan.Test) plan.Test {
	if len(t.In) != 1 || t.In[0].Lo == t.In[0].Hi {
		return t
	}
	lo, hi := uint32(t.In[0].Lo.Lo), uint32(t.In[0].Hi.Lo)
	rest := lo ^ hi | (t.Mask&-t.Mask - 1) // the bits that do not matter
	if rest&(rest+1) != 0 || lo&rest != 0 {
		return t
	}
	t.In, t.Mask = field.One(field.V(uint64(lo))), t.Mask&^rest
	for half := t.Size / 2; half > 0 && t.Mask&fullMask(half) == 0; half = t.Size / 2 {
		t.Size = half
		t.Mask >>= 8 * half
		t.In = field.One(field.V(t.In[0].Lo.Lo >> (8 * half)))
	}
	return t
}

// anyBit reports whether a test asks no more than whether any bit of its mask
// is set (set true) or none (set false).
func anyBit(t plan.Test) (set, ok bool) {
	v, single := t.In.Single()
	if !single || t.Full() {
		return false, false
	}
	return !v.IsZero(), v.IsZero() || bits.OnesCount32(t.Mask) == 1
}

// search jumps to in if value, known to be from lo to hi, is in s, else to out.
// It looks by halves: at most log2 of the ranges are looked at, and no
// comparison is made whose outcome is known.
func (c conditions) search(s field.Set, lo, hi uint64, in, out assembler.Label) {
	if len(s) == 0 {
		c.Goto(out)
		return
	}
	mid := len(s) / 2
	r := s[mid]
	first, last := int32(r.Lo.Lo), int32(r.Hi.Lo)
	switch {
	case len(s) > 1:
		above := c.NewLabel()
		if r.Hi.Lo < hi {
			c.Jump(above, asm.JGT.Imm32(value, last, ""))
		}
		c.Jump(in, asm.JGE.Imm32(value, first, ""))
		c.search(s[:mid], lo, r.Lo.Lo-1, in, out)
		if r.Hi.Lo < hi {
			c.Bind(above)
			c.search(s[mid+1:], r.Hi.Lo+1, hi, in, out)
		}
		return
	case r.Lo == r.Hi && lo != hi:
		c.Jump(out, asm.JNE.Imm32(value, first, ""))
	default:
		if r.Lo.Lo > lo {
			c.Jump(out, asm.JLT.Imm32(value, first, ""))
		}
		if r.Hi.Lo < hi {
			c.Jump(out, asm.JGT.Imm32(value, last, ""))
		}
	}
	c.Goto(in)
}
