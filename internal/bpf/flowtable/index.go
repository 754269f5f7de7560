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
	found, differs, miss := e.NewLabel(), e.NewLabel(), e.NewLabel()
	e.fold() // once: a second time would undo it
	e.BindLoop(e.again)
	e.toIndex()
	e.toMark()
	for i := range int16(marks) {
		e.Emit(asm.LoadMem(asm.R0, bucket, 4*i, asm.Word), asm.Xor.Reg32(asm.R0, mark))
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
	e.compareValue(differs)
	e.copyKey()
	e.unchanged()
	e.touch()
	e.Emit(asm.Mov.Reg(asm.R0, tag))
	e.Exit()

	e.Bind(differs) // or it is being written
	e.unchanged()
	e.result(NotFound)
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
	e.distance(asm.R0, bucket, asm.R2)
	e.Emit(asm.Div.Imm32(asm.R0, bucketSize), asm.LSh.Imm(asm.R0, slotBits), asm.Or.Reg(asm.R0, slot), asm.Add.Imm(asm.R0, 1))
	e.store(located, asm.R0)
}

// distance leaves in dst how far behind the first bucket an address is. The verifier knows nothing of
// that number, so it looks once at what follows, and not once for each place that there is: 16 marks
// would exceed its complexity limit.
func (e *emitter) distance(dst, address, scratch asm.Register) {
	e.Emit(asm.Mov.Reg(dst, address), asm.LoadMapValue(scratch, e.Map, headerSize), asm.Sub.Reg(dst, scratch))
}

// gone leaves in former the hash of the value of the entry in slot, which is about to be overwritten.
// It may be one of the other version of IP.
func (e *emitter) gone() {
	if !e.Indexed {
		return
	}
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

// fetchIndex works the hash of the request's value out, and loads the line of its marks into the
// cache: it takes part of the time that the buckets take.
func (e *emitter) fetchIndex() {
	if !e.Indexed {
		return
	}
	e.About("marks of the value")
	value, by := tag, cold
	e.seed(value, by)
	for word := range e.words {
		e.mix(value, by, request, int16(8*(e.words+word)))
	}
	e.load(asm.R0, tagSaved)
	e.Emit(asm.RSh.Imm(asm.R0, hashedBits))
	e.foldForm(value, asm.R0)
	e.store(valueHash, value)
	e.Emit(asm.Mov.Reg32(asm.R0, value), asm.Mul.Imm(asm.R0, int32(buckets(e.Flows))), asm.RSh.Imm(asm.R0, 32))
	e.Emit(asm.Mul.Imm(asm.R0, indexSize), asm.LoadMapValue(by, e.Map, uint32(headerSize+buckets(e.Flows)*bucketSize)))
	e.Emit(asm.Add.Reg(by, asm.R0), asm.LoadMem(asm.R0, by, 0, asm.Word))
}

// addMark makes the mark of the entry that is about to be written to slot. What was in its place
// is needed next, and may take long to come from memory: this is done meanwhile.
func (e *emitter) addMark() {
	if !e.Indexed {
		return
	}
	e.About("mark of the entry")
	e.locate()
	e.store(chosenSlot, slot)
	e.store(chosenBucket, bucket)
	e.load(hash, valueHash)
	e.toIndex()
	e.toMark()
	put := e.NewLabel()
	for i := range int16(marks) { // another flow of the same bits
		e.Emit(asm.LoadMem(asm.R0, bucket, 4*i, asm.Word), asm.Mov.Imm(vacancy, int32(4*i)))
		e.Emit(asm.Xor.Reg32(asm.R0, mark))
		e.Jump(put, asm.JLT.Imm(asm.R0, 1<<e.placeBits(), ""))
	}
	for i := range int16(marks) {
		e.Emit(asm.LoadMem(asm.R0, bucket, 4*i, asm.Word), asm.Mov.Imm(vacancy, int32(4*i)))
		e.Jump(put, asm.JEq.Imm(asm.R0, 0, ""))
	}
	e.Emit(asm.Mov.Reg(vacancy, hash), asm.RSh.Imm(vacancy, int32(64-bits.Len(marks-1))), asm.LSh.Imm(vacancy, 2)) // any
	e.Bind(put)
	e.load(asm.R0, located)
	e.Emit(asm.Or.Reg(mark, asm.R0), asm.Add.Reg(bucket, vacancy))
	e.Emit(asm.StoreMem(bucket, 0, mark, asm.Word))
	e.distance(asm.R0, bucket, asm.R2)
	e.store(added, asm.R0)
	e.load(slot, chosenSlot)
	e.load(bucket, chosenBucket)
}

// removeMark removes the mark of what was where the entry is now. If both have the same bits, that
// of the entry has taken its place already.
func (e *emitter) removeMark() {
	if !e.Indexed {
		e.result(Tracked)
		return
	}
	e.About("mark of what was there")
	gone, done := e.NewLabel(), e.NewLabel()
	e.Emit(asm.Mov.Reg(hash, former))
	e.Jump(done, asm.JEq.Imm(hash, 0, ""))
	e.toIndex()
	e.toMark()
	e.load(asm.R2, located)
	e.Emit(asm.Or.Reg(mark, asm.R2))
	for i := range int16(marks) {
		e.Emit(asm.LoadMem(asm.R0, bucket, 4*i, asm.Word), asm.Mov.Imm(vacancy, int32(4*i)))
		e.Jump(gone, asm.JEq.Reg(asm.R0, mark, ""))
	}
	e.Goto(done)
	e.Bind(gone)
	e.Emit(asm.Add.Reg(bucket, vacancy))
	e.distance(asm.R0, bucket, asm.R2)
	e.load(asm.R2, added)
	e.Jump(done, asm.JEq.Reg(asm.R0, asm.R2, ""))
	e.Emit(asm.StoreImm(bucket, 0, 0, asm.Word))
	e.Bind(done)
	e.result(Tracked)
}

// toIndex leaves the address of the marks of the flow with the hash in bucket.
func (e *emitter) toIndex() {
	e.firstBucketNumber(asm.R0)
	e.Emit(asm.Mul.Imm(asm.R0, indexSize), asm.LoadMapValue(bucket, e.Map, uint32(headerSize+buckets(e.Flows)*bucketSize)))
	e.Emit(asm.Add.Reg(bucket, asm.R0))
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
