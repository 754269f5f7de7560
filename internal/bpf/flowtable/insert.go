package flowtable

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// While a place for a new entry is looked for, bucket is the second one, and:
const (
	one     = asm.R9 // is the first one; the hash is not needed any more
	longest = asm.R3 // for how many jiffies the entry there has been idle
	place   = asm.R4 // its slot
	current = asm.R5 // the time now
)

// sparing is how many entries the first bucket gets before the second one is looked at. The
// emptier one is taken then, so that both are full late: where the table holds as many flows as it
// was made for, one in 400 has found no room. With fewer look-ups would have to look at both.
const sparing = 5

// insert makes a new entry, in place of the one that has been idle for longest where both
// buckets are full. Entries are replaced and never removed, so the free ones are the last.
func (e *emitter) insert() {
	inFirst, busy := e.NewLabel(), e.NewLabel()
	e.fetchIndex()
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
	e.Emit(asm.Mov.Reg(slot, place))
	if e.Indexed {
		e.Emit(asm.Mov.Imm(former, 0))
	}
	e.addMark()
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
	e.spill()
	e.Bind(evict)
	e.Emit(asm.Mov.Reg(slot, place))
	e.addMark()
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
	// How long with the slot in the lowest bits, without jumps, which nothing could predict: the
	// longer of two is one plus the difference if that is positive. Two chains of these at a time.
	idlest := [...]asm.Register{longest, place}
	e.Emit(asm.Mov.Imm(idlest[0], 0), asm.Mov.Imm(idlest[1], 0))
	for i := range int16(ways) {
		for which, of := range []asm.Register{one, bucket} {
			e.Emit(asm.LoadMem(asm.R0, of, timesAt+4*i, asm.Word), asm.Mov.Reg32(slot, current), asm.Sub.Reg32(slot, asm.R0))
			e.Emit(asm.LSh.Imm(slot, slotBits), asm.Or.Imm(slot, int32(i)), asm.Sub.Reg(slot, idlest[which]))
			e.Emit(asm.Mov.Reg(asm.R0, slot), asm.ArSh.Imm(asm.R0, 63), asm.Xor.Imm(asm.R0, -1), asm.And.Reg(slot, asm.R0))
			e.Emit(asm.Add.Reg(idlest[which], slot))
		}
	}
	first, chosen := e.NewLabel(), e.NewLabel()
	e.Jump(first, asm.JGE.Reg(idlest[0], idlest[1], ""))
	e.Emit(asm.Mov.Reg(longest, place))
	e.spill()
	e.Goto(chosen)
	e.Bind(first)
	e.Emit(asm.Mov.Reg(bucket, one))
	e.Bind(chosen)
	e.Emit(asm.Mov.Reg(place, longest), asm.And.Imm(place, 1<<slotBits-1), asm.RSh.Imm(longest, slotBits))
	// The tag says whether the flow is one of TCP: the flow itself may have to come from memory.
	e.Emit(asm.Mov.Reg(slot, place), asm.LSh.Imm(slot, 1), asm.Add.Reg(slot, bucket), asm.LoadMem(asm.R0, slot, tagsAt, asm.Half))
	e.Emit(asm.And.Imm(asm.R0, taggedTCP))
	e.ifLong(longest, taggedTCP, done)
	e.Emit(asm.LoadMem(asm.R0, bucket, spillAt, asm.Word), asm.Add.Imm(asm.R0, evictedOne))
	e.Emit(asm.StoreMem(bucket, spillAt, asm.R0, asm.Word))
	e.Goto(done)
}

// spill notes that an entry of the first bucket is in the second.
func (e *emitter) spill() {
	e.Emit(asm.LoadMem(asm.R0, one, spillAt, asm.Word), asm.Or.Imm(asm.R0, 1))
	e.Emit(asm.StoreMem(one, spillAt, asm.R0, asm.Word))
}
