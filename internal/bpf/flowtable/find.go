package flowtable

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// What the functions return.
const (
	// NotFound: the table has no such flow. Any other result of Find and FindOriginal up to
	// MaxOwner is the owner of the entry.
	NotFound = 0
	MaxOwner = 1<<16 - 1
	// Torn: the entry kept changing while it was read.
	Torn = 1 << 16

	// Tracked: the table has the flow.
	Tracked = 0
	// Collision: it has another flow of the same key, and keeps it.
	Collision = 1
	// Busy: the bucket kept changing.
	Busy = 2
)

// Find emits the function that looks a flow up: R1 is the address of the key and of room
// for the value behind it, as many words each, R2 is the Form. It returns the owner in R0.
func (t Table) Find(a *assembler.Assembler, name string, ip6 bool) {
	e := t.begin(a, name, ip6)
	found, miss := e.NewLabel(), e.NewLabel()
	e.BindLoop(e.again)
	e.toFirst()
	e.search(found)
	e.overflowed(miss)
	e.toSecond()
	e.search(found)
	e.Bind(miss)
	e.result(NotFound)

	e.Bind(found)
	e.copyValue()
	e.unchanged()
	e.touch()
	e.Emit(asm.Mov.Reg(asm.R0, tag))
	e.Exit()
	e.end(Torn)
}

// begin begins a function. Where it starts again, at again, is left to the function.
func (t Table) begin(a *assembler.Assembler, name string, ip6 bool) *emitter {
	e := &emitter{Assembler: a, Table: t, words: wordsIP}
	if ip6 {
		e.words = wordsIP6
	}
	e.busy, e.again, e.entered = e.NewLabel(), e.NewLabel(), e.NewLabel()
	e.Function(assembler.WordsFunction(name, 2*e.words))
	e.enter()
	return e
}

// end starts again where a bucket was busy, and gives up in the end.
func (e *emitter) end(result int32) {
	e.Bind(e.busy)
	e.About("busy")
	e.Emit(asm.Sub.Imm(attempts, 1))
	e.Jump(e.again, asm.JNE.Imm(attempts, 0, ""))
	e.result(result)
}

func (e *emitter) result(n int32) {
	e.Emit(asm.Mov.Imm(asm.R0, n))
	e.Exit()
}

// overflowed goes to miss if no flow of the first bucket had to take its second: none has been
// evicted from a bucket without one.
func (e *emitter) overflowed(miss assembler.Label) {
	e.Emit(asm.LoadMem(asm.R0, bucket, spillAt, asm.Word))
	e.Jump(miss, asm.JEq.Imm(asm.R0, 0, ""))
}

// Behind a search, where the parts of an entry are, but for the place of entry 0.
const (
	hot  = asm.R2
	cold = asm.R3
)

// toEntry leaves in hot and cold where the entry in slot is. The slot stays.
func (e *emitter) toEntry() {
	e.toHot()
	if e.words > hotWords {
		e.toCold()
	}
}

func (e *emitter) toHot() {
	e.Emit(asm.Mov.Reg(hot, slot), asm.Mul.Imm(hot, hotSize), asm.Add.Reg(hot, bucket))
}

func (e *emitter) toCold() {
	e.Emit(asm.Mov.Reg(cold, slot), asm.Mul.Imm(cold, coldSize), asm.Add.Reg(cold, bucket))
}

// part is the register that a word of an entry is found by.
func part(word int) asm.Register {
	if word < hotWords {
		return hot
	}
	return cold
}

// copyValue copies the value of the entry in slot behind the key of the request, and
// leaves its owner in tag.
func (e *emitter) copyValue() {
	e.About("value")
	e.toEntry()
	for word := range e.words {
		e.Emit(asm.LoadMem(asm.R0, part(word), valueAt(word), asm.DWord))
		e.Emit(asm.StoreMem(request, int16(8*(e.words+word)), asm.R0, asm.DWord))
	}
	e.loadOwner(tag)
}

// loadOwner loads the owner of the entry in slot.
func (e *emitter) loadOwner(dst asm.Register) {
	e.Emit(asm.Mov.Reg(dst, slot), asm.LSh.Imm(dst, 1), asm.Add.Reg(dst, bucket))
	e.Emit(asm.LoadMem(dst, dst, ownersAt, asm.Half))
}

// touch notes that the entry in slot is in use. If it has been evicted meanwhile, another
// entry counts as used, which does no harm.
func (e *emitter) touch() {
	e.About("time")
	e.toTime(slot)
	e.load(sequence, now)
	e.Emit(asm.LoadMem(asm.R0, slot, timesAt, asm.Word), asm.Mov.Reg32(sequence, sequence))
	e.SkipIf(asm.JEq.Reg(asm.R0, sequence, ""), func() {
		e.Emit(asm.StoreMem(slot, timesAt, sequence, asm.Word))
	})
}

// toTime makes a slot the place of its time, but for that of entry 0.
func (e *emitter) toTime(slot asm.Register) {
	e.Emit(asm.LSh.Imm(slot, 2), asm.Add.Reg(slot, bucket))
}

func (e *emitter) load(dst asm.Register, at int16) {
	e.Emit(asm.LoadMem(dst, asm.R10, at, asm.DWord))
}

func (e *emitter) store(at int16, src asm.Register) {
	e.Emit(asm.StoreMem(asm.R10, at, src, asm.DWord))
}

// barrier keeps loads and stores before it before those behind it, where the processor
// does not: an atomic operation that returns what was there is a full barrier.
func (e *emitter) barrier() {
	if e.Ordered {
		return
	}
	e.Emit(asm.Mov.Imm(asm.R0, 0), asm.Mov.Reg(asm.R3, asm.R10), asm.Add.Imm(asm.R3, barrierWord))
	e.Emit(assembler.FetchAdd(asm.R3, asm.R0))
}
