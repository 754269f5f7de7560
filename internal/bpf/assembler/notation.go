package assembler

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cilium/ebpf/asm"
)

// The operators of the instructions that programs use.
var (
	operators = map[asm.ALUOp]string{
		asm.Mov: "=", asm.Add: "+=", asm.Sub: "-=", asm.Mul: "*=", asm.And: "&=", asm.Or: "|=", asm.Xor: "^=",
		asm.Div: "/=", asm.LSh: "<<=", asm.RSh: ">>=", asm.ArSh: "s>>=",
	}
	comparisons = map[asm.JumpOp]string{
		asm.JEq: "==", asm.JNE: "!=", asm.JGT: ">", asm.JGE: ">=", asm.JLT: "<", asm.JLE: "<=", asm.JSet: "&", asm.JSLT: "s<",
	}
	types = map[asm.Size]string{asm.Byte: "u8", asm.Half: "u16", asm.Word: "u32", asm.DWord: "u64"}
)

// notation is one instruction as the verifier writes it; targets are the offsets
// of what is jumped to.
func (p *Program) notation(ins asm.Instruction, targets map[string]int) string {
	dst, src := register(ins, ins.Dst), register(ins, ins.Src)
	memory := func(base string) string {
		return fmt.Sprintf("*(%s *)(%s %+d)", types[ins.OpCode.Size()], base, ins.Offset)
	}
	class, immediate := ins.OpCode.Class(), ins.OpCode.Source() == asm.ImmSource
	switch {
	case class == asm.LdClass:
		return fmt.Sprintf("%s = %s ll", dst, p.constant(ins))
	case class == asm.LdXClass:
		return dst + " = " + memory(src)
	case class == asm.StClass:
		return fmt.Sprintf("%s = %d", memory(dst), ins.Constant)
	case ins.OpCode.AtomicOp() == asm.CmpXchg:
		return fmt.Sprintf("r0 = atomic_cmpxchg(%s, r0, %s)", memory(dst)[1:], src)
	case class == asm.StXClass && ins.OpCode.Mode() == asm.AtomicMode:
		return fmt.Sprintf("%s = atomic64_fetch_add(%s, %[1]s)", src, memory(dst)[1:])
	case class == asm.StXClass:
		return memory(dst) + " = " + src
	case class.IsALU():
		switch op := ins.OpCode.ALUOp(); {
		case op == asm.Swap:
			return fmt.Sprintf("r%d = be%d r%[1]d", ins.Dst, ins.Constant)
		case op == asm.Neg:
			return fmt.Sprintf("%s = -%[1]s", dst)
		case immediate:
			return fmt.Sprintf("%s %s %d", dst, operators[op], int32(ins.Constant))
		default:
			return fmt.Sprintf("%s %s %s", dst, operators[op], src)
		}
	}
	to := targets[ins.Reference()]
	switch op := ins.OpCode.JumpOp(); {
	case op == asm.Exit:
		return "exit"
	case op == asm.Call && ins.Reference() != "":
		return "call " + ins.Reference()
	case op == asm.Call:
		return "call " + helperName(asm.BuiltinFunc(ins.Constant))
	case op == asm.Ja:
		return fmt.Sprintf("goto %d", to)
	case immediate:
		return fmt.Sprintf("if %s %s 0x%x goto %d", dst, comparisons[op], uint32(ins.Constant), to)
	default:
		return fmt.Sprintf("if %s %s %s goto %d", dst, comparisons[op], src, to)
	}
}

// constant is what a load of 64 bits loads.
func (p *Program) constant(ins asm.Instruction) string {
	switch ins.Src {
	case asm.PseudoMapFD:
		return p.MapName
	case asm.PseudoMapValue:
		return "value of a map"
	case asm.PseudoFunc:
		return ins.Reference()
	}
	return fmt.Sprintf("0x%x", uint64(ins.Constant))
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
