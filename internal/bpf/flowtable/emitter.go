package flowtable

import (
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// Table is where functions find the flows.
type Table struct {
	// Map is the descriptor of an ARRAY map of one value, made by Init.
	Map int
	// Flows is how many it was made for.
	Flows int
	// Ticks is how many jiffies there are in a second.
	Ticks int
	// Indexed: what Track enters, FindOriginal finds. Entries of a table that was not indexed are
	// not found, and do no harm.
	Indexed bool
	// Ordered: the processor keeps the order of loads and that of stores, as amd64 does.
	// Where it does not, as on arm64, barriers are needed.
	Ordered bool
}

// emitter emits a function. In it, registers keep their role until it returns; all
// others are scratch.
type emitter struct {
	*assembler.Assembler
	Table
	words int
	// busy is where to go if a bucket is being written to, or has changed, entered where an entry
	// has been written.
	busy, again, entered assembler.Label
}

const (
	request  = asm.R6 // the words that the function was called with: the key, then the value
	bucket   = asm.R7
	attempts = asm.R8
	hash     = asm.R9

	// In and behind a search:
	slot     = asm.R1 // which entry was found
	first    = asm.R2 // and R3: the first words of the key
	tag      = asm.R4
	sequence = asm.R5 // of the bucket
)

// Where a function keeps what outlives a search, from its frame pointer.
const (
	tagSaved = -8 * (1 + iota)
	ownerSaved
	now
	firstBucket
	firstSequence
	secondBucket
	valueHash
	chosenSlot
	chosenBucket
	added
	barrierWord
)

const (
	// mostAttempts is how often a function starts again if a bucket changes meanwhile,
	// mostSpins how often it looks whether a bucket is still being written to. Writing
	// takes some 20 ns.
	mostAttempts = 6
	mostSpins    = 64
)

// ratio is 2^64 divided by the golden ratio, which spreads the bits of a word, as an immediate has it.
const ratio = int64(0x9e3779b97f4a7c15 - 1<<64)

// enter takes the arguments of a function and works the hash out. The clobbers of the
// call for the time come first.
func (e *emitter) enter() {
	given := e.NewLabel()
	e.About("arguments")
	e.Jump(given, asm.JNE.Imm(asm.R1, 0, ""))
	e.Emit(asm.Mov.Imm(asm.R0, 0))
	e.Exit()
	e.Bind(given)
	e.Emit(asm.Mov.Reg(request, asm.R1))
	e.store(tagSaved, asm.R2)
	e.store(ownerSaved, asm.R3)
	e.Call(asm.FnJiffies64)
	e.store(now, asm.R0)
	if !e.Ordered {
		e.Emit(asm.Mov.Imm(asm.R0, 0))
		e.store(barrierWord, asm.R0)
	}

	e.About("hash")
	e.seed(hash, asm.R1)
	for i := range e.words {
		e.mix(hash, asm.R1, request, int16(8*i))
	}
	// The tag is the form and the lowest bits; the first bucket is that of the highest of
	// 32 bits, the second that of the highest of 64.
	e.load(tag, tagSaved)
	e.Emit(asm.LSh.Imm(tag, hashedBits), asm.Mov.Reg(asm.R0, hash), asm.And.Imm(asm.R0, taggedTCP-1))
	e.Emit(asm.Or.Reg(tag, asm.R0), asm.LoadMem(asm.R0, request, protocolAt, asm.Byte))
	e.SkipIf(asm.JNE.Imm(asm.R0, protocolTCP, ""), func() { e.Emit(asm.Or.Imm(tag, taggedTCP)) })
	e.store(tagSaved, tag)
	e.Emit(asm.Mov.Imm(attempts, mostAttempts))
}

// seed begins a hash, by registers that mix uses.
func (e *emitter) seed(hash, by asm.Register) {
	e.Emit(asm.LoadMapValue(hash, e.Map, seedAt), asm.LoadMem(hash, hash, 0, asm.DWord))
	e.Emit(asm.LoadImm(by, ratio, asm.DWord))
}

// mix goes on with a hash by the word at a place.
func (e *emitter) mix(hash, by, base asm.Register, at int16) {
	e.Emit(asm.LoadMem(asm.R0, base, at, asm.DWord), asm.Xor.Reg(hash, asm.R0), asm.Mul.Reg(hash, by))
	e.Emit(asm.Mov.Reg(asm.R0, hash), asm.RSh.Imm(asm.R0, 32), asm.Xor.Reg(hash, asm.R0))
}

// firstBucketNumber leaves in dst which bucket comes first.
func (e *emitter) firstBucketNumber(dst asm.Register) {
	e.Emit(asm.Mov.Reg32(dst, hash), asm.Mul.Imm(dst, int32(buckets(e.Flows))), asm.RSh.Imm(dst, 32))
}

// toFirst leaves the address of a flow's first bucket in bucket.
func (e *emitter) toFirst() {
	e.About("first bucket")
	e.firstBucketNumber(asm.R0)
	e.toBucket()
}

// toSecond leaves that of its second bucket there. It is never the first: that and its
// mirror image among all are two, since the number of buckets is even.
func (e *emitter) toSecond() {
	e.About("second bucket")
	n := int32(buckets(e.Flows))
	e.firstBucketNumber(asm.R1)
	e.Emit(asm.Mov.Reg(asm.R0, hash), asm.RSh.Imm(asm.R0, 32), asm.Mul.Imm(asm.R0, n), asm.RSh.Imm(asm.R0, 32))
	e.SkipIf(asm.JNE.Reg(asm.R0, asm.R1, ""), func() {
		e.Emit(asm.Mov.Imm(asm.R0, n-1), asm.Sub.Reg(asm.R0, asm.R1))
	})
	e.toBucket()
}

// toBucket leaves the address of bucket number R0 in bucket.
func (e *emitter) toBucket() {
	e.Emit(asm.Mul.Imm(asm.R0, bucketSize), asm.LoadMapValue(bucket, e.Map, headerSize), asm.Add.Reg(bucket, asm.R0))
}

// awaitEven loads the sequence number of the bucket, and waits a little until nobody
// writes to it.
func (e *emitter) awaitEven() {
	look, odd := e.NewLabel(), e.NewLabel()
	e.Emit(asm.Mov.Imm(asm.R0, mostSpins))
	e.BindLoop(look)
	e.Emit(asm.LoadMem(sequence, bucket, sequenceAt, asm.Word))
	even := e.NewLabel()
	e.Jump(odd, asm.JSet.Imm(sequence, 1, ""))
	e.Goto(even)
	e.Bind(odd)
	e.Emit(asm.Sub.Imm(asm.R0, 1))
	e.Jump(look, asm.JNE.Imm(asm.R0, 0, ""))
	e.Goto(e.busy)
	e.Bind(even)
	e.barrier()
}

// unchanged goes to busy if the bucket has been written to since its sequence number
// was loaded.
func (e *emitter) unchanged() {
	e.barrier()
	e.Emit(asm.LoadMem(asm.R0, bucket, sequenceAt, asm.Word))
	e.Jump(e.busy, asm.JNE.Reg(asm.R0, sequence, ""))
}

// search looks for the key in the bucket and goes to found with its slot.
func (e *emitter) search(found assembler.Label) {
	e.About("search")
	e.awaitEven()
	e.load(tag, tagSaved)
	e.Emit(asm.LoadMem(first, request, 0, asm.DWord), asm.LoadMem(first+1, request, 8, asm.DWord))
	for i := range int16(ways) {
		next := e.NewLabel()
		e.Emit(asm.LoadMem(asm.R0, bucket, tagsAt+2*i, asm.Half))
		e.Jump(next, asm.JNE.Reg(asm.R0, tag, ""))
		for word := range e.words {
			e.Emit(asm.LoadMem(asm.R0, bucket, keyAt(i, word), asm.DWord))
			if word < hotWords {
				e.Jump(next, asm.JNE.Reg(asm.R0, first+asm.Register(word), ""))
				continue
			}
			e.Emit(asm.LoadMem(slot, request, int16(8*word), asm.DWord))
			e.Jump(next, asm.JNE.Reg(asm.R0, slot, ""))
		}
		e.Emit(asm.Mov.Imm(slot, int32(i)))
		e.Goto(found)
		e.Bind(next)
	}
}
