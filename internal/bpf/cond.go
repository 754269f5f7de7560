package bpf

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// unless jumps to no if the condition does not hold, and falls through if it does.
func (c *compiler) unless(cond plan.Cond, no label) { c.branch(cond, no, false) }

// branch jumps to l if the condition's outcome is when, and falls through if
// it is not.
func (c *compiler) branch(cond plan.Cond, l label, when bool) {
	switch cond := cond.(type) {
	case plan.And:
		c.list(cond, l, when, false)
	case plan.Or:
		c.list(cond, l, when, true)
	case plan.Test:
		c.test(cond, l, when)
	case plan.Chance:
		c.chance(cond, l, when)
	case plan.WholeDatagram:
		c.inverted(l, when, func(no label) { c.wholeDatagram(cond, no) })
	case plan.WholeHeader:
		c.inverted(l, when, func(no label) { c.wholeHeader(cond, no) })
	}
}

// list is an "and", decided by the first part that is false, or an "or",
// decided by the first that is true.
func (c *compiler) list(parts []plan.Cond, l label, when, decides bool) {
	if when == decides {
		for _, p := range parts {
			c.branch(p, l, when)
		}
		return
	}
	through := c.newLabel()
	for _, p := range parts[:len(parts)-1] {
		c.branch(p, through, decides)
	}
	c.branch(parts[len(parts)-1], l, when)
	c.bind(through, false)
}

// inverted serves conditions that only know how to jump when they fail.
func (c *compiler) inverted(l label, when bool, failTo func(label)) {
	if !when {
		failTo(l)
		return
	}
	no := c.newLabel()
	failTo(no)
	c.goTo(l)
	c.bind(no, false)
}

// test jumps to l if the test's outcome is when.
func (c *compiler) test(t plan.Test, l label, when bool) {
	c.about("if " + t.String())
	t = narrowed(t)
	when = when != t.Not
	if bit, ok := oneBit(t); ok {
		c.bitTest(t, l, when, bit)
		return
	}
	if !onlySingles(t.In) || len(t.In) > longestList {
		c.ranges(t, l, when)
		return
	}
	c.loadWindow(t.Window, false)
	last := len(t.In) - 1
	through := c.newLabel()
	for i, r := range t.In {
		v := swapped(uint32(r.Lo.Lo), t.Size)
		switch {
		case when:
			c.jumpTo(l, asm.JEq.Imm32(value, v, ""))
		case i < last:
			c.jumpTo(through, asm.JEq.Imm32(value, v, ""))
		default:
			c.jumpTo(l, asm.JNE.Imm32(value, v, ""))
		}
	}
	c.bind(through, false)
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

// longestList is how many single values are compared one after the other. More
// are searched by halves, which is faster; and the verifier gives up behind
// 8,192 jumps in a row, with EFAULT.
const longestList = 8

func onlySingles(s field.Set) bool {
	for _, r := range s {
		if r.Lo != r.Hi {
			return false
		}
	}
	return true
}

// oneBit tells whether a test asks no more than whether any bit of its mask
// is set (set true) or none (set false), which is a single instruction.
func oneBit(t plan.Test) (set, ok bool) {
	v, single := t.In.Single()
	if !single || t.Full() {
		return false, false
	}
	if v.IsZero() {
		return false, true
	}
	return true, bits.OnesCount32(t.Mask) == 1
}

func (c *compiler) bitTest(t plan.Test, l label, when, set bool) {
	raw := t.Window
	raw.Mask = fullMask(raw.Size)
	c.loadWindow(raw, false)
	mask := swapped(t.Mask, t.Size)
	if when == set {
		c.jumpTo(l, asm.JSet.Imm32(value, mask, ""))
		return
	}
	through := c.newLabel()
	c.jumpTo(through, asm.JSet.Imm32(value, mask, ""))
	c.goTo(l)
	c.bind(through, false)
}

func fullMask(size int) uint32 { return uint32(uint64(1)<<(8*size) - 1) }

// loadWindow brings a window into value, in memory order or in host order,
// masked; it does nothing if value holds it already.
func (c *compiler) loadWindow(w plan.Window, host bool) {
	if w.Size == 1 {
		host = false // a byte has no order
	}
	want := held{win: w, host: host, masked: !w.Full()}
	if c.load == want {
		return
	}
	if c.beside(w) {
		c.loadBeside(w)
	} else {
		base, off := c.at(w)
		c.emit(asm.LoadMem(value, base, off, sizes[w.Size]))
	}
	if host {
		c.emit(asm.HostTo(asm.BE, value, sizes[w.Size]))
	}
	if !w.Full() {
		mask := int32(w.Mask)
		if !host {
			mask = swapped(w.Mask, w.Size)
		}
		c.emit(asm.And.Imm32(value, mask))
	}
	if !c.dead {
		c.load = want
	}
}

// ranges searches the set by halves: at most log2 of its ranges are looked
// at, and no comparison is made whose outcome is known.
func (c *compiler) ranges(t plan.Test, l label, when bool) {
	c.loadWindow(t.Window, true)
	through := c.newLabel()
	in, out := l, through
	if !when {
		in, out = through, l
	}
	c.search(t.In, 0, uint64(t.Mask), in, out)
	c.bind(through, false)
}

// search jumps to in if value, known to be from lo to hi, is in s, else to out.
func (c *compiler) search(s field.Set, lo, hi uint64, in, out label) {
	if len(s) == 0 {
		c.goTo(out)
		return
	}
	mid := len(s) / 2
	r := s[mid]
	if len(s) == 1 {
		c.inside(r, lo, hi, in, out)
		return
	}
	above := c.newLabel()
	if r.Hi.Lo < hi {
		c.jumpTo(above, asm.JGT.Imm32(value, int32(r.Hi.Lo), ""))
	}
	c.jumpTo(in, asm.JGE.Imm32(value, int32(r.Lo.Lo), ""))
	c.search(s[:mid], lo, r.Lo.Lo-1, in, out)
	if r.Hi.Lo < hi {
		c.bind(above, false)
		c.search(s[mid+1:], r.Hi.Lo+1, hi, in, out)
	}
}

// inside decides for a single range.
func (c *compiler) inside(r field.Range, lo, hi uint64, in, out label) {
	if r.Lo == r.Hi && lo != hi {
		c.jumpTo(out, asm.JNE.Imm32(value, int32(r.Lo.Lo), ""))
		c.goTo(in)
		return
	}
	if r.Lo.Lo > lo {
		c.jumpTo(out, asm.JLT.Imm32(value, int32(r.Lo.Lo), ""))
	}
	if r.Hi.Lo < hi {
		c.jumpTo(out, asm.JGT.Imm32(value, int32(r.Hi.Lo), ""))
	}
	c.goTo(in)
}
