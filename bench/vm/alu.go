package vm

import "math/bits"

// Arithmetic operations (RFC 9669 section 4.1).
const (
	aluAdd  = 0x00
	aluSub  = 0x10
	aluMul  = 0x20
	aluDiv  = 0x30
	aluOr   = 0x40
	aluAnd  = 0x50
	aluLsh  = 0x60
	aluRsh  = 0x70
	aluNeg  = 0x80
	aluMod  = 0x90
	aluXor  = 0xa0
	aluMov  = 0xb0
	aluArsh = 0xc0
	aluEnd  = 0xd0
)

// sourceReg is the bit that says that the operand is a register.
const sourceReg = 0x08

func (r *run) operand(in instruction) uint64 {
	if in.op&sourceReg != 0 {
		return r.reg[in.src]
	}
	return uint64(in.imm)
}

func (r *run) arithmetic(in instruction) error {
	op := in.op & 0xf0
	if in.off != 0 { // signed division and moves with sign extension
		return errUnknown
	}
	if op == aluEnd {
		return r.byteSwap(in)
	}
	width := 64
	if in.op&7 == classALU {
		width = 32
	}
	v, ok := compute(op, r.reg[in.dst], r.operand(in), width)
	if !ok {
		return errUnknown
	}
	r.reg[in.dst] = v
	return nil
}

// compute is one operation on the lower bits of a and b; the upper ones of the
// result are 0.
func compute(op byte, a, b uint64, width int) (v uint64, ok bool) {
	a, b = truncated(a, width), truncated(b, width)
	shift := b & uint64(width-1)
	switch op {
	case aluAdd:
		v = a + b
	case aluSub:
		v = a - b
	case aluMul:
		v = a * b
	case aluDiv:
		if b != 0 {
			v = a / b
		}
	case aluOr:
		v = a | b
	case aluAnd:
		v = a & b
	case aluLsh:
		v = a << shift
	case aluRsh:
		v = a >> shift
	case aluNeg:
		v = -a
	case aluMod:
		v = a
		if b != 0 {
			v = a % b
		}
	case aluXor:
		v = a ^ b
	case aluMov:
		v = b
	case aluArsh:
		v = uint64(signed(a, width) >> shift)
	default:
		return 0, false
	}
	return truncated(v, width), true
}

// byteSwap brings the lower bytes into another order (RFC 9669 section 4.2):
// to little-endian they are only cut off, to big-endian and in the 64-bit
// class they are swapped.
func (r *run) byteSwap(in instruction) error {
	swap := in.op&sourceReg != 0 || in.op&7 == classALU64
	v := r.reg[in.dst]
	switch width := int(in.imm); width {
	case 16, 32, 64:
		if swap {
			v = bits.ReverseBytes64(v) >> (64 - width)
		}
		r.reg[in.dst] = truncated(v, width)
		return nil
	}
	return errUnknown
}

// Jumps (RFC 9669 section 4.3).
const (
	jmpAlways = 0x00
	jmpEQ     = 0x10
	jmpGT     = 0x20
	jmpGE     = 0x30
	jmpSet    = 0x40
	jmpNE     = 0x50
	jmpSGT    = 0x60
	jmpSGE    = 0x70
	jmpCall   = 0x80
	jmpExit   = 0x90
	jmpLT     = 0xa0
	jmpLE     = 0xb0
	jmpSLT    = 0xc0
	jmpSLE    = 0xd0
)

func (r *run) jump(in instruction) error {
	op, width := in.op&0xf0, 64
	if in.op&7 == classJMP32 {
		width = 32
	}
	switch {
	case op == jmpAlways && width == 32:
		r.pc += int(in.imm)
		return nil
	case op == jmpExit:
		r.done = true
		return nil
	case op == jmpCall && in.src == 0 && width == 64:
		return r.call(in.imm)
	}
	yes, ok := taken(op, truncated(r.reg[in.dst], width), truncated(r.operand(in), width), width)
	if !ok {
		return errUnknown
	}
	if yes {
		r.pc += int(in.off)
	}
	return nil
}

func taken(op byte, a, b uint64, width int) (yes, ok bool) {
	sa, sb := signed(a, width), signed(b, width)
	switch op {
	case jmpAlways:
		yes = true
	case jmpEQ:
		yes = a == b
	case jmpGT:
		yes = a > b
	case jmpGE:
		yes = a >= b
	case jmpSet:
		yes = a&b != 0
	case jmpNE:
		yes = a != b
	case jmpSGT:
		yes = sa > sb
	case jmpSGE:
		yes = sa >= sb
	case jmpLT:
		yes = a < b
	case jmpLE:
		yes = a <= b
	case jmpSLT:
		yes = sa < sb
	case jmpSLE:
		yes = sa <= sb
	default:
		return false, false
	}
	return yes, true
}

// truncated is v's lower bits.
func truncated(v uint64, width int) uint64 { return v << (64 - width) >> (64 - width) }

// signed is v's lower bits as a number with a sign.
func signed(v uint64, width int) int64 { return int64(v<<(64-width)) >> (64 - width) }
