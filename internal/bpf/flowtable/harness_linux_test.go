package flowtable

import (
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf/assembler"
	"repacket/test/needs"
)

func TestMain(m *testing.M) {
	needs.KernelMain()
	os.Exit(m.Run())
}

// The functions that programs under test call.
const (
	findFunction     = "flow_find"
	trackFunction    = "flow_track"
	originalFunction = "flow_original"
)

// testTable makes a table in the kernel.
func testTable(t testing.TB, flows int) (Table, *ebpf.Map) {
	t.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "flows", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(Size(flows)), MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	value := make([]byte, Size(flows))
	Init(value, 0x0123456789abcdef)
	if err := m.Put(uint32(0), value); err != nil {
		t.Fatal(err)
	}
	return Table{Map: m.FD(), Flows: flows, Indexed: true, Ticks: ticks(t), Ordered: runtime.GOARCH == "amd64"}, m
}

// ticks is how many jiffies there are in a second: the resolution of the coarse clock
// is one (kernel/time/posix-timers.c).
func ticks(t testing.TB) int {
	t.Helper()
	var r unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &r); err != nil {
		t.Fatal(err)
	}
	return int(1e9 / r.Nano())
}

// loadTest loads a program that emit makes, with the table's functions behind it, and
// others.
func loadTest(t testing.TB, table Table, ip6 bool, emit func(a *assembler.Assembler), others ...func(a *assembler.Assembler)) *ebpf.Program {
	t.Helper()
	a := assembler.New("test", "flows")
	emit(a)
	for _, emit := range others {
		emit(a)
	}
	calls := func(name string) bool {
		return slices.ContainsFunc(a.Instructions(), func(i asm.Instruction) bool { return i.Reference() == name })
	}
	for name, emit := range map[string]func(*assembler.Assembler, string, bool){
		findFunction: table.Find, trackFunction: table.Track, originalFunction: table.FindOriginal,
	} {
		if calls(name) { // the kernel refuses functions that nothing calls
			emit(a, name, ip6)
		}
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: a.Finish().Instructions, License: "GPL"})
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// call is one call of a function, as a packet: what to call, with what, and what came
// of it.
type call struct {
	kind   callKind
	form   Form
	owner  uint16
	key    [wordsIP6]uint64
	value  [wordsIP6]uint64
	result uint32
}

type callKind byte

// The functions. What is looked up by its original has that for its key, and the key is its value.
const (
	find callKind = iota
	track
	original
)

// Where the parts of a call are in the packet.
const (
	callWhich  = 0
	callForm   = 4
	callOwner  = 8
	callResult = 12
	callWords  = 16
	callSize   = callWords + 2*8*wordsIP6
)

// caller emits a program that carries out the call in its packet.
func caller(words int) func(a *assembler.Assembler) {
	return func(a *assembler.Assembler) {
		short, done := a.NewLabel(), a.NewLabel()
		frame := int16(-16 * words)
		a.Emit(asm.LoadMem(asm.R6, asm.R1, 0, asm.Word), asm.LoadMem(asm.R2, asm.R1, 4, asm.Word))
		a.Emit(asm.Mov.Reg(asm.R3, asm.R6), asm.Add.Imm(asm.R3, callSize))
		a.Jump(short, asm.JGT.Reg(asm.R3, asm.R2, ""))
		for i := range int16(2 * words) {
			a.Emit(asm.LoadMem(asm.R0, asm.R6, callWords+8*i, asm.DWord), asm.StoreMem(asm.R10, frame+8*i, asm.R0, asm.DWord))
		}
		word := func(at int16) assembler.Arg {
			return func(dst asm.Register) []asm.Instruction {
				return []asm.Instruction{asm.LoadMem(dst, asm.R6, at, asm.Word)}
			}
		}
		for kind, name := range []string{find: findFunction, track: trackFunction, original: originalFunction} {
			a.Emit(asm.LoadMem(asm.R0, asm.R6, callWhich, asm.Byte))
			a.SkipIf(asm.JNE.Imm(asm.R0, int32(kind), ""), func() {
				a.CallFunction(name, assembler.Stack(frame), word(callForm), word(callOwner))
				a.Goto(done)
			})
		}
		a.Emit(asm.Mov.Imm(asm.R0, -1))
		a.Bind(done)
		a.Emit(asm.StoreMem(asm.R6, callResult, asm.R0, asm.Word))
		for i := range int16(2 * words) {
			a.Emit(asm.LoadMem(asm.R0, asm.R10, frame+8*i, asm.DWord), asm.StoreMem(asm.R6, callWords+8*i, asm.R0, asm.DWord))
		}
		a.Bind(short)
		a.Emit(asm.Mov.Imm(asm.R0, 2))
		a.Exit()
	}
}

// run carries a call out.
func (c call) run(t testing.TB, p *ebpf.Program, words int) call {
	t.Helper()
	b := make([]byte, callSize)
	b[callWhich] = byte(c.kind)
	binary.LittleEndian.PutUint32(b[callForm:], uint32(c.form))
	binary.LittleEndian.PutUint32(b[callOwner:], uint32(c.owner))
	for i := range words {
		binary.LittleEndian.PutUint64(b[callWords+8*i:], c.key[i])
		binary.LittleEndian.PutUint64(b[callWords+8*(words+i):], c.value[i])
	}
	out := make([]byte, callSize)
	if _, err := p.Run(&ebpf.RunOptions{Data: b, DataOut: out}); err != nil {
		t.Fatal(err)
	}
	c.result = binary.LittleEndian.Uint32(out[callResult:])
	for i := range words {
		c.value[i] = binary.LittleEndian.Uint64(out[callWords+8*(words+i):])
	}
	return c
}
