// Package assembler puts eBPF instructions together: labels, calls, functions,
// the stack frame, notes on what each instruction is for, and the listing of
// the program that results. It knows no packets and no rules.
package assembler

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// Label is a target of jumps, bound once.
type Label int

// Assembler gathers instructions and labels. It drops unreachable instructions,
// which the kernel rejects, and jumps to the next instruction.
type Assembler struct {
	program Program
	note    Note // for the instructions to come
	labels  []target
	jumps   []jump
	dead    bool // nothing falls through to the next instruction
	known   any
}

type target struct {
	at     int // index of the instruction, or -1
	jumped bool
	known  any // what is known on every jump so far
}

type jump struct {
	from int
	to   Label
}

// New returns an assembler for a program of a name, whose one map that is
// loaded by its descriptor is called mapName.
func New(name, mapName string) *Assembler {
	return &Assembler{program: Program{Name: name, MapName: mapName}, note: Note{Rule: NoRule}}
}

// NewLabel returns a label that is not bound yet.
func (a *Assembler) NewLabel() Label {
	a.labels = append(a.labels, target{at: -1})
	return Label(len(a.labels) - 1)
}

// Len is how many instructions there are so far.
func (a *Assembler) Len() int { return len(a.program.Instructions) }

// Instructions are those so far.
func (a *Assembler) Instructions() asm.Instructions { return a.program.Instructions }

// About says what the instructions to come are for.
func (a *Assembler) About(text string) { a.note.Text = text }

// ForRule says which rule the instructions to come belong to, or NoRule.
func (a *Assembler) ForRule(rule int) { a.note.Rule = rule }

// Known is what has been noted about the registers here, or nil. A label keeps
// it where all ways to it agree.
func (a *Assembler) Known() any { return a.known }

// Note notes something comparable about the registers.
func (a *Assembler) Note(known any) {
	if !a.dead {
		a.known = known
	}
}

// Forget forgets what has been noted about the registers.
func (a *Assembler) Forget() { a.known = nil }

// Reached reports whether an instruction at l would be reached, were it bound here.
func (a *Assembler) Reached(l Label) bool { return !a.dead || a.labels[l].jumped }

// Emit appends instructions that do not jump.
func (a *Assembler) Emit(ins ...asm.Instruction) {
	for _, i := range ins {
		if !a.dead {
			a.put(i)
		}
	}
}

func (a *Assembler) put(ins asm.Instruction) {
	a.program.Instructions, a.program.Notes = append(a.program.Instructions, ins), append(a.program.Notes, a.note)
}

// Jump appends a jump to l. The instruction's own target is filled in later.
func (a *Assembler) Jump(l Label, ins asm.Instruction) {
	if a.dead {
		return
	}
	t := &a.labels[l]
	if !t.jumped {
		t.known = a.known
	} else if t.known != a.known {
		t.known = nil
	}
	t.jumped = true
	a.jumps = append(a.jumps, jump{len(a.program.Instructions), l})
	a.put(ins)
}

// SkipIf emits what the jump leaves out if it is taken.
func (a *Assembler) SkipIf(jump asm.Instruction, emit func()) {
	behind := a.NewLabel()
	a.Jump(behind, jump)
	emit()
	a.Bind(behind)
}

// Goto jumps to l unconditionally.
func (a *Assembler) Goto(l Label) {
	a.Jump(l, asm.Ja.Label(""))
	a.dead = true
}

// Exit returns from the program or the function.
func (a *Assembler) Exit() {
	a.Emit(asm.Return())
	a.dead = true
}

// Bind puts l here. All jumps to it stand before.
func (a *Assembler) Bind(l Label) { a.bind(l, false) }

// BindLoop puts l here; jumps may also come from behind, so nothing is known of
// the registers.
func (a *Assembler) BindLoop(l Label) { a.bind(l, true) }

func (a *Assembler) bind(l Label, backwards bool) {
	a.dropJump(l)
	t := &a.labels[l]
	t.at = len(a.program.Instructions)
	switch {
	case backwards:
		a.known = nil
	case a.dead:
		a.known = t.known
	case t.jumped && t.known != a.known:
		a.known = nil
	}
	a.dead = a.dead && !t.jumped && !backwards
}

// dropJump removes a jump to l that would stand just before it.
func (a *Assembler) dropJump(l Label) {
	p, n, last := &a.program, len(a.jumps)-1, len(a.program.Instructions)-1
	if n < 0 || a.jumps[n] != (jump{last, l}) || !a.dead || p.Instructions[last].OpCode.JumpOp() != asm.Ja {
		return
	}
	a.known = a.labels[l].known // as it was at the jump, or less
	a.jumps, p.Instructions, p.Notes, a.dead = a.jumps[:n], p.Instructions[:last], p.Notes[:last], false
}

// Function begins a function behind what has been emitted, of which nothing
// may fall through to it.
func (a *Assembler) Function(of *btf.Func) {
	a.dead, a.known = false, nil
	a.program.Functions = append(a.program.Functions, Function{At: len(a.program.Instructions), Type: of})
}

// Finish resolves the labels. A program with functions gets type information,
// of itself too: the kernel takes the address only of functions that have it.
func (a *Assembler) Finish() *Program {
	p := &a.program
	for _, j := range a.jumps {
		at := a.labels[j.to].at
		name := fmt.Sprintf("l%d", at)
		p.Instructions[at] = p.Instructions[at].WithSymbol(name)
		p.Instructions[j.from] = p.Instructions[j.from].WithReference(name)
	}
	if len(p.Functions) > 0 {
		for _, f := range append([]Function{{Type: p.Type()}}, p.Functions...) {
			p.Instructions[f.At] = btf.WithFuncMetadata(p.Instructions[f.At].WithSymbol(f.Type.Name), f.Type)
		}
	}
	return p
}
