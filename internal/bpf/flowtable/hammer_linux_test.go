package flowtable

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// TestNoOtherFlowsValue: programs on several CPUs enter flows, change their values and look
// them up, all at once and in a table far too small. A value that is found is one that was
// entered with this key, as a whole.
func TestNoOtherFlowsValue(t *testing.T) {
	for _, test := range []struct {
		name  string
		ip6   bool
		flows int // there are
		room  int
		// ordered: without barriers, where the processor needs none.
		ordered bool
	}{
		{"IPv4, two buckets", false, 40, 8, true},
		{"IPv4, two entries", false, 2, 8, true},
		{"IPv4, two entries, with barriers", false, 2, 8, false},
		{"IPv4, 16 buckets", false, 200, 84, true},
		{"IPv6, two buckets", true, 40, 8, true},
		{"IPv6, 16 buckets, with barriers", true, 200, 84, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHammer(t, test.ip6, test.flows, test.room, test.ordered)
			got := h.strike(t, 4, 400_000)
			t.Logf("%+v", got)
			if got.wrong != 0 || got.hits == 0 || got.tracked == 0 {
				t.Errorf("%d of %d hits gave a value that this flow never had (%d tracked)", got.wrong, got.hits, got.tracked)
			}
			if got.originals == 0 {
				t.Errorf("of %d flows none was found by its value", got.hits)
			}
			if got.collisions != 0 {
				t.Errorf("%d collisions of flows that have one source", got.collisions)
			}
			if ops := got.hits + got.misses + got.torn + got.tracked + got.busy; ops != 4*400_000 {
				t.Errorf("%d operations counted, not %d", ops, 4*400_000)
			}
			if u := h.usage(t); u.Flows > test.flows {
				t.Errorf("%d entries of %d flows: one is there twice", u.Flows, test.flows)
			}
		})
	}
}

// hammer is a program that uses a table at random.
type hammer struct {
	table   *ebpf.Map
	counts  *ebpf.Map
	program *ebpf.Program
}

// What a hammer counts, each 64 bits.
const (
	countMiss = 8 * iota
	countHit
	countWrong
	countTorn
	countTracked
	countCollision
	countBusy
	countOriginal
	countsSize
)

type struck struct{ misses, hits, wrong, torn, tracked, collisions, busy, originals uint64 }

func newHammer(t *testing.T, ip6 bool, flows, room int, ordered bool) *hammer {
	table, m := testTable(t, room)
	table.Ordered = table.Ordered && ordered
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: countsSize, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counts.Close() })
	words := wordsIP
	if ip6 {
		words = wordsIP6
	}
	h := &hammer{table: m, counts: counts}
	h.program = loadTest(t, table, ip6, func(a *assembler.Assembler) {
		a.Emit(asm.LoadMem(asm.R0, asm.R1, 0, asm.Word), asm.LoadMem(asm.R2, asm.R1, 4, asm.Word))
		a.Emit(asm.Mov.Reg(asm.R3, asm.R0), asm.Add.Imm(asm.R3, 14))
		a.Emit(asm.Mov.Imm(asm.R1, 0))
		a.SkipIf(asm.JGT.Reg(asm.R3, asm.R2, ""), func() { a.Emit(asm.LoadMem(asm.R1, asm.R0, 0, asm.Word)) })
		a.Loop("strike")
		a.Emit(asm.Mov.Imm(asm.R0, 2))
		a.Exit()
	}, func(a *assembler.Assembler) {
		a.Function(assembler.LoopFunction("strike"))
		emitStrike(a, counts.FD(), words, flows)
	})
	return h
}

// changing are the upper halves of words in which values of one flow differ, so that
// their source is one.
func changing(words int) []int {
	if words == wordsIP {
		return []int{0, 1}
	}
	return []int{0, 3, 4}
}

