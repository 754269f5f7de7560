package flowtable

import (
	"math/bits"

	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// The index finds entries by their values: a flow by what it was before a rule rewrote it. Each
// bucket has room for so many marks of flows whose values have that bucket for their first. A mark
// of 32 bits says where an entry is: its slot, from 1 on, in the lowest three bits, above it the number of
// its bucket, and above that bits of the hash of its value. 0 is none.
//
// A mark is written where an entry is, and removed where it goes. Look-ups of keys do without, so
// nothing here is done for flows that are known. A mark is no more than a hint: who follows it
// compares the value. So marks need no lock; where two are written to one place at once, one flow is not found by its
// value, as where two flows have the same bits, or a bucket has no room: then the newest wins.
// Of flows with one value the newest is found.
const (
	marks    = 16
	slotBits = 3
)

const (
	// former is the hash of the value that an entry had before, or 0, once the bucket is
	// locked: nothing is attempted again.
	former = attempts
	// located is where the place of an entry is kept, as a mark has it. The sequence number
	// of the first bucket is of no use once that is locked.
	located = firstSequence

	mark    = asm.R1 // of the flow that is looked for
	vacancy = asm.R4 // where it may be put
)

// placeBits is how many bits of a mark say where the entry is.
func (t Table) placeBits() int { return slotBits + bits.Len(uint(buckets(t.Flows)-1)) }

// FindOriginal emits the function that looks a flow up by its value: R1 is the address of the value and
// of room for the key behind it, as many words each, R2 is the Form. It returns the owner in R0.
func (t Table) FindOriginal(a *assembler.Assembler, name string, ip6 bool) {
	e := t.begin(a, name, ip6)
	found, miss := e.NewLabel(), e.NewLabel()
	e.fold()
	e.toFirst()
	e.toMark()
	for i := range int16(marks) {
		e.Emit(asm.LoadMem(asm.R0, bucket, indexAt+4*i, asm.Word), asm.Xor.Reg32(asm.R0, mark))
		e.Jump(found, asm.JLT.Imm(asm.R0, 1<<e.placeBits(), ""))
	}
	e.Bind(miss)
	e.result(NotFound)

	e.Bind(found)
	e.About("entry by its mark")
	e.Emit(asm.Mov.Reg(slot, asm.R0), asm.And.Imm(slot, 1<<slotBits-1), asm.RSh.Imm(asm.R0, slotBits))
	e.Jump(miss, asm.JLT.Imm(slot, 1, ""))
	e.Jump(miss, asm.JGE.Imm(asm.R0, int32(buckets(e.Flows)), ""))
	e.Emit(asm.Sub.Imm(slot, 1))
	e.toBucket()
	e.awaitEven()
	e.compareValue(miss)
	e.copyKey()
	e.unchanged()
	e.touch()
	e.Emit(asm.Mov.Reg(asm.R0, tag))
	e.Exit()
	e.end(Torn)
}

// compareValue goes to differs if the entry in slot has another value than the request, or another form.
func (e *emitter) compareValue(differs assembler.Label) {
	e.About("value")
	e.formOf(slot, tag)
	e.load(asm.R0, tagSaved)
	e.Emit(asm.RSh.Imm(asm.R0, hashedBits))
	e.Jump(differs, asm.JNE.Reg(asm.R0, tag, ""))
	e.toEntry()
	for word := range e.words {
		e.Emit(asm.LoadMem(asm.R0, part(word), valueAt(word), asm.DWord), asm.LoadMem(tag, request, int16(8*word), asm.DWord))
		e.Jump(differs, asm.JNE.Reg(asm.R0, tag, ""))
	}
}

// copyKey copies the key of the entry to which hot and cold point behind the request, and leaves its
// owner in tag.
func (e *emitter) copyKey() {
	e.About("key")
	for word := range e.words {
		e.Emit(asm.LoadMem(asm.R0, part(word), keyAt(0, word), asm.DWord))
		e.Emit(asm.StoreMem(request, int16(8*(e.words+word)), asm.R0, asm.DWord))
	}
	e.loadOwner(tag)
}

// formOf loads the form of the entry in a slot, 0 if it is free.
func (e *emitter) formOf(slot, dst asm.Register) {
	e.Emit(asm.Mov.Reg(dst, slot), asm.LSh.Imm(dst, 1), asm.Add.Reg(dst, bucket))
	e.Emit(asm.LoadMem(dst, dst, tagsAt, asm.Half), asm.RSh.Imm(dst, hashedBits))
}

// locate notes where the entry in slot is.
func (e *emitter) locate() {
	e.Emit(asm.Mov.Reg(asm.R0, bucket), asm.LoadMapValue(asm.R2, e.Map, headerSize), asm.Sub.Reg(asm.R0, asm.R2))
	e.Emit(asm.Div.Imm32(asm.R0, bucketSize), asm.LSh.Imm(asm.R0, slotBits), asm.Or.Reg(asm.R0, slot), asm.Add.Imm(asm.R0, 1))
	e.store(located, asm.R0)
}

// gone leaves in former the hash of the value of the entry in slot, which is about to be overwritten.
// It may be one of the other version of IP.
func (e *emitter) gone() {
	e.About("what it takes the place of")
	form, by, done := sequence, tag, e.NewLabel()
	e.formOf(slot, form)
	e.Emit(asm.Mov.Imm(former, 0))
	e.Jump(done, asm.JEq.Imm(form, 0, ""))
	e.toHot()
	e.toCold()
	e.seed(former, by)
	for word := range hotWords {
		e.mix(former, by, hot, valueAt(word))
	}
	e.SkipIf(asm.JLT.Imm(form, int32(FormOf(true, 0)), ""), func() {
		for word := hotWords; word < wordsIP6; word++ {
			e.mix(former, by, cold, valueAt(word))
		}
	})
	e.foldForm(former, form)
	e.Bind(done)
}

// index removes the mark of what an entry was before, and makes that of what it is now.
func (e *emitter) index() {
	e.About("mark of what was there")
	add := e.NewLabel()
	e.Emit(asm.Mov.Reg(hash, former))
	e.Jump(add, asm.JEq.Imm(hash, 0, ""))
	e.toFirst()
	e.toMark()
	e.load(asm.R2, located)
	e.Emit(asm.Or.Reg(mark, asm.R2))
	for i := range int16(marks) {
		e.Emit(asm.LoadMem(asm.R0, bucket, indexAt+4*i, asm.Word))
		e.SkipIf(asm.JNE.Reg(asm.R0, mark, ""), func() { e.Emit(asm.StoreImm(bucket, indexAt+4*i, 0, asm.Word)) })
	}

	e.Bind(add)
	e.About("mark of the entry")
	e.seed(hash, asm.R1)
	for word := range e.words {
		e.mix(hash, asm.R1, request, int16(8*(e.words+word)))
	}
	e.fold()
	e.toFirst()
	e.toMark()
	put := e.NewLabel()
	e.Emit(asm.Mov.Reg(vacancy, hash), asm.RSh.Imm(vacancy, int32(64-bits.Len(marks-1)))) // any, if there is none
	for i := range int16(marks) {
		e.Emit(asm.LoadMem(asm.R0, bucket, indexAt+4*i, asm.Word))
		e.SkipIf(asm.JNE.Imm(asm.R0, 0, ""), func() { e.Emit(asm.Mov.Imm(vacancy, int32(i))) })
		e.Emit(asm.Xor.Reg32(asm.R0, mark))
		e.SkipIf(asm.JGE.Imm(asm.R0, 1<<e.placeBits(), ""), func() {
			e.Emit(asm.Mov.Imm(vacancy, int32(i)))
			e.Goto(put)
		})
	}
	e.Bind(put)
	e.load(asm.R0, located)
	e.Emit(asm.Or.Reg(mark, asm.R0), asm.LSh.Imm(vacancy, 2), asm.Add.Reg(bucket, vacancy))
	e.Emit(asm.StoreMem(bucket, indexAt, mark, asm.Word))
	e.result(Tracked)
}

// toMark leaves the mark of the flow with the hash, less where its entry is. It is not that of none,
// since the lowest of these bits is set.
func (e *emitter) toMark() {
	e.Emit(asm.Mov.Reg(mark, hash), asm.RSh.Imm(mark, 32), asm.Or.Imm(mark, 1))
	e.Emit(asm.LSh.Imm32(mark, int32(e.placeBits())))
}

// fold adds the form of the request to its hash, so that flows with other tags have other marks.
func (e *emitter) fold() {
	e.load(asm.R0, tagSaved)
	e.Emit(asm.RSh.Imm(asm.R0, hashedBits))
	e.foldForm(hash, asm.R0)
}

func (e *emitter) foldForm(hash, form asm.Register) {
	e.Emit(asm.LSh.Imm(form, 33), asm.Xor.Reg(hash, form))
}
