package bpf

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
)

// CountersName is the name of the map with the counters.
const CountersName = "repacket_counts"

// ProgramName is the name of the program.
const ProgramName = "repacket"

// Program is a program that says what it does.
type Program struct {
	Instructions asm.Instructions
	// Notes say what each instruction is for.
	Notes []Note

	functions []function // behind the program's own instructions
	section   string
}

// Note says what an instruction is for.
type Note struct {
	// Rule is the place in rule.Program.Written of the rule that it belongs to,
	// or -1.
	Rule int
	// Text are the words of the rule that it carries out, or what it looks at.
	Text string
}

// noRule is the Rule of a Note that belongs to none, or to all.
const noRule = -1

// Annotate makes the XDP program of a plan with notes. The error is a
// *TooLargeError.
func Annotate(p *plan.Program, o Options) (*Program, error) {
	c, err := compile(p, o)
	if err != nil {
		return nil, err
	}
	section := c.to.section
	if o.Fragments {
		section += ".frags"
	}
	return &Program{c.ins, c.notes, c.functions, section}, nil
}

// Disassemble lists the program: offsets in units of eight bytes, as the
// kernel counts them, instructions in the notation of the verifier, and beside
// them what they are for. rules are the rules as written, in the words that
// are to stand before the instructions of each.
func (p *Program) Disassemble(rules []string) string {
	const column = 50
	var b strings.Builder
	l := newLister(p.Instructions)
	last := Note{Rule: noRule}
	for i, ins := range p.Instructions {
		for _, f := range p.functions {
			if f.at == i {
				fmt.Fprintf(&b, "\n%s:\n", f.name)
			}
		}
		note := p.Notes[i]
		if note.Rule != last.Rule {
			b.WriteString(heading(note, rules))
		}
		line := fmt.Sprintf("%5d: %s", l.at[i], l.text(ins))
		if note != last {
			line = fmt.Sprintf("%-*s ; %s", column, line, note.Text)
		}
		b.WriteString(line + "\n")
		last = note
	}
	return b.String()
}

// heading parts the instructions of one rule from those before.
func heading(n Note, rules []string) string {
	if n.Rule == noRule {
		return "\n"
	}
	return "\n; " + rules[n.Rule] + "\n"
}
