package assembler

import (
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Arg is an argument of a call: it brings a value into the register that the
// calling convention asks for.
type Arg func(dst asm.Register) []asm.Instruction

// Call calls a helper of the kernel. Arguments are brought in from left to
// right; a helper leaves nothing in R1 to R5, and its result in R0.
func (a *Assembler) Call(helper asm.BuiltinFunc, args ...Arg) {
	for i, arg := range args {
		a.Emit(arg(asm.R1 + asm.Register(i))...)
	}
	a.Emit(helper.Call())
}

// Reg is the value of a register; if it is the argument's own, nothing is done.
func Reg(src asm.Register) Arg {
	return func(dst asm.Register) []asm.Instruction {
		if dst == src {
			return nil
		}
		return []asm.Instruction{asm.Mov.Reg(dst, src)}
	}
}

// Imm is a constant.
func Imm(n int32) Arg {
	return func(dst asm.Register) []asm.Instruction { return []asm.Instruction{asm.Mov.Imm(dst, n)} }
}

// Sum is the sum of an argument and a constant.
func Sum(a Arg, n int32) Arg {
	return func(dst asm.Register) []asm.Instruction { return append(a(dst), asm.Add.Imm(dst, n)) }
}

// Stack is the address of a place on the stack.
func Stack(off int16) Arg { return Sum(Reg(asm.R10), int32(off)) }

// Memory is a word of 64 bits.
func Memory(base asm.Register, off int16) Arg {
	return func(dst asm.Register) []asm.Instruction {
		return []asm.Instruction{asm.LoadMem(dst, base, off, asm.DWord)}
	}
}

// Map is the map of a descriptor.
func Map(fd int) Arg {
	return func(dst asm.Register) []asm.Instruction { return []asm.Instruction{asm.LoadMapPtr(dst, fd)} }
}

// Loop calls a function of the program up to R1 times, by bpf_loop (Linux
// 5.17). The function gets the number of the turn and the frame pointer of its
// caller, and returns 1 to end the loop.
func (a *Assembler) Loop(function string) {
	address := func(dst asm.Register) []asm.Instruction {
		return []asm.Instruction{asm.Instruction{
			OpCode: asm.LoadImmOp(asm.DWord), Dst: dst, Src: asm.PseudoFunc, Constant: -1,
		}.WithReference(function)}
	}
	a.Call(asm.FnLoop, Reg(asm.R1), address, Reg(asm.R10), Imm(0))
}

// LoopFunction is the type of a function for Loop.
func LoopFunction(name string) *btf.Func {
	return &btf.Func{Name: name, Linkage: btf.StaticFunc, Type: &btf.FuncProto{
		Return: &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed},
		Params: []btf.FuncParam{
			{Name: "index", Type: &btf.Int{Name: "unsigned int", Size: 4}},
			{Name: "frame", Type: &btf.Pointer{Target: (*btf.Void)(nil)}},
		},
	}}
}

// PlainFunction is the type of a function that the program calls by Invoke, with parameters of
// 64 bits.
func PlainFunction(name string, params ...string) *btf.Func {
	word := &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}
	proto := &btf.FuncProto{Return: word}
	for _, p := range params {
		proto.Params = append(proto.Params, btf.FuncParam{Name: p, Type: word})
	}
	return &btf.Func{Name: name, Linkage: btf.StaticFunc, Type: proto}
}

// GlobalFunction is PlainFunction for one that the verifier looks at once, by itself, whatever it
// is called with: its parameters are numbers.
func GlobalFunction(name string, params ...string) *btf.Func {
	f := PlainFunction(name, params...)
	f.Linkage = btf.GlobalFunc
	return f
}

// Invoke calls a function of the program, with registers and results as in Call.
func (a *Assembler) Invoke(function string, args ...Arg) {
	for i, arg := range args {
		a.Emit(arg(asm.R1 + asm.Register(i))...)
	}
	a.Emit(asm.Call.Label(function))
}

// StoreLong stores a constant as 64 bits. The library has no constructor for
// it, since the constant has only 32.
func StoreLong(base asm.Register, off int16, v int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.StoreImmOp(asm.DWord), Dst: base, Offset: off, Constant: v}
}

// FetchAdd adds src to the 64 bits at dst and leaves what was there in src.
func FetchAdd(dst, src asm.Register) asm.Instruction {
	return atomic(asm.FetchAdd, dst, src, asm.DWord)
}

// CompareExchange stores src in the 32 bits at dst if they equal R0, and leaves what was
// there in R0.
func CompareExchange(dst, src asm.Register) asm.Instruction {
	return atomic(asm.CmpXchg, dst, src, asm.Word)
}

// atomic is an atomic operation that returns what was there. The library (v0.22.0) knows
// such operations but encodes all of them as an addition that does not, unless it is
// given the constant too.
func atomic(op asm.AtomicOp, dst, src asm.Register, size asm.Size) asm.Instruction {
	ins := op.Mem(dst, src, size, 0)
	ins.Constant = int64(op) >> 8
	return ins
}

// CallFunction calls a function of the program.
func (a *Assembler) CallFunction(name string, args ...Arg) {
	for i, arg := range args {
		a.Emit(arg(asm.R1 + asm.Register(i))...)
	}
	a.Emit(asm.Call.Label(name))
}

// WordsFunction is the type of a function that gets the address of so many words of 64
// bits, which it may change, and two numbers of 32 bits, and returns one. It is global, so
// the verifier looks at it once, however often it is called, and takes the address to be
// possibly null.
func WordsFunction(name string, words int) *btf.Func {
	number := &btf.Int{Name: "unsigned int", Size: 4}
	word := &btf.Int{Name: "unsigned long long", Size: 8}
	all := &btf.Struct{Name: name + "_words", Size: uint32(8 * words), Members: []btf.Member{
		{Name: "words", Type: &btf.Array{Index: number, Type: word, Nelems: uint32(words)}},
	}}
	return &btf.Func{Name: name, Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
		Return: number,
		Params: []btf.FuncParam{
			{Name: "words", Type: &btf.Pointer{Target: all}}, {Name: "a", Type: number}, {Name: "b", Type: number},
		},
	}}
}
