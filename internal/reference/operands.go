package reference

import (
	"encoding/binary"
	"math/big"
	"math/bits"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// Draws gives the random numbers of one packet: each chance and each random
// operand of a program has places of its own among them (rule.Chance.Index,
// rule.Action.Draw), and the number at a place is the same however often, and
// in whatever order, it is asked for. So an implementation may look at tests
// in any order, and all of them draw the same when they are handed the same
// numbers.
//
// A chance of Num/Den holds when its number r, of 32 bits, is below
// Num/Den * 2^32. A random operand takes as many numbers as rule.Action.Words
// says, one behind the other, and maps them into its range as written there.
type Draws func(index int) uint32

// Zeros draws nothing but 0: every chance holds, and every random operand takes
// the lowest value of its range.
func Zeros(int) uint32 { return 0 }

// Seeded draws numbers that follow from a seed and the place alone: the upper
// half of what the generator SplitMix64 (Steele, Lea, Flood 2014) gives at that
// place.
func Seeded(seed uint64) Draws {
	return func(index int) uint32 {
		z := seed + 0x9e3779b97f4a7c15*uint64(index+1)
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return uint32((z ^ z>>31) >> 32)
	}
}

// happens reports whether a chance holds for p: r/2^32 < Num/Den.
func happens(e rule.Chance, p packet) bool {
	hi, lo := bits.Mul64(uint64(p.draw(e.Index)), e.Den)
	return hi < e.Num>>32 || hi == e.Num>>32 && lo < e.Num<<32
}

// result is what an action other than fix and bad gives to its field: it
// reads nothing but the packet as it arrived and the numbers drawn for it
// (semantics.md 3.2).
func (p packet) result(a rule.Action) field.Value {
	switch a.Op {
	case operand.Add:
		return sumOf(a.Field, p.get(a.Field), a.Value)
	case operand.Sub:
		return difference(a.Field, p.get(a.Field), a.Value)
	case operand.AtLeast:
		return larger(p.get(a.Field), a.Value)
	case operand.AtMost:
		return smaller(p.get(a.Field), a.Value)
	case operand.Copy:
		return p.get(a.From)
	case operand.Random:
		return chosen(a, func(i int) uint32 { return p.draw(a.Draw + i) })
	case operand.Hash:
		return chosen(a, p.flowHash)
	case operand.Restore:
		return p.restore(a.Field)
	case operand.Prefix:
		upper := field.Ones(a.Field.Width).AndNot(field.Ones(a.Field.Width - a.Bits))
		return p.get(a.Field).AndNot(upper).Or(a.Value)
	}
	return a.Value
}

// sumOf is v + n in f (semantics.md 3.5): some fields wrap around, the others stop at
// their highest value.
func sumOf(f *field.Field, v, n field.Value) field.Value {
	lo, carry := bits.Add64(v.Lo, n.Lo, 0)
	hi, over := bits.Add64(v.Hi, n.Hi, carry)
	total := field.Value{Hi: hi, Lo: lo}
	switch {
	case f.Wraps:
		return low(total, f.Width)
	case over > 0:
		return f.Max()
	}
	return smaller(total, f.Max())
}

// difference is v - n in f: some fields wrap around, the others stop at 0.
func difference(f *field.Field, v, n field.Value) field.Value {
	if n.Cmp(v) > 0 && !f.Wraps {
		return field.Value{}
	}
	lo, borrow := bits.Sub64(v.Lo, n.Lo, 0)
	hi, _ := bits.Sub64(v.Hi, n.Hi, borrow)
	return low(field.Value{Hi: hi, Lo: lo}, f.Width)
}

// low are the lowest bits of v, width of them.
func low(v field.Value, width int) field.Value {
	return v.AndNot(field.Ones(128).AndNot(field.Ones(width)))
}

func larger(a, b field.Value) field.Value {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

func smaller(a, b field.Value) field.Value {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// chosen is the value of a's range that numbers of 32 bits give: with all of them
// read as one number r, as r is among all that it could be:
// Lo + r * (Hi-Lo+1) / 2^(32*words), rounded down.
func chosen(a rule.Action, word func(i int) uint32) field.Value {
	r, words := new(big.Int), a.Words()
	for i := range words {
		r.Lsh(r, 32).Or(r, big.NewInt(int64(word(i))))
	}
	lo := number(a.Range.Lo)
	size := new(big.Int).Sub(number(a.Range.Hi), lo)
	size.Add(size, big.NewInt(1))
	r.Mul(r, size).Rsh(r, uint(32*words)).Add(r, lo)
	b := r.FillBytes(make([]byte, 16))
	return field.Value{Hi: binary.BigEndian.Uint64(b), Lo: binary.BigEndian.Uint64(b[8:])}
}

// number is v as a number of any size.
func number(v field.Value) *big.Int {
	n := new(big.Int).SetUint64(v.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(v.Lo))
}
