package flowtable

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// While a place for a new entry is looked for, bucket is the second one, and:
const (
	one      = asm.R9 // is the first one; the hash is not needed any more
	inSecond = asm.R2 // 1 if the place is in the second
	longest  = asm.R3 // for how many jiffies the entry there has been idle
	place    = asm.R4 // its slot
	current  = asm.R5 // the time now
)

// sparing is how many entries the first bucket gets before the second one is looked at. The
// emptier one is taken then, so that both are full late: where the table holds as many flows as it
// was made for, one in 400 has found no room. With fewer look-ups would have to look at both.
const sparing = 5

// insert makes a new entry, in place of the one that has been idle for longest where both
// buckets are full. Entries are replaced and never removed, so the free ones are the last.
func (e *emitter) insert() {
	inFirst, busy := e.NewLabel(), e.NewLabel()
	e.About("room?")
	e.load(bucket, firstBucket)
	e.load(sequence, firstSequence)
	e.lock(slot, e.busy)
	for i := range int16(sparing) {
		e.ifFree(bucket, i, inFirst)
	}
	// The key is not in the second bucket: it has been looked for there, or no flow of
	// the first one was ever there, and the lock of the first keeps others from adding it.
	e.toSecond()
	e.Emit(asm.LoadMem(sequence, bucket, sequenceAt, asm.Word))
	e.Jump(busy, asm.JSet.Imm(sequence, 1, ""))
	e.lock(slot, busy)
	e.intoEither()

	e.Bind(busy)
	e.About("second bucket busy")
	e.load(bucket, firstBucket)
	for i := int16(sparing); i < ways; i++ {
		e.ifFree(bucket, i, inFirst)
	}
	e.unlock()
	e.Goto(e.busy)

	e.Bind(inFirst)
	e.Emit(asm.Mov.Reg(slot, place), asm.Mov.Imm(former, 0))
	e.write()
	e.unlock()
	e.Goto(e.entered)
}

// ifFree goes to free if an entry is, with its place.
func (e *emitter) ifFree(of asm.Register, i int16, free assembler.Label) {
	e.Emit(asm.LoadMem(asm.R0, of, tagsAt+2*i, asm.Half), asm.Mov.Imm(place, int32(i)))
	e.Jump(free, asm.JEq.Imm(asm.R0, 0, ""))
}

// intoEither makes the entry in the emptier bucket; both are locked.
func (e *emitter) intoEither() {
	first, second, evict := e.NewLabel(), e.NewLabel(), e.NewLabel()
	e.store(secondBucket, bucket)
	e.load(one, firstBucket)
	for i := range int16(ways) {
		if i >= sparing {
			e.ifFree(one, i, first)
		}
		e.ifFree(bucket, i, second)
	}
	e.evict(evict)

	e.Bind(first)
	e.Emit(asm.Mov.Reg(bucket, one))
	e.Goto(evict)
	e.Bind(second)
	e.Emit(asm.StoreImm(one, overflowAt, 1, asm.Word))
	e.Bind(evict)
	e.Emit(asm.Mov.Reg(slot, place))
	e.gone()
	e.write()
	e.load(bucket, secondBucket)
	e.unlock()
	e.load(bucket, firstBucket)
	e.unlock()
	e.Goto(e.entered)
}

// evict goes to done with the place of the entry that has been idle for longest, and counts
// that it goes unless it has been idle for long.
func (e *emitter) evict(done assembler.Label) {
	e.About("evict")
	e.load(current, now)
	e.Emit(asm.Mov.Imm(longest, 0), asm.Mov.Imm(place, 0), asm.Mov.Imm(inSecond, 0))
	for which, of := range []asm.Register{one, bucket} {
		for i := range int16(ways) {
			e.Emit(asm.LoadMem(asm.R0, of, timesAt+4*i, asm.Word))
			e.Emit(asm.Mov.Reg32(slot, current), asm.Sub.Reg32(slot, asm.R0))
			e.SkipIf(asm.JLE.Reg(slot, longest, ""), func() {
				e.Emit(asm.Mov.Reg(longest, slot), asm.Mov.Imm(place, int32(i)), asm.Mov.Imm(inSecond, int32(which)))
			})
		}
	}
	first, chosen := e.NewLabel(), e.NewLabel()
	e.Jump(first, asm.JEq.Imm(inSecond, 0, ""))
	e.Emit(asm.StoreImm(one, overflowAt, 1, asm.Word))
	e.Goto(chosen)
	e.Bind(first)
	e.Emit(asm.Mov.Reg(bucket, one))
	e.Bind(chosen)
	e.Emit(asm.Mov.Reg(slot, place))
	e.toHot() // toEntry would take longest
	e.Emit(asm.LoadMem(asm.R0, hot, keyAt(0, 0)+protocolAt, asm.Byte))
	e.ifLong(longest, done)
	e.Emit(asm.LoadMem(asm.R0, bucket, evictedAt, asm.Word), asm.Add.Imm(asm.R0, 1))
	e.Emit(asm.StoreMem(bucket, evictedAt, asm.R0, asm.Word))
	e.Goto(done)
}
