package bpf

import (
	"math/bits"
	"slices"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// checksums emits the arithmetic of the Internet checksum.
type checksums struct{ *code }

// adjustment is a checksum that is changed in place. differs: the only value that
// changes is known to do so.
type adjustment struct {
	plan.Sum
	differs bool
}

// adjust changes a checksum by what the writes change (RFC 1624). It reads
// the old values, so it stands before the writes.
func (c checksums) adjust(s adjustment) {
	c.About(s.String())
	skip, check := c.NewLabel(), checkWindow(s.Check)
	switch {
	case s.ZeroIsNone:
		// UDP: worked on is the checksum itself instead of its complement. From a
		// checksum that is not 0 the sum never comes out as 0, so what is 0 modulo
		// 65535 is 0xffff, as RFC 768 wants it, and an unchanged sum keeps its bytes.
		c.fetch(value, check)
		c.Jump(skip, asm.JEq.Imm(value, 0, ""))
		add, terms := (modulus-inMemory(s.Const))%modulus, halved(memoryTerms(s.Terms, 1))
		add = unsigned(add, terms, int64(len(s.Rows))*modulus)
		c.Emit(asm.Add.Imm(value, int32(add)))
		most := 0xffff + add + c.addTerms(terms)
		tables(c).addRows(s.Sum, asm.Sub)
		c.fold(most, 0x1fffe)
		c.Emit(asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 16), asm.Add.Reg(value, temp))
	case len(s.Terms) == 0 && len(s.Rows) == 0:
		c.fetch(temp, check)
		c.Emit(asm.Add.Imm(temp, -int32(inMemory(s.Const))))
	default:
		// The change is subtracted (RFC 1624 equation 4). One of 0 modulo 65535 leaves
		// the bytes alone; any other gives 0 for 0 modulo 65535, as the sender would have.
		c.change(s.Sum)
		if !s.differs || len(s.Terms) != 1 || bits.OnesCount32(s.Terms[0].Mask) >= 16 {
			c.Jump(skip, asm.JEq.Imm32(value, modulus, ""))
		}
		c.fetch(temp, check)
		c.Emit(asm.Sub.Reg(temp, value))
	}
	if !s.ZeroIsNone { // below 0 one is borrowed from the end
		c.Emit(asm.Mov.Reg(value, temp), asm.ArSh.Imm(value, 63), asm.Add.Reg(value, temp))
	}
	if s.Check == field.OtherCheck { // UDP-Lite's 0 would be none
		c.SkipIf(asm.JNE.Imm(value, 0, ""), func() { c.load(value, slotZero) })
	}
	c.store(check, value)
	c.Bind(skip)
	c.Forget()
}

// change leaves in value what the writes change, from 1 to 65535.
func (c checksums) change(s plan.Sum) {
	terms := halved(memoryTerms(s.Terms, -1))
	start := unsigned(inMemory(s.Const), terms, 1)
	most := start
	inPlace := len(s.Terms) == 1 && len(s.Rows) == 0 && !s.Terms[0].Made() &&
		c.Known() == held{win: s.Terms[0].Window, masked: !s.Terms[0].Full()} // it has just been compared
	if inPlace && terms[0].Window == s.Terms[0].Window { // not halved
		t := terms[0]
		c.shift(asm.LSh, value, bits.TrailingZeros64(uint64(t.factor)))
		if t.factor < 0 {
			c.Emit(asm.Neg.Imm(value, 0))
		} else { // a longer IP header means a shorter TCP segment
			most += t.most()
		}
		c.Emit(asm.Add.Imm(value, int32(start)))
	} else {
		c.Emit(asm.Mov.Imm(value, int32(start)))
		most += c.addTerms(terms)
		most += tables(c).addRows(s, asm.Add)
	}
	c.fold(most, 0xffff)
}

// checkWindow is where a checksum is.
func checkWindow(f *field.Field) plan.Window {
	return plan.Window{Header: f.Proto, Off: f.Byte(), Size: 2, Mask: 0xffff}
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
		switch {
		case t.complemented(): // its mask is added too much
			start -= t.most() % modulus
		case t.factor < 0:
			least += t.most()
		}
	}
	for start < least {
		start += modulus
	}
	return start
}

// addTerms adds terms to value and returns the most that they can add.
func (c checksums) addTerms(terms []memoryTerm) int64 {
	var most int64
	for _, t := range terms {
		if t.Made() {
			c.loadMade(t.Window, t.Source)
		} else {
			c.fetch(temp, t.Window)
		}
		if !t.Full() && !t.Computed {
			c.Emit(asm.And.Imm32(temp, swapped(t.Mask, t.Size)))
		}
		c.shift(asm.LSh, temp, bits.TrailingZeros64(uint64(t.factor)))
		if t.factor < 0 && !t.complemented() {
			c.Emit(asm.Sub.Reg(value, temp))
			continue
		}
		if t.complemented() {
			c.Emit(asm.Xor.Imm32(temp, swapped(t.Mask, t.Size)))
		}
		c.Emit(asm.Add.Reg(value, temp))
		most += t.most()
	}
	return most
}

// loadMade brings bytes that are made for the packet, to go to a window, into
// temp.
func (c *code) loadMade(w plan.Window, s plan.Source) {
	if s.Row == 0 {
		c.Emit(asm.LoadMem(temp, asm.R10, c.image(s.Slot), sizes[w.Size]))
		return
	}
	tables{c}.column(s.Row, w.Size)
	if s.Xor {
		there := c.spare()
		c.fetch(there, w)
		c.Emit(asm.Xor.Reg(temp, there))
	}
}

// fold adds value's upper bits to its lower 16 until it is limit at most,
// given the most that it can be.
func (c checksums) fold(most, limit int64) {
	for most > limit {
		c.Emit(asm.Mov.Reg(temp, value), asm.RSh.Imm(temp, 16))
		c.Emit(asm.And.Imm(value, 0xffff), asm.Add.Reg(value, temp))
		if most <= 0x1fffe { // 1 and at most 0xfffe
			return
		}
		most = most>>16 + 0xffff
	}
}
