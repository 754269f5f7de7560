package field

import (
	"fmt"
	"math/bits"
)

// Value is the content of a header field, read as an unsigned big-endian
// number (network byte order, most significant bit first), of at most 128
// bits: an IPv6 address is the widest field there is.
type Value struct {
	Hi, Lo uint64
}

// V makes a Value of at most 64 bits.
func V(n uint64) Value { return Value{Lo: n} }

// Cmp is negative, zero or positive as v is below, equal to or above o.
func (v Value) Cmp(o Value) int {
	switch {
	case v.Hi < o.Hi:
		return -1
	case v.Hi > o.Hi:
		return 1
	case v.Lo < o.Lo:
		return -1
	case v.Lo > o.Lo:
		return 1
	}
	return 0
}

// Inc is v + 1; it wraps around at 2^128.
func (v Value) Inc() Value {
	lo, carry := bits.Add64(v.Lo, 1, 0)
	return Value{v.Hi + carry, lo}
}

// Dec is v - 1; it wraps around at 0.
func (v Value) Dec() Value {
	lo, borrow := bits.Sub64(v.Lo, 1, 0)
	return Value{v.Hi - borrow, lo}
}

// Plus is v + o; it wraps around at 2^128.
func (v Value) Plus(o Value) Value {
	lo, carry := bits.Add64(v.Lo, o.Lo, 0)
	return Value{v.Hi + o.Hi + carry, lo}
}

// Minus is v - o; it wraps around at 0.
func (v Value) Minus(o Value) Value {
	lo, borrow := bits.Sub64(v.Lo, o.Lo, 0)
	return Value{v.Hi - o.Hi - borrow, lo}
}

// Or is the bitwise v | o.
func (v Value) Or(o Value) Value { return Value{v.Hi | o.Hi, v.Lo | o.Lo} }

// AndNot is the bitwise v &^ o.
func (v Value) AndNot(o Value) Value { return Value{v.Hi &^ o.Hi, v.Lo &^ o.Lo} }

// Shr is v without its lowest n bits (0 to 128).
func (v Value) Shr(n int) Value {
	if n >= 64 {
		return V(v.Hi >> (n - 64))
	}
	return Value{v.Hi >> n, v.Lo>>n | v.Hi<<(64-n)}
}

// Low is the lowest n bits of v.
func (v Value) Low(n int) Value { return v.AndNot(Value{^uint64(0), ^uint64(0)}.AndNot(Ones(n))) }

// IsZero reports whether v is 0.
func (v Value) IsZero() bool { return v.Hi|v.Lo == 0 }

// Ones is the value whose lowest n bits (0 to 128) are set.
func Ones(n int) Value {
	if n >= 128 {
		return Value{^uint64(0), ^uint64(0)}
	}
	if n > 64 {
		return Value{uint64(1)<<(n-64) - 1, ^uint64(0)}
	}
	if n == 64 {
		return Value{0, ^uint64(0)}
	}
	return Value{0, uint64(1)<<n - 1}
}

// String is v in decimal, or in hexadecimal when it needs more than 64 bits.
func (v Value) String() string {
	if v.Hi != 0 {
		return fmt.Sprintf("0x%x%016x", v.Hi, v.Lo)
	}
	return fmt.Sprint(v.Lo)
}
