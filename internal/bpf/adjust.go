package bpf

import (
	"math/bits"
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
)

// adjust changes a checksum by what the writes change (RFC 1624). It reads
// the old values, so it stands before the writes.
func (c *compiler) adjust(s plan.Sum) {
	c.about(s.String())
	skip := c.newLabel()
	if s.ZeroIsNone {
		c.adjustUDP(s, skip)
	} else {
		c.adjustPlain(s, skip)
	}
	c.bind(skip, false)
	c.load = held{}
}

// adjustUDP works on the checksum itself instead of its complement: from a
// checksum that is not 0 the sum never comes out as 0, so what is 0 modulo
// 65535 is 0xffff, as RFC 768 wants it, and an unchanged sum keeps its bytes.
func (c *compiler) adjustUDP(s plan.Sum, skip label) {
	c.emit(c.loadCheck(value, s))
	c.jumpTo(skip, asm.JEq.Imm(value, 0, ""))
	add, terms := (modulus-inMemory(s.Const))%modulus, halved(memoryTerms(s.Terms, 1))
	add = unsigned(add, terms, int64(len(s.Rows))*modulus)
	c.emit(asm.Add.Imm(value, int32(add)))
	most := 0xffff + add + c.addTerms(terms)
	c.rowParts(s, asm.Sub)
	c.fold(most, 0x1fffe)
	c.emit(asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 16), asm.Add.Reg(value, temp))
	c.emit(c.storeCheck(s))
}

// adjustPlain subtracts the change (RFC 1624 equation 4). A change of 0 modulo
// 65535 leaves the bytes alone; any other gives 0 for 0 modulo 65535, as the
// sender would have.
func (c *compiler) adjustPlain(s plan.Sum, skip label) {
	if len(s.Terms) == 0 && len(s.Rows) == 0 {
		c.emit(c.loadCheck(temp, s), asm.Add.Imm(temp, -int32(inMemory(s.Const))))
	} else {
		c.change(s)
		if !c.differs(s) {
			c.jumpTo(skip, asm.JEq.Imm32(value, modulus, ""))
		}
		c.emit(c.loadCheck(temp, s), asm.Sub.Reg(temp, value))
	}
	c.emit( // below 0: borrow one from the end
		asm.Mov.Reg(value, temp),
		asm.ArSh.Imm(value, 63),
		asm.Add.Reg(value, temp),
	)
	c.emit(c.storeCheck(s))
}

// change leaves in value what the writes change, from 1 to 65535.
func (c *compiler) change(s plan.Sum) {
	terms := halved(memoryTerms(s.Terms, -1))
	start := unsigned(inMemory(s.Const), terms, 1)
	if c.holds(s) && terms[0].Window == s.Terms[0].Window { // not halved
		t := terms[0]
		if shift := bits.TrailingZeros64(uint64(t.factor)); shift > 0 {
			c.emit(asm.LSh.Imm(value, int32(shift)))
		}
		most := start
		if t.factor < 0 {
			c.emit(asm.Neg.Imm(value, 0))
		} else { // a longer IP header means a shorter TCP segment
			most += t.most()
		}
		c.emit(asm.Add.Imm(value, int32(start)))
		c.fold(most, 0xffff)
		return
	}
	c.emit(asm.Mov.Imm(value, int32(start)))
	most := start + c.addTerms(terms)
	c.fold(most+c.rowParts(s, asm.Add), 0xffff)
}

// holds tells whether the only term is in value: it has just been compared.
func (c *compiler) holds(s plan.Sum) bool {
	return len(s.Terms) == 1 && len(s.Rows) == 0 && !s.Terms[0].Made() && c.load == held{win: s.Terms[0].Window, masked: !s.Terms[0].Full()}
}

// differs tells whether the change is known not to be 0 modulo 65535: the
// values differ, and by less than that.
func (c *compiler) differs(s plan.Sum) bool {
	return c.compared && len(s.Terms) == 1 && bits.OnesCount32(s.Terms[0].Mask) < 16
}

func (c *compiler) loadCheck(dst asm.Register, s plan.Sum) asm.Instruction {
	base, off := c.at(plan.Window{Header: s.Check.Proto, Off: s.Check.Byte()})
	return asm.LoadMem(dst, base, off, asm.Half)
}

func (c *compiler) storeCheck(s plan.Sum) asm.Instruction {
	base, off := c.at(plan.Window{Header: s.Check.Proto, Off: s.Check.Byte()})
	return asm.StoreMem(base, off, value, asm.Half)
}

// modulus is that of one's complement sums of 16 bits.
const modulus = 65535

// inMemory turns a sum in network order into one in the order of memory:
// swapping two bytes multiplies by 256 modulo 65535.
func inMemory(sum uint32) int64 { return int64(sum) * 256 % modulus }

