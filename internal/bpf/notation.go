package bpf

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/asm"
)

// lister writes instructions in the notation of the verifier.
type lister struct {
	at     []int          // offsets of the instructions in units of eight bytes
	labels map[string]int // offsets of those that are jumped to, or called
}

func newLister(list asm.Instructions) lister {
	l := lister{labels: map[string]int{}}
	at := 0
	for _, ins := range list {
		l.at = append(l.at, at)
		if ins.Symbol() != "" {
			l.labels[ins.Symbol()] = at
		}
		at += int(ins.Size() / asm.InstructionSize) // a load of 64 bits takes two
	}
	return l
}

// The operators of the instructions that the compiler uses.
var (
	operators = map[asm.ALUOp]string{
		asm.Mov: "=", asm.Add: "+=", asm.Sub: "-=", asm.Mul: "*=", asm.And: "&=", asm.Or: "|=", asm.Xor: "^=",
		asm.Div: "/=", asm.LSh: "<<=", asm.RSh: ">>=", asm.ArSh: "s>>=",
	}
	comparisons = map[asm.JumpOp]string{
		asm.JEq: "==", asm.JNE: "!=", asm.JGT: ">", asm.JGE: ">=", asm.JLT: "<", asm.JLE: "<=", asm.JSet: "&", asm.JSLT: "s<",
	}
)

// text is one instruction.
func (l lister) text(ins asm.Instruction) string {
	switch class := ins.OpCode.Class(); {
	case class == asm.LdClass:
		return fmt.Sprintf("%s = %s ll", register(ins, ins.Dst), wide(ins))
	case class == asm.LdXClass:
		return fmt.Sprintf("%s = %s", register(ins, ins.Dst), memory(ins, ins.Src))
	case class == asm.StClass:
		return fmt.Sprintf("%s = %d", memory(ins, ins.Dst), ins.Constant)
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		return fmt.Sprintf("%s = atomic64_fetch_add(%s, %[1]s)", register(ins, ins.Src), memory(ins, ins.Dst)[1:])
	case class == asm.StXClass:
		return fmt.Sprintf("%s = %s", memory(ins, ins.Dst), register(ins, ins.Src))
	case class.IsALU():
		return arithmetic(ins)
	}
	return l.jump(ins)
}

// wide is what a load of 64 bits loads.
func wide(ins asm.Instruction) string {
	switch ins.Src {
	case asm.PseudoMapFD:
		return CountersName
	case asm.PseudoMapValue:
		return "value of a map"
	case asm.PseudoFunc:
		return ins.Reference()
	}
	return fmt.Sprintf("0x%x", uint64(ins.Constant))
}

// memory is the place that an instruction loads from or stores to.
func memory(ins asm.Instruction, base asm.Register) string {
	size := map[asm.Size]string{asm.Byte: "u8", asm.Half: "u16", asm.Word: "u32", asm.DWord: "u64"}[ins.OpCode.Size()]
	return fmt.Sprintf("*(%s *)(%s %+d)", size, register(ins, base), ins.Offset)
}

func arithmetic(ins asm.Instruction) string {
	dst := register(ins, ins.Dst)
	if ins.OpCode.ALUOp() == asm.Swap {
		return fmt.Sprintf("r%d = be%d r%[1]d", ins.Dst, ins.Constant)
	}
	if ins.OpCode.ALUOp() == asm.Neg {
		return fmt.Sprintf("%s = -%[1]s", dst)
	}
	return fmt.Sprintf("%s %s %s", dst, operators[ins.OpCode.ALUOp()], source(ins, "%d"))
}

// jump is a jump, a call or the end.
func (l lister) jump(ins asm.Instruction) string {
	switch ins.OpCode.JumpOp() {
	case asm.Exit:
		return "exit"
	case asm.Call:
		return "call " + helperName(asm.BuiltinFunc(ins.Constant))
	case asm.Ja:
		return fmt.Sprintf("goto %d", l.labels[ins.Reference()])
	}
	return fmt.Sprintf("if %s %s %s goto %d", register(ins, ins.Dst), comparisons[ins.OpCode.JumpOp()],
		source(ins, "0x%x"), l.labels[ins.Reference()])
}

// source is the second operand, a constant or a register.
func source(ins asm.Instruction, format string) string {
	if ins.OpCode.Source() == asm.ImmSource {
		if format == "%d" {
			return fmt.Sprint(int32(ins.Constant))
		}
		return fmt.Sprintf(format, uint32(ins.Constant))
	}
	return register(ins, ins.Src)
}

// register is a register's name: w and not r where only its lower 32 bits count.
func register(ins asm.Instruction, r asm.Register) string {
	if class := ins.OpCode.Class(); class == asm.ALUClass || class == asm.Jump32Class {
		return fmt.Sprintf("w%d", r)
	}
	return fmt.Sprintf("r%d", r)
}

// helperName is the kernel's name of a helper, which the library writes as
// FnMapLookupElem.
func helperName(f asm.BuiltinFunc) string {
	var b strings.Builder
	b.WriteString("bpf")
	for _, r := range strings.TrimPrefix(f.String(), "Fn") {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
