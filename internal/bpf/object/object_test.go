package object

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"

	"repacket/internal/bpf/assembler"
)

// program is one with a map, a function and notes.
func program() *assembler.Program {
	a := assembler.New("program", "numbers")
	end := a.NewLabel()
	a.About("look up")
	a.ForRule(0)
	a.Emit(assembler.StoreLong(asm.R10, -8, 0))
	a.Call(asm.FnMapLookupElem, assembler.Map(0), assembler.Stack(-8))
	a.Jump(end, asm.JEq.Imm(asm.R0, 0, ""))
	a.About("loop")
	a.ForRule(4)
	a.Emit(asm.Mov.Imm(asm.R1, 3))
	a.Loop("turn")
	a.Bind(end)
	a.About("pass")
	a.ForRule(assembler.NoRule)
	a.Emit(asm.Mov.Imm(asm.R0, 2))
	a.Exit()
	a.Function(assembler.LoopFunction("turn"))
	a.About("turn")
	a.Emit(asm.Mov.Imm(asm.R0, 0))
	a.Exit()
	return a.Finish()
}

// TestObject: a loader finds in the object the program, its function, the map and
// the notes as lines of source, numbered by rules from 1.
func TestObject(t *testing.T) {
	number := &btf.Int{Name: "unsigned int", Size: 4}
	file, err := Write(program(), "xdp", Map{Type: int(ebpf.Hash), Entries: 7, Key: number, Value: &btf.Int{Name: "unsigned long long", Size: 8}})
	if err != nil {
		t.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if m := spec.Maps["numbers"]; m == nil || m.Type != ebpf.Hash || m.MaxEntries != 7 || m.KeySize != 4 || m.ValueSize != 8 {
		t.Errorf("the map is %+v", m)
	}
	p := spec.Programs["program"]
	if p == nil || p.Type != ebpf.XDP || p.License != "Dual MIT/GPL" {
		t.Fatalf("the program is %+v", p)
	}
	type line struct {
		at         int
		file, text string
		number     uint32
	}
	var lines []line
	functions := map[string]int{}
	for i, ins := range p.Instructions {
		if f := btf.FuncMetadata(&ins); f != nil {
			functions[f.Name] = i
		}
		if l, ok := ins.Source().(*btf.Line); ok {
			lines = append(lines, line{i, l.FileName(), l.Line(), l.LineNumber()})
		}
	}
	if len(functions) != 2 || functions["program"] != 0 || functions["turn"] != len(p.Instructions)-2 {
		t.Errorf("the functions begin at %v", functions)
	}
	want := []line{
		{0, "rules", "look up", 1}, {6, "rules", "loop", 5}, {11, "rules", "pass", 0}, {13, "rules", "turn", 0},
	}
	if len(lines) != len(want) {
		t.Fatalf("lines %v, want %v", lines, want)
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("line %d is %v, want %v", i, lines[i], want[i])
		}
	}
}

// TestValuesOfMapsAreForNoFile: what only a running program is bound to cannot be
// written.
func TestValuesOfMapsAreForNoFile(t *testing.T) {
	a := assembler.New("program", "numbers")
	a.Emit(asm.LoadMapValue(asm.R0, 5, 0))
	a.Exit()
	if _, err := Write(a.Finish(), "xdp", Map{Key: &btf.Int{Size: 4}, Value: &btf.Int{Size: 4}}); err == nil {
		t.Error("it was written")
	}
}
