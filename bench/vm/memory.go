package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errUnknown: the instruction is none that the machine knows.
var errUnknown = errors.New("the instruction is not known")

// Where things are. The context has room for addresses of 32 bits only.
const (
	contextAt = 0x10000000
	packetAt  = 0x20000000
	stackAt   = 0x30000000
	counterAt = 0x40000000
	handle    = 0x50000000 // no memory, stands for the map
)

// region is a piece of memory.
type region struct {
	at    uint64
	bytes []byte
}

// context is a struct xdp_md (linux/bpf.h) for a packet of n bytes: the
// packet's start and end, and where its metadata starts.
func context(n int) []byte {
	var b []byte
	for _, word := range []uint32{packetAt, packetAt + uint32(n), packetAt, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

// at is the memory of size bytes at an address.
func (r *run) at(address uint64, size int) ([]byte, error) {
	for _, m := range r.memory {
		if off := address - m.at; address >= m.at && off+uint64(size) <= uint64(len(m.bytes)) {
			return m.bytes[off:][:size], nil
		}
	}
	return nil, fmt.Errorf("there are no %d bytes at %#x", size, address)
}

func (r *run) load(address uint64, size int) (uint64, error) {
	b, err := r.at(address, size)
	if err != nil {
		return 0, err
	}
	var v [8]byte
	copy(v[:], b)
	return binary.LittleEndian.Uint64(v[:]), nil
}

func (r *run) store(address uint64, size int, v uint64) error {
	b, err := r.at(address, size)
	if err != nil {
		return err
	}
	var all [8]byte
	binary.LittleEndian.PutUint64(all[:], v)
	copy(b, all[:])
	return nil
}

// accessSize are the sizes in bytes by the size bits of an opcode.
var accessSize = [4]int{4, 2, 1, 8}

// access loads or stores (RFC 9669 section 5).
func (r *run) access(in instruction) (err error) {
	const modeMask, modeMem, modeAtomic = 0xe0, 0x60, 0xc0
	size := accessSize[in.op>>3&3]
	mode, class := in.op&modeMask, in.op&7
	switch {
	case mode == modeMem && class == classLDX:
		r.reg[in.dst], err = r.load(r.reg[in.src]+uint64(in.off), size)
	case mode == modeMem && class == classST:
		err = r.store(r.reg[in.dst]+uint64(in.off), size, uint64(in.imm))
	case mode == modeMem && class == classSTX:
		err = r.store(r.reg[in.dst]+uint64(in.off), size, r.reg[in.src])
	case mode == modeAtomic && class == classSTX && size >= 4:
		err = r.atomic(in, size)
	default:
		err = errUnknown
	}
	return err
}

// atomic changes memory and, where asked to, brings the old value back (RFC
// 9669 section 5.3). There is one CPU.
func (r *run) atomic(in instruction, size int) error {
	const fetch, xchg, cmpxchg = 0x01, 0xe1, 0xf1
	address := r.reg[in.dst] + uint64(in.off)
	old, err := r.load(address, size)
	if err != nil {
		return err
	}
	v := r.reg[in.src]
	switch in.imm {
	case xchg:
		r.reg[in.src] = old
		return r.store(address, size, v)
	case cmpxchg:
		if same := r.reg[0]; old != truncated(same, 8*size) {
			v = old
		}
		r.reg[0] = old
		return r.store(address, size, v)
	}
	switch op := byte(in.imm &^ fetch); op {
	case aluAdd, aluOr, aluAnd, aluXor:
		v, _ = compute(op, old, v, 64)
	default:
		return errUnknown
	}
	if in.imm&fetch != 0 {
		r.reg[in.src] = old
	}
	return r.store(address, size, v)
}