// memoryTerm is a term to add in memory order: the window as it is loaded,
// times a power of two, which may be negative.
type memoryTerm struct {
	plan.Term
	factor int64
}

// most is the largest that the term can add, its sign aside.
func (t memoryTerm) most() int64 {
	mask := int64(uint32(swapped(t.Mask, t.Size)))
	return mask * max(t.factor, -t.factor)
}

// complemented: a word of 32 bits is subtracted by adding what it lacks of its
// mask, because to stay above 0 the sum would have to start with more than fits
// into an immediate.
func (t memoryTerm) complemented() bool { return t.factor == -1 && t.Size == 4 }

// lacks is what was added too much where a term is complemented: its mask.
func (t memoryTerm) lacks() int64 {
	if !t.complemented() {
		return 0
	}
	return t.most() % modulus
}

func memoryTerms(terms []plan.Term, sign int64) []memoryTerm {
	out := make([]memoryTerm, len(terms))
	for i, t := range terms {
		f := int64(t.Factor)
		if t.Size == 1 { // a byte is the same in either order, so its weight is not
			f *= 256
		}
		if f%(modulus+1) == 0 {
			f /= modulus + 1
		}
		out[i] = memoryTerm{t, sign * f}
	}
	return out
}

// halved reads a word of 32 bits as two of 16 if there is only one: it takes
// two instructions more, but then no sum is so large that it has to be folded
// once more, with four.
func halved(terms []memoryTerm) []memoryTerm {
	isWord := func(t memoryTerm) bool { return t.Size == 4 }
	i := slices.IndexFunc(terms, isWord)
	if i < 0 || terms[i].Made() || slices.ContainsFunc(terms[i+1:], isWord) {
		return terms
	}
	high, low := terms[i], terms[i]
	high.Size, low.Size = 2, 2
	low.Off += 2
	high.Mask, low.Mask = high.Mask>>16, low.Mask&0xffff
	halves := slices.DeleteFunc([]memoryTerm{high, low}, func(t memoryTerm) bool { return t.Mask == 0 })
	return slices.Replace(terms, i, i+1, halves...)
}

// unsigned makes a start value what it has to be, modulo 65535, so that adding
// the terms cannot bring it below least.
func unsigned(start int64, terms []memoryTerm, least int64) int64 {
	for _, t := range terms {
		start -= t.lacks()
		if t.factor < 0 && !t.complemented() {
			least += t.most()
		}
	}
	for start < least {
		start += modulus
	}
	return start
}

// addTerms adds terms to value and returns the most that they can add.
func (c *compiler) addTerms(terms []memoryTerm) int64 {
	var most int64
	for _, t := range terms {
		c.loadTerm(t)
		if !t.Full() && !t.Computed {
			c.emit(asm.And.Imm32(temp, swapped(t.Mask, t.Size)))
		}
		if shift := bits.TrailingZeros64(uint64(t.factor)); shift > 0 {
			c.emit(asm.LSh.Imm(temp, int32(shift)))
		}
		switch {
		case t.complemented():
			c.emit(asm.Xor.Imm32(temp, swapped(t.Mask, t.Size)), asm.Add.Reg(value, temp))
			most += t.most()
		case t.factor < 0:
			c.emit(asm.Sub.Reg(value, temp))
		default:
			c.emit(asm.Add.Reg(value, temp))
			most += t.most()
		}
	}
	return most
}

// loadTerm brings what a term reads into temp.
func (c *compiler) loadTerm(t memoryTerm) {
	if t.Made() {
		c.loadMade(t.Window, t.Source)
		return
	}
	base, off := c.at(t.Window)
	c.emit(asm.LoadMem(temp, base, off, sizes[t.Size]))
}

// loadMade brings bytes that are made for the packet, to go to a window, into
// temp.
func (c *compiler) loadMade(w plan.Window, s plan.Source) {
	if s.Row == 0 {
		c.emit(asm.LoadMem(temp, asm.R10, c.image(s.Slot), sizes[w.Size]))
		return
	}
	c.fromRow(s.Row, w.Size)
	if s.Xor {
		there := c.reg.end // not needed in a chain
		base, off := c.at(w)
		c.emit(asm.LoadMem(there, base, off, sizes[w.Size]), asm.Xor.Reg(temp, there))
	}
}

// fold adds value's upper bits to its lower 16 until it is limit at most,
// given the most that it can be.
func (c *compiler) fold(most, limit int64) {
	for most > limit {
		c.emit(
			asm.Mov.Reg(temp, value),
			asm.RSh.Imm(temp, 16),
			asm.And.Imm(value, 0xffff),
			asm.Add.Reg(value, temp),
		)
		if most <= 0x1fffe { // 1 and at most 0xfffe
			return
		}
		most = most>>16 + 0xffff
	}
}
