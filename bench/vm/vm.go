// Package vm runs XDP programs instruction by instruction and counts how many
// it executes. It knows the part of eBPF (RFC 9669) that the compiler and
// clang use for packet headers, on a little-endian machine.
//
// The count is that of the program as it is given to the kernel: a 64-bit
// constant and a call of a helper are one instruction each.
package vm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf/asm"
)

// CounterSize is the size in bytes of a value of the one map that programs
// can look up.
const CounterSize = 16

// Machine is a program and the one map that it can look up.
type Machine struct {
	code []instruction
	// Counters is the map's content: values of CounterSize bytes by key. A
	// program finds the keys that Counters has room for.
	Counters []byte
}

// Result is what a program did with one packet.
type Result struct {
	Return uint32
	// Frame is the packet as it leaves: always a new slice.
	Frame []byte
	// Executed is how many instructions were executed, the exit among them.
	Executed int
}

// New makes a machine for a program whose map has so many entries. Jumps and
// map references must be resolvable, as for loading into the kernel.
func New(program asm.Instructions, entries int) (*Machine, error) {
	var raw bytes.Buffer
	if err := slices.Clone(program).Marshal(&raw, binary.LittleEndian); err != nil {
		return nil, fmt.Errorf("encode the program: %w", err)
	}
	return &Machine{code: decode(raw.Bytes()), Counters: make([]byte, entries*CounterSize)}, nil
}

// instruction is one slot of eight bytes (RFC 9669 section 3).
type instruction struct {
	op       byte
	dst, src byte
	off      int16
	imm      int32
}

func decode(raw []byte) []instruction {
	var out []instruction
	for ; len(raw) >= 8; raw = raw[8:] {
		out = append(out, instruction{
			op:  raw[0],
			dst: raw[1] & 0xf,
			src: raw[1] >> 4,
			off: int16(binary.LittleEndian.Uint16(raw[2:])),
			imm: int32(binary.LittleEndian.Uint32(raw[4:])),
		})
	}
	return out
}

// maxExecuted ends a program that loops.
const maxExecuted = 1_000_000

// stackSize is what the kernel gives a program, in bytes.
const stackSize = 512

// Run gives one packet to the program. The error says what the program did
// that the verifier would not let it do, or that the machine does not know.
func (m *Machine) Run(frame []byte) (Result, error) {
	r := run{machine: m, frame: slices.Clone(frame)}
	r.memory = []region{
		{contextAt, context(len(frame))},
		{packetAt, r.frame},
		{stackAt, make([]byte, stackSize)},
		{counterAt, m.Counters},
	}
	r.reg[1], r.reg[10] = contextAt, stackAt+stackSize
	for !r.done {
		if r.executed == maxExecuted {
			return Result{}, fmt.Errorf("instruction %d: %d instructions have been executed", r.pc, maxExecuted)
		}
		if r.pc < 0 || r.pc >= len(m.code) {
			return Result{}, fmt.Errorf("instruction %d is not in the program", r.pc)
		}
		if at, err := r.pc, r.step(); err != nil {
			return Result{}, fmt.Errorf("instruction %d (%#02x): %w", at, m.code[at].op, err)
		}
	}
	return Result{uint32(r.reg[0]), r.frame, r.executed}, nil
}

// run is the state of a machine while it works on one packet.
type run struct {
	machine  *Machine
	frame    []byte
	memory   []region
	reg      [11]uint64
	pc       int
	executed int
	done     bool
}

// Instruction classes (RFC 9669 section 3.2).
const (
	classLD = iota
	classLDX
	classST
	classSTX
	classALU
	classJMP
	classJMP32
	classALU64
)

func (r *run) step() error {
	in := r.machine.code[r.pc]
	r.pc++
	r.executed++
	switch in.op & 7 {
	case classLD:
		return r.constant(in)
	case classLDX, classST, classSTX:
		return r.access(in)
	case classALU, classALU64:
		return r.arithmetic(in)
	}
	return r.jump(in)
}

// constant loads 64 bits, of two slots; a map's descriptor becomes its handle.
func (r *run) constant(in instruction) error {
	const wide, mapByFD = 0x18, 1
	if in.op != wide || r.pc == len(r.machine.code) {
		return errUnknown
	}
	high := r.machine.code[r.pc].imm
	r.pc++
	switch in.src {
	case 0:
		r.reg[in.dst] = uint64(uint32(in.imm)) | uint64(uint32(high))<<32
	case mapByFD:
		r.reg[in.dst] = handle
	default:
		return errUnknown
	}
	return nil
}

// Helpers (linux/bpf.h).
const (
	mapLookupElem  = 1
	xdpGetBuffLen  = 188
	clobbered      = 0xdeadbeefdeadbeef // what a call leaves in its arguments
	firstArg, last = 1, 5
)

func (r *run) call(helper int32) error {
	switch helper {
	case mapLookupElem:
		key, err := r.load(r.reg[2], 4)
		if err != nil {
			return err
		}
		if r.reg[1] != handle {
			return fmt.Errorf("%#x is not the map", r.reg[1])
		}
		r.reg[0] = 0
		if at := key * CounterSize; at < uint64(len(r.machine.Counters)) {
			r.reg[0] = counterAt + at
		}
	case xdpGetBuffLen:
		if r.reg[1] != contextAt {
			return fmt.Errorf("%#x is not the context", r.reg[1])
		}
		r.reg[0] = uint64(len(r.frame))
	default:
		return fmt.Errorf("helper %d is not known", helper)
	}
	for i := firstArg; i <= last; i++ {
		r.reg[i] = clobbered
	}
	return nil
}
