package flowtable

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf/assembler"
)

// BenchmarkFlows measures what a look-up and an entry take, beside the kernel's LRU hash:
//
//	go test ./internal/bpf/flowtable -run xxx -bench Flows
//
// Each program makes the keys of so many flows in turn, in an order without pattern; the
// time of one that does nothing else is subtracted.
func BenchmarkFlows(b *testing.B) {
	const room = 65536
	for _, ip6 := range []bool{false, true} {
		words := wordsIP
		if ip6 {
			words = wordsIP6
		}
		indexed, _ := testTable(b, room)
		plain, _ := testTable(b, room)
		plain.Indexed = false
		lru, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.LRUHash, KeySize: uint32(8 * words), ValueSize: uint32(8 * words), MaxEntries: room})
		if err != nil {
			b.Fatal(err)
		}
		defer lru.Close()
		frame := int16(-16 * words)
		key, value := assembler.Stack(frame), assembler.Stack(frame+int16(8*words))
		ops := map[string]func(a *assembler.Assembler){
			"none": func(*assembler.Assembler) {},
			"find": func(a *assembler.Assembler) {
				a.CallFunction(findFunction, key, assembler.Imm(1), assembler.Imm(0))
			},
			"track": func(a *assembler.Assembler) {
				a.CallFunction(trackFunction, key, assembler.Imm(1), assembler.Imm(7))
			},
			"track, index": func(a *assembler.Assembler) {
				a.CallFunction(trackFunction, key, assembler.Imm(1), assembler.Imm(7))
			},
			"LRU find": func(a *assembler.Assembler) {
				a.Call(asm.FnMapLookupElem, assembler.Map(lru.FD()), key)
				a.SkipIf(asm.JEq.Imm(asm.R0, 0, ""), func() { // read the value
					for i := range int16(words) {
						a.Emit(asm.LoadMem(asm.R1, asm.R0, 8*i, asm.DWord), asm.StoreMem(asm.R10, frame+int16(8*words)+8*i, asm.R1, asm.DWord))
					}
				})
			},
			"LRU update": func(a *assembler.Assembler) {
				a.Call(asm.FnMapUpdateElem, assembler.Map(lru.FD()), key, value, assembler.Imm(0))
			},
		}
		batch := 0
		run := func(op string, flows int) time.Duration {
			table := plain
			if op == "track, index" {
				table = indexed
			}
			p := loadTest(b, table, ip6, func(a *assembler.Assembler) {
				a.Emit(asm.LoadMem(asm.R0, asm.R1, 0, asm.Word), asm.LoadMem(asm.R2, asm.R1, 4, asm.Word))
				a.Emit(asm.Mov.Reg(asm.R3, asm.R0), asm.Add.Imm(asm.R3, 14))
				a.Emit(asm.Mov.Imm(asm.R1, 0), asm.Mov.Imm(asm.R4, 0))
				a.SkipIf(asm.JGT.Reg(asm.R3, asm.R2, ""), func() {
					a.Emit(asm.LoadMem(asm.R1, asm.R0, 0, asm.Word), asm.LoadMem(asm.R4, asm.R0, 4, asm.Word))
				})
				a.Emit(asm.StoreMem(asm.R10, -8, asm.R4, asm.DWord))
				a.Loop("turn")
				a.Emit(asm.Mov.Imm(asm.R0, 2))
				a.Exit()
			}, func(a *assembler.Assembler) {
				a.Function(assembler.LoopFunction("turn"))
				a.Emit(asm.Mov.Reg32(asm.R0, asm.R1))
				if flows > 0 { // an order without pattern, of flows alone
					a.Emit(asm.LoadImm(asm.R1, ratio, asm.DWord), asm.Mul.Reg(asm.R0, asm.R1), asm.RSh.Imm(asm.R0, 32))
					a.Emit(asm.Mul.Imm(asm.R0, int32(flows)), asm.RSh.Imm(asm.R0, 32))
				} else {
					a.Emit(asm.LoadMem(asm.R1, asm.R2, -8, asm.DWord), asm.Add.Reg(asm.R0, asm.R1))
				}
				for i := range int16(words) {
					a.Emit(asm.LoadImm(asm.R1, ratio*int64(2*i+3), asm.DWord), asm.Mul.Reg(asm.R1, asm.R0))
					a.Emit(asm.StoreMem(asm.R10, frame+8*i, asm.R1, asm.DWord), asm.StoreMem(asm.R10, frame+8*(int16(words)+i), asm.R1, asm.DWord))
				}
				ops[op](a)
				a.Emit(asm.Mov.Imm(asm.R0, 0))
				a.Exit()
			})
			turns := 1 << 18
			if flows == newFlows {
				turns = flowBatch
			}
			packet := make([]byte, 64)
			binary.LittleEndian.PutUint32(packet, uint32(turns))
			best := time.Hour
			for i := range 5 {
				batch++
				binary.LittleEndian.PutUint32(packet[4:], uint32(1<<30+batch*flowBatch))
				began := time.Now()
				if _, err := p.Run(&ebpf.RunOptions{Data: packet}); err != nil {
					b.Fatal(err)
				}
				if took := time.Since(began); i > 0 || flows == newFlows {
					best = min(best, took)
				}
			}
			return best / time.Duration(turns/1000)
		}
		show := func(op string, flows int, text string) {
			none := run("none", flows)
			took := run(op, flows) - none
			fmt.Printf("%d words  %-13s %-24s %6.1f ns\n", words, op, text, float64(took)/1000)
		}
		for _, op := range []string{"track", "track, index", "LRU update"} {
			show(op, newFlows, "new flows, room")
		}
		for _, flows := range []int{64, 30000, 60000} {
			run("track", flows)
			run("track, index", flows)
			run("LRU update", flows)
			for _, op := range []string{"find", "track", "track, index", "LRU find", "LRU update"} {
				show(op, flows, fmt.Sprintf("%d flows", flows))
			}
		}
		for range 3 { // fill up
			run("track", newFlows)
			run("track, index", newFlows)
			run("LRU update", newFlows)
		}
		for _, op := range []string{"track", "track, index", "LRU update"} {
			show(op, newFlows, "new flows, no room")
		}
	}
}

// newFlows stands for flows that nobody has entered, flowBatch at once.
const (
	newFlows  = 0
	flowBatch = 10000
)