// emitStrike looks a random flow up, or enters it with a random value: that is the key,
// with one random number added in all places that may change.
func emitStrike(a *assembler.Assembler, counts, words, flows int) {
	frame := int16(-16 * words)
	count := func(at int) {
		a.Emit(asm.LoadMapValue(asm.R1, counts, uint32(at)), asm.Mov.Imm(asm.R2, 1), asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0))
	}
	done := a.NewLabel()
	a.Call(asm.FnGetPrandomU32)
	a.Emit(asm.Mov.Reg(asm.R6, asm.R0)) // bits that decide, and the value
	a.Call(asm.FnGetPrandomU32)
	a.Emit(asm.Mod.Imm(asm.R0, int32(flows)), asm.Add.Imm(asm.R0, 1), asm.Mov.Reg(asm.R8, asm.R0))
	for i := range int16(words) {
		a.Emit(asm.LoadImm(asm.R1, ratio*int64(2*i+3), asm.DWord), asm.Mul.Reg(asm.R1, asm.R0))
		a.Emit(asm.StoreMem(asm.R10, frame+8*i, asm.R1, asm.DWord), asm.StoreMem(asm.R10, frame+8*(int16(words)+i), asm.R1, asm.DWord))
	}
	a.Emit(asm.Mov.Reg(asm.R1, asm.R6), asm.LSh.Imm(asm.R1, 32))
	for _, i := range changing(words) {
		at := frame + int16(8*(words+i))
		a.Emit(asm.LoadMem(asm.R0, asm.R10, at, asm.DWord), asm.Add.Reg(asm.R0, asm.R1), asm.StoreMem(asm.R10, at, asm.R0, asm.DWord))
	}
	find := a.NewLabel()
	a.Jump(find, asm.JSet.Imm(asm.R6, 1, ""))
	a.CallFunction(trackFunction, assembler.Stack(frame), assembler.Imm(1), assembler.Imm(7))
	for result, at := range map[int32]int{Tracked: countTracked, Collision: countCollision, Busy: countBusy} {
		a.SkipIf(asm.JNE.Imm(asm.R0, result, ""), func() { count(at); a.Goto(done) })
	}
	a.Goto(done)
	a.Bind(find)
	a.CallFunction(findFunction, assembler.Stack(frame), assembler.Imm(1), assembler.Imm(0))
	for result, at := range map[int32]int{NotFound: countMiss, Torn: countTorn} {
		a.SkipIf(asm.JNE.Imm(asm.R0, result, ""), func() { count(at); a.Goto(done) })
	}
	wrong := a.NewLabel()
	a.Jump(wrong, asm.JNE.Imm(asm.R0, 7, ""))
	for i := range words { // what has been added to the key
		a.Emit(asm.LoadMem(asm.R1, asm.R10, frame+int16(8*i), asm.DWord), asm.LoadMem(asm.R0, asm.R10, frame+int16(8*(words+i)), asm.DWord))
		a.Emit(asm.Sub.Reg(asm.R0, asm.R1))
		switch {
		case i == 0:
			a.Emit(asm.Mov.Reg(asm.R7, asm.R0))
		case slices.Contains(changing(words), i):
			a.Jump(wrong, asm.JNE.Reg(asm.R0, asm.R7, ""))
		default:
			a.Jump(wrong, asm.JNE.Imm(asm.R0, 0, ""))
		}
	}
	count(countHit)
	strikeByValue(a, frame, words, done, wrong)
	count(countOriginal)
	a.Goto(done)
	a.Bind(wrong)
	count(countWrong)
	count(countHit)
	a.Bind(done)
	a.Emit(asm.Mov.Imm(asm.R0, 0))
	a.Exit()
}

// strikeByValue looks the flow in R8 up by the value that has been found, goes to miss if that is not
// there any more, and to wrong if it has another key.
func strikeByValue(a *assembler.Assembler, frame int16, words int, miss, wrong assembler.Label) {
	for i := range int16(words) {
		a.Emit(asm.LoadMem(asm.R0, asm.R10, frame+8*(int16(words)+i), asm.DWord), asm.StoreMem(asm.R10, frame+8*i, asm.R0, asm.DWord))
	}
	a.CallFunction(originalFunction, assembler.Stack(frame), assembler.Imm(1), assembler.Imm(0))
	a.Jump(miss, asm.JNE.Imm(asm.R0, 7, ""))
	for i := range int16(words) {
		a.Emit(asm.LoadImm(asm.R1, ratio*int64(2*i+3), asm.DWord), asm.Mul.Reg(asm.R1, asm.R8))
		a.Emit(asm.LoadMem(asm.R0, asm.R10, frame+8*(int16(words)+i), asm.DWord))
		a.Jump(wrong, asm.JNE.Reg(asm.R0, asm.R1, ""))
	}
}

// strike runs the program so often, at once, each of them so many turns.
func (h *hammer) strike(t *testing.T, runs, turns int) struck {
	t.Helper()
	packet := make([]byte, 64)
	packet[0], packet[1], packet[2] = byte(turns), byte(turns>>8), byte(turns>>16)
	var all sync.WaitGroup
	for range runs {
		all.Go(func() {
			if _, err := h.program.Run(&ebpf.RunOptions{Data: packet}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	b, err := h.counts.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	count := func(at int) uint64 { return binary.NativeEndian.Uint64(b[at:]) }
	return struck{
		count(countMiss), count(countHit), count(countWrong), count(countTorn),
		count(countTracked), count(countCollision), count(countBusy), count(countOriginal),
	}
}

func (h *hammer) usage(t *testing.T) Usage {
	t.Helper()
	value, err := h.table.LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	for at := headerSize; at < headerSize+(len(value)-headerSize)/704*640; at += 640 {
		if n := binary.NativeEndian.Uint32(value[at+sequenceAt:]); n%2 != 0 {
			t.Errorf("a bucket is still locked, with sequence number %d", n)
		}
	}
	return UsageOf(value)
}
