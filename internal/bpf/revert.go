package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
	"repacket/internal/plan"
)

// A program that reverts holds two sets of rules, and which of them acts is decided for each
// packet by one word in a map: with every process dead the kernel goes back to the old rules. A
// program array would be emptied with its last descriptor, and so would a map of maps.

// Former is what a program does again once its deadline has passed.
type Former struct {
	// Plan is that of the rules before; of none, where nothing was there.
	Plan *plan.Program
	// Options bind these rules to their maps. Hook and Fragments are those of the program.
	Options Options
	// Deadline is an ARRAY map of one 64-bit word, the jiffies from which these rules act.
	Deadline int
}

// TogetherError says that two sets of rules do not fit in one program.
type TogetherError struct {
	// New and Former are how many instructions each of them comes to.
	New, Former int
	// Err is what the verifier said, or nil where there are too many.
	Err error
}

func (e *TogetherError) Error() string {
	sizes := fmt.Sprintf("the rules (%d instructions) and those before (%d), which may have to come back,", e.New, e.Former)
	if e.Err != nil {
		return sizes + " do not fit in one program: together they exceed the complexity limit of the kernel's verifier"
	}
	return sizes + fmt.Sprintf(" do not fit in one program: it can have %d instructions", MaxInstructions)
}

func (e *TogetherError) Unwrap() error { return e.Err }

// Sizes are how many instructions the rules of a program that reverts come to.
type Sizes struct{ New, Former int }

// CompileReverting makes the program of a plan that goes back at a deadline. The error is a
// *TooLargeError, of one of the two alone, or a *TogetherError.
func CompileReverting(p *plan.Program, o Options, f Former) (asm.Instructions, Sizes, error) {
	f.Options.Hook, f.Options.Fragments = o.Hook, o.Fragments
	a := assembler.New(ProgramName, CountersName)
	now, former := newCompilerIn(a, p, o), newCompilerIn(a, f.Plan, f.Options)
	former.prefix = "former_"
	size := func(emit func()) int {
		before := a.Len()
		emit()
		return int(a.Instructions()[before:].Size() / asm.InstructionSize)
	}
	back := a.NewLabel()
	var n Sizes
	choose := size(func() { chooseByDeadline(a, f.Deadline, back) })
	n.New = size(func() { enterBody(now) })
	n.Former = size(func() {
		a.Bind(back)
		enterBody(former)
	})
	n.New += size(now.behind)
	n.Former += size(former.behind)
	switch {
	case n.New > MaxInstructions:
		return nil, n, &TooLargeError{n.New, a.Len() > mostEmitted}
	case n.New+n.Former+choose > MaxInstructions:
		return nil, n, &TogetherError{New: n.New, Former: n.Former}
	}
	return a.Finish().Instructions, n, nil
}

// kept is where the context is kept across a call.
const kept = asm.R6

// chooseByDeadline goes to back if the deadline has passed.
func chooseByDeadline(a *assembler.Assembler, deadline int, back assembler.Label) {
	a.About("deadline of the rules")
	a.Emit(asm.Mov.Reg(kept, asm.R1))
	a.Call(asm.FnJiffies64)
	a.Emit(asm.LoadMapValue(asm.R1, deadline, 0), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord))
	a.Jump(back, asm.JGE.Reg(asm.R0, asm.R2, ""))
}

// enterBody emits a body as if the program began with it.
func enterBody(c *compiler) {
	c.ForRule(assembler.NoRule)
	c.Forget()
	c.Emit(asm.Mov.Reg(asm.R1, kept))
	c.body()
}
