package vm

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// TestCount counts small programs by hand.
func TestCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		program asm.Instructions
		want    Result
	}{
		{"a constant of 64 bits is one", asm.Instructions{
			asm.LoadImm(asm.R0, 0x1122334455667788, asm.DWord),
			asm.Return(),
		}, Result{Return: 0x55667788, Executed: 2}},
		{"what is jumped over is none", asm.Instructions{
			asm.Mov.Imm(asm.R0, 7),
			asm.JEq.Imm(asm.R0, 7, "end"),
			asm.Mov.Imm(asm.R0, 8),
			asm.Return().WithSymbol("end"),
		}, Result{Return: 7, Executed: 3}},
		{"a call is one", asm.Instructions{
			asm.FnXdpGetBuffLen.Call(),
			asm.Return(),
		}, Result{Return: 20, Executed: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := New(c.program, 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.Run(make([]byte, 20))
			if err != nil {
				t.Fatal(err)
			}
			if got.Return != c.want.Return || got.Executed != c.want.Executed {
				t.Errorf("got %d after %d instructions, want %d after %d",
					got.Return, got.Executed, c.want.Return, c.want.Executed)
			}
		})
	}
}

// TestRefused: what the verifier would refuse is an error, not a number.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]asm.Instructions{
		"a load behind the packet": {
			asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
			asm.LoadMem(asm.R0, asm.R2, 19, asm.Half),
			asm.Return(),
		},
		"a helper that is not known": {asm.FnKtimeGetNs.Call(), asm.Return()},
		"an endless loop":            {asm.Ja.Label("on").WithSymbol("on")},
		"an argument after a call": {
			asm.FnXdpGetBuffLen.Call(),
			asm.LoadMem(asm.R0, asm.R1, 0, asm.Word),
			asm.Return(),
		},
	} {
		m, err := New(program, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Run(make([]byte, 20)); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
}

// TestAgainstKernel runs random programs here and in the kernel.
func TestAgainstKernel(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9669, 1))
	frame := make([]byte, 64)
	for range 400 {
		program := randomProgram(r)
		m, err := New(program, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range frame {
			frame[i] = byte(r.Uint32())
		}
		got, err := m.Run(frame)
		if err != nil {
			t.Fatalf("%v\n%v", err, program)
		}
		ret, out := kernelRun(t, program, frame)
		if got.Return != ret || !bytes.Equal(got.Frame, out) {
			t.Fatalf("got %#x and %x\nkernel %#x and %x\n%v", got.Return, got.Frame, ret, out, program)
		}
	}
}

func kernelRun(t *testing.T, program asm.Instructions, frame []byte) (uint32, []byte) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: program, License: "MIT"})
	if err != nil {
		t.Fatalf("load: %+v\n%v", err, program)
	}
	defer p.Close()
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame))}
	ret, err := p.Run(&o)
	if err != nil {
		t.Fatal(err)
	}
	return ret, o.DataOut
}

// randomProgram works on the numbers in r6 to r9, on the packet in r3 and on
// the stack, then gives a mixture of all registers.
func randomProgram(r *rand.Rand) asm.Instructions {
	p := asm.Instructions{
		asm.LoadMem(asm.R3, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R2, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R3),
		asm.Add.Imm(asm.R4, 64),
		asm.Mov.Imm(asm.R0, 0),
		asm.JGT.Reg(asm.R4, asm.R2, "short"),
		storeWord(r, asm.R10, -8),
	}
	for i := asm.R6; i <= asm.R9; i++ {
		p = append(p, asm.LoadImm(i, int64(r.Uint64()), asm.DWord))
	}
	for i := range 40 {
		name := string([]byte{'a' + byte(i/26), 'a' + byte(i%26)})
		p = append(p, randomStep(r, name)...)
	}
	p = append(p, asm.Mov.Imm(asm.R0, 0))
	for i := asm.R6; i <= asm.R9; i++ {
		p = append(p, asm.Xor.Reg(asm.R0, i), asm.Mov.Reg(asm.R1, i), asm.RSh.Imm(asm.R1, 32), asm.Mul.Imm(asm.R0, 31), asm.Add.Reg(asm.R0, asm.R1))
	}
	return append(p, asm.Return().WithSymbol("short"))
}

func storeWord(r *rand.Rand, at asm.Register, off int16) asm.Instruction {
	return asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord), Dst: at, Offset: off, Constant: int64(int32(r.Uint32()))}
}

