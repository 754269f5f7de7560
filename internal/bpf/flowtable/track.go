package flowtable

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// How long an entry is kept for sure, in seconds, where another flow wants its key or its
// place: RFC 5382 REQ-5 for TCP, RFC 4787 REQ-5 for all others.
const (
	idleTCP   = 2*60*60 + 4*60
	idleOther = 5 * 60
)

const (
	protocolAt  = 4 // byte of a flow
	protocolTCP = 6
)

// Track emits the function that enters a flow or notes that it is in use: R1 is the
// address of the key and the value, R2 is the Form, R3 the owner, from 1 to MaxOwner. It
// returns Tracked, Collision or Busy in R0.
//
// If there is an entry with the key and another value, the newest value wins where both
// have one source: then both are flows of one client. Else the older one stays, unless it
// has been idle for long.
func (t Table) Track(a *assembler.Assembler, name string, ip6 bool) {
	e := t.begin(a, name, ip6)
	found, missing := e.NewLabel(), e.NewLabel()
	e.BindLoop(e.again)
	e.toFirst()
	e.search(found)
	e.store(firstBucket, bucket)
	e.store(firstSequence, sequence)
	e.overflowed(missing)
	e.toSecond()
	e.search(found)

	e.Bind(missing)
	e.insert()
	e.Bind(found)
	e.found()
	e.Bind(e.entered)
	e.removeMark()
	e.end(Busy)
}

// found goes on with an entry that has the key.
func (e *emitter) found() {
	differs, update := e.NewLabel(), e.NewLabel()
	e.About("same flow?")
	e.toEntry()
	for word := range e.words {
		e.Emit(asm.LoadMem(asm.R0, part(word), valueAt(word), asm.DWord))
		e.Emit(asm.LoadMem(tag, request, int16(8*(e.words+word)), asm.DWord))
		e.Jump(differs, asm.JNE.Reg(asm.R0, tag, ""))
	}
	e.loadOwner(asm.R0)
	e.load(tag, ownerSaved)
	e.Jump(differs, asm.JNE.Reg(asm.R0, tag, ""))
	e.unchanged()
	e.touch()
	e.result(Tracked)

	e.Bind(differs)
	e.sameSource(update)
	e.idle(update)
	e.unchanged()
	e.result(Collision)

	e.Bind(update)
	e.fetchIndex()
	e.About("update")
	e.lock(cold, e.busy)
	e.addMark()
	e.gone()
	e.write()
	e.unlock()
	e.Goto(e.entered)
}

// sameSource goes to same if the entry's value has the source of the request's: the
// port and the address.
func (e *emitter) sameSource(same assembler.Label) {
	e.About("same client?")
	other := e.NewLabel()
	equal := func(word int, size asm.Size) { // its first bytes
		e.Emit(asm.LoadMem(asm.R0, part(word), valueAt(word), size))
		e.Emit(asm.LoadMem(tag, request, int16(8*(e.words+word)), size))
		e.Jump(other, asm.JNE.Reg(asm.R0, tag, ""))
	}
	equal(0, asm.Half)
	if e.words == wordsIP {
		equal(1, asm.Word)
	} else {
		equal(1, asm.DWord)
		equal(2, asm.DWord)
	}
	e.Goto(same)
	e.Bind(other)
}

// idle goes to yes if the entry in slot, to which hot points, has been idle for long.
func (e *emitter) idle(yes assembler.Label) {
	e.About("idle for long?")
	e.Emit(asm.Mov.Reg(tag, slot))
	e.toTime(tag)
	e.Emit(asm.LoadMem(asm.R0, tag, timesAt, asm.Word))
	e.load(tag, now)
	e.Emit(asm.Sub.Reg32(tag, asm.R0))
	e.Emit(asm.LoadMem(asm.R0, hot, keyAt(0, 0)+protocolAt, asm.Byte))
	e.ifLong(tag, protocolTCP, yes)
}

// ifLong goes to yes if that many jiffies are long for TCP, which R0 holds tcp for, or for others.
func (e *emitter) ifLong(jiffies asm.Register, tcp int32, yes assembler.Label) {
	other, no := e.NewLabel(), e.NewLabel()
	e.Jump(other, asm.JNE.Imm(asm.R0, tcp, ""))
	e.Jump(yes, asm.JGE.Imm(jiffies, int32(idleTCP*e.Ticks), ""))
	e.Goto(no)
	e.Bind(other)
	e.Jump(yes, asm.JGE.Imm(jiffies, int32(idleOther*e.Ticks), ""))
	e.Bind(no)
}

// lock makes the sequence number of the bucket odd; next is scratch. It goes to busy if
// the bucket has changed since the number was loaded, so what a search has found holds.
func (e *emitter) lock(next asm.Register, busy assembler.Label) {
	e.Emit(asm.Mov.Reg(next, sequence), asm.Add.Imm(next, 1), asm.Mov.Reg(asm.R0, sequence))
	e.Emit(assembler.CompareExchange(bucket, next))
	e.Jump(busy, asm.JNE.Reg(asm.R0, sequence, ""))
}

// unlock makes it even again, behind all that has been written.
func (e *emitter) unlock() {
	e.barrier()
	e.Emit(asm.LoadMem(asm.R0, bucket, sequenceAt, asm.Word), asm.Add.Imm(asm.R0, 1))
	e.Emit(asm.StoreMem(bucket, sequenceAt, asm.R0, asm.Word))
}

// write writes the entry in slot of a bucket that is locked.
func (e *emitter) write() {
	e.About("entry")
	e.toEntry()
	for word := range e.words {
		e.Emit(asm.LoadMem(asm.R0, request, int16(8*word), asm.DWord))
		e.Emit(asm.StoreMem(part(word), keyAt(0, word), asm.R0, asm.DWord))
		e.Emit(asm.LoadMem(asm.R0, request, int16(8*(e.words+word)), asm.DWord))
		e.Emit(asm.StoreMem(part(word), valueAt(word), asm.R0, asm.DWord))
	}
	e.Emit(asm.Mov.Reg(hot, slot), asm.LSh.Imm(hot, 1), asm.Add.Reg(hot, bucket))
	e.load(asm.R0, tagSaved)
	e.Emit(asm.StoreMem(hot, tagsAt, asm.R0, asm.Half))
	e.load(asm.R0, ownerSaved)
	e.Emit(asm.StoreMem(hot, ownersAt, asm.R0, asm.Half))
	e.toTime(slot)
	e.load(asm.R0, now)
	e.Emit(asm.StoreMem(slot, timesAt, asm.R0, asm.Word))
}
