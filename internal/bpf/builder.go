package bpf

import (
	"fmt"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/plan"
)

// label is a place that jumps can go to, bound once.
type label int

// held says what the load register holds: a window of the packet, whether it
// has been swapped to host order, and whether it has been masked.
type held struct {
	win    plan.Window
	host   bool
	masked bool
}

// builder gathers instructions and labels. It drops what cannot be reached,
// because the kernel refuses programs with unreachable instructions, and
// jumps to the next instruction.
type builder struct {
	ins    asm.Instructions
	notes  []Note // one an instruction
	note   Note   // for the instructions to come
	labels []target
	jumps  []jump
	// here are the labels bound behind the last instruction.
	here []label
	// dead: nothing falls through to the next instruction.
	dead bool
	// load is what the load register holds here; zero is nothing known.
	load held
}

type target struct {
	at    int // index of the instruction, or -1
	used  bool
	load  held // what the load register holds on every jump so far
	first bool // no jump yet
}

type jump struct {
	from int
	to   label
}

func (b *builder) newLabel() label {
	b.labels = append(b.labels, target{at: -1, first: true})
	return label(len(b.labels) - 1)
}

// emit appends instructions that jump nowhere.
func (b *builder) emit(ins ...asm.Instruction) {
	for _, i := range ins {
		if !b.dead {
			b.put(i)
		}
	}
}

func (b *builder) put(ins asm.Instruction) {
	b.here = b.here[:0]
	b.ins, b.notes = append(b.ins, ins), append(b.notes, b.note)
}

// about says what the instructions to come are for.
func (b *builder) about(text string) { b.note.Text = text }

// jumpTo appends a jump to l. The instruction's own target is filled in later.
func (b *builder) jumpTo(l label, ins asm.Instruction) {
	if b.dead {
		return
	}
	t := &b.labels[l]
	t.used = true
	if t.first {
		t.load, t.first = b.load, false
	} else if t.load != b.load {
		t.load = held{}
	}
	b.jumps = append(b.jumps, jump{len(b.ins), l})
	b.put(ins)
}

// goTo jumps to l unconditionally.
func (b *builder) goTo(l label) {
	b.jumpTo(l, asm.Ja.Label(""))
	b.dead = true
}

// exit returns from the program.
func (b *builder) exit() {
	b.emit(asm.Return())
	b.dead = true
}

// bind puts l here. Jumps may come from behind only if backwards is set; then
// nothing is known of the load register.
func (b *builder) bind(l label, backwards bool) {
	b.dropJumpTo(l)
	t := &b.labels[l]
	t.at = len(b.ins)
	b.here = append(b.here, l)
	switch {
	case backwards:
		b.load = held{}
	case b.dead:
		b.load = t.load
	case !t.first && t.load != b.load:
		b.load = held{}
	}
	if t.used || backwards {
		b.dead = false
	}
}

// dropJumpTo removes a jump to l that would stand just before it.
func (b *builder) dropJumpTo(l label) {
	n, last := len(b.jumps), len(b.ins)-1
	if n == 0 || b.jumps[n-1].to != l || b.jumps[n-1].from != last || !b.dead {
		return
	}
	if b.ins[last].OpCode.JumpOp() != asm.Ja {
		return
	}
	b.load = b.labels[l].load // as it was at the jump, or less
	b.jumps, b.ins, b.notes, b.dead = b.jumps[:n-1], b.ins[:last], b.notes[:last], false
	for _, l := range b.here {
		b.labels[l].at = last
	}
}

// finish resolves the labels.
func (b *builder) finish() asm.Instructions {
	for _, j := range b.jumps {
		at := b.labels[j.to].at
		name := fmt.Sprintf("l%d", at)
		b.ins[at] = b.ins[at].WithSymbol(name)
		b.ins[j.from] = b.ins[j.from].WithReference(name)
	}
	return b.ins
}