var (
	operations = []asm.ALUOp{
		asm.Add, asm.Sub, asm.Mul, asm.Div, asm.Or, asm.And, asm.LSh, asm.RSh,
		asm.Mod, asm.Xor, asm.Mov, asm.ArSh,
	}
	jumps = []asm.JumpOp{
		asm.JEq, asm.JGT, asm.JGE, asm.JSet, asm.JNE, asm.JSGT, asm.JSGE,
		asm.JLT, asm.JLE, asm.JSLT, asm.JSLE,
	}
	sizes = []asm.Size{asm.Byte, asm.Half, asm.Word, asm.DWord}
)

// randomStep is one instruction, or a jump over one.
func randomStep(r *rand.Rand, name string) asm.Instructions {
	dst, src := asm.R6+asm.Register(r.IntN(4)), asm.R6+asm.Register(r.IntN(4))
	switch r.IntN(8) {
	case 0:
		size := sizes[r.IntN(4)]
		off := int16(r.IntN(64 - size.Sizeof() + 1))
		return asm.Instructions{asm.StoreMem(asm.R3, off, src, size), asm.LoadMem(dst, asm.R3, off, sizes[r.IntN(size.Sizeof()/4+1)])}
	case 1:
		return asm.Instructions{asm.StoreMem(asm.R10, -8, src, asm.DWord), asm.LoadMem(dst, asm.R10, -8, sizes[r.IntN(4)])}
	case 2:
		order := []asm.Endianness{asm.BE, asm.LE}[r.IntN(2)]
		return asm.Instructions{asm.HostTo(order, dst, sizes[1+r.IntN(3)])}
	case 3:
		return randomAtomic(r, src)
	case 4:
		return append(asm.Instructions{randomJump(r, dst, src, name)}, arithmetic(r, src, dst), asm.Mov.Reg(dst, dst).WithSymbol(name))
	}
	return asm.Instructions{arithmetic(r, dst, src)}
}

// randomAtomic sets the operation by hand: the library (v0.22.0) loses it.
func randomAtomic(r *rand.Rand, src asm.Register) asm.Instructions {
	const add, or, and, xor, fetch, xchg, cmpxchg = 0x00, 0x40, 0x50, 0xa0, 0x01, 0xe1, 0xf1
	ops := []int64{add, or, and, xor, add | fetch, or | fetch, and | fetch, xor | fetch, xchg, cmpxchg}
	ins := asm.AddAtomic.Mem(asm.R10, src, sizes[2+r.IntN(2)], -8)
	ins.Constant = ops[r.IntN(len(ops))]
	start := asm.Mov.Reg(asm.R0, asm.R6)
	if r.IntN(2) == 0 { // so that comparing succeeds
		start = asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord)
	}
	return asm.Instructions{start, ins, asm.Xor.Reg(asm.R6, asm.R0)}
}

func randomJump(r *rand.Rand, dst, src asm.Register, name string) asm.Instruction {
	op := jumps[r.IntN(len(jumps))]
	switch r.IntN(4) {
	case 0:
		return op.Reg(dst, src, name)
	case 1:
		return op.Reg32(dst, src, name)
	case 2:
		return op.Imm(dst, int32(r.Uint32()), name)
	}
	return op.Imm32(dst, int32(r.Uint32()), name)
}

func arithmetic(r *rand.Rand, dst, src asm.Register) asm.Instruction {
	op := operations[r.IntN(len(operations))]
	imm := int32(r.Uint32())
	if op == asm.LSh || op == asm.RSh || op == asm.ArSh {
		imm &= 31 // more is refused
	}
	if imm == 0 {
		imm = 1 // division by a constant 0 is refused
	}
	switch r.IntN(4) {
	case 0:
		return op.Reg(dst, src)
	case 1:
		return op.Reg32(dst, src)
	case 2:
		return op.Imm(dst, imm)
	}
	return op.Imm32(dst, imm)
}

// TestCounters: a program finds the values of its map by key, and no more.
func TestCounters(t *testing.T) {
	t.Parallel()
	program := asm.Instructions{
		asm.Mov.Imm(asm.R3, 1),
		asm.StoreMem(asm.R10, -4, asm.R3, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, 3),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Mov.Imm(asm.R1, 5),
		asm.StoreMem(asm.R0, 8, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 1),
		asm.Return().WithSymbol("end"),
	}
	for entries, want := range map[int]uint64{1: 0, 2: 5} {
		m, err := New(program, entries)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Run(make([]byte, 14))
		if err != nil {
			t.Fatal(err)
		}
		var second uint64
		if entries == 2 {
			second = binary.LittleEndian.Uint64(m.Counters[CounterSize+8:])
		}
		if found := got.Return == 1; found != (want != 0) || second != want {
			t.Errorf("%d entries: found %v, stored %d, want %d", entries, found, second, want)
		}
	}
}
