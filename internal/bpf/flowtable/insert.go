package flowtable

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// Where a place for a new entry is looked for:
const (
	inSecond = asm.R2 // 1 if it is in the second bucket
	longest  = asm.R3 // for how many jiffies the entry there has been idle
	place    = asm.R4 // its slot
	current  = asm.R5 // the time now
)

// insert makes a new entry: in the first bucket, where that is full in the second, and
// where both are in place of the entry that has been idle for longest.
func (e *emitter) insert() {
	inFirst, room, undo := e.NewLabel(), e.NewLabel(), e.NewLabel()
	e.About("first bucket")
	e.load(bucket, firstBucket)
	e.load(sequence, firstSequence)
	e.lock(slot, e.busy)
	e.Emit(asm.Mov.Imm(inSecond, 0), asm.Mov.Imm(longest, 0), asm.Mov.Imm(place, 0))
	e.choose(0, inFirst)

	// The key is not in the second bucket: it has been looked for there, or no flow of
	// the first one was ever there, and the lock of the first keeps others from adding it.
	e.toSecond()
	e.Emit(asm.LoadMem(sequence, bucket, sequenceAt, asm.Word))
	e.Jump(undo, asm.JSet.Imm(sequence, 1, ""))
	e.lock(slot, undo)
	e.store(secondBucket, bucket)
	e.choose(1, room)

	e.evict()
	e.Bind(room)
	e.Emit(asm.Mov.Reg(slot, place))
	e.write()
	e.load(bucket, secondBucket)
	e.unlock()
	e.load(bucket, firstBucket)
	e.Emit(asm.StoreImm(bucket, overflowAt, 1, asm.Word))
	e.unlock()
	e.result(Tracked)

	e.Bind(inFirst)
	e.Emit(asm.Mov.Reg(slot, place))
	e.write()
	e.unlock()
	e.result(Tracked)

	e.Bind(undo)
	e.load(bucket, firstBucket)
	e.unlock()
	e.Goto(e.busy)
}

// choose goes to room with the place of a free entry. Otherwise it has the one that
// has been idle for longest.
func (e *emitter) choose(which int32, room assembler.Label) {
	e.About("room?")
	e.load(current, now)
	for i := range int32(ways) {
		used, newer := e.NewLabel(), e.NewLabel()
		take := func() {
			e.Emit(asm.Mov.Imm(place, i), asm.Mov.Imm(inSecond, which))
		}
		e.Emit(asm.LoadMem(asm.R0, bucket, tagsAt+2*int16(i), asm.Half))
		e.Jump(used, asm.JNE.Imm(asm.R0, 0, ""))
		take()
		e.Goto(room)
		e.Bind(used)
		e.Emit(asm.LoadMem(asm.R0, bucket, timesAt+4*int16(i), asm.Word))
		e.Emit(asm.Mov.Reg32(slot, current), asm.Sub.Reg32(slot, asm.R0))
		e.Jump(newer, asm.JLE.Reg(slot, longest, ""))
		e.Emit(asm.Mov.Reg(longest, slot))
		take()
		e.Bind(newer)
	}
}

// evict goes to the bucket of the chosen entry and counts that it goes, unless it has
// been idle for long.
func (e *emitter) evict() {
	idle := e.NewLabel()
	e.About("evict")
	e.SkipIf(asm.JNE.Imm(inSecond, 0, ""), func() { e.load(bucket, firstBucket) })
	e.Emit(asm.Mov.Reg(slot, place))
	e.toHot() // toEntry would take longest
	e.Emit(asm.LoadMem(asm.R0, hot, keyAt(0, 0)+protocolAt, asm.Byte))
	e.ifLong(longest, idle)
	e.Emit(asm.LoadMem(asm.R0, bucket, evictedAt, asm.Word), asm.Add.Imm(asm.R0, 1))
	e.Emit(asm.StoreMem(bucket, evictedAt, asm.R0, asm.Word))
	e.Bind(idle)
}
