package assembler

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Program is a program that says what it does.
type Program struct {
	Name         string
	MapName      string // of the map that is loaded by its descriptor
	Instructions asm.Instructions
	Notes        []Note     // what each instruction is for
	Functions    []Function // behind the program's own instructions
}

// Function is a function of a program.
type Function struct {
	At   int // index of its first instruction
	Type *btf.Func
}

// Note says what an instruction is for.
type Note struct {
	// Rule is the place in rule.Program.Written of the rule that it belongs to,
	// or NoRule.
	Rule int
	// Text are the words of the rule that it carries out, or what it looks at.
	Text string
}

// NoRule is the Rule of a Note that belongs to none, or to all.
const NoRule = -1

// Type is the type of the program itself.
func (p *Program) Type() *btf.Func {
	return &btf.Func{Name: p.Name, Linkage: btf.GlobalFunc, Type: &btf.FuncProto{
		Return: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed},
		Params: []btf.FuncParam{{Name: "ctx", Type: &btf.Pointer{Target: (*btf.Void)(nil)}}},
	}}
}

// Offsets are those of the instructions, in units of eight bytes, as the kernel
// counts them, and behind them that of the end.
func (p *Program) Offsets() []int {
	out := make([]int, len(p.Instructions)+1)
	for i, ins := range p.Instructions {
		out[i+1] = out[i] + int(ins.Size()/asm.InstructionSize) // a load of 64 bits takes two
	}
	return out
}

// Disassemble lists the program: offsets, instructions in the notation of the
// verifier, and next to them what they are for. rules are the rules as written,
// in the words that are to stand before the instructions of each.
func (p *Program) Disassemble(rules []string) string {
	const column = 50
	var b strings.Builder
	offsets, functions := p.Offsets(), p.Functions
	targets := map[string]int{} // offsets of what is jumped to, or called
	for i, ins := range p.Instructions {
		targets[ins.Symbol()] = offsets[i]
	}
	last := Note{Rule: NoRule}
	for i, ins := range p.Instructions {
		if len(functions) > 0 && functions[0].At == i {
			fmt.Fprintf(&b, "\n%s:\n", functions[0].Type.Name)
			functions = functions[1:]
		}
		note := p.Notes[i]
		switch note.Rule {
		case last.Rule:
		case NoRule:
			b.WriteString("\n")
		default:
			b.WriteString("\n; " + rules[note.Rule] + "\n")
		}
		line := fmt.Sprintf("%5d: %s", offsets[i], p.notation(ins, targets))
		if note != last {
			line = fmt.Sprintf("%-*s ; %s", column, line, note.Text)
		}
		b.WriteString(line + "\n")
		last = note
	}
	return b.String()
}
