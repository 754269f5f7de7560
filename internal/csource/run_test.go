package csource

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// strict are the warnings that may not be there, as errors.
var strict = []string{"-Werror", "-Wunused-macros", "-Wshadow"}

// object compiles a program, and fails the test if clang has anything to say.
func object(t *testing.T, source string) []byte {
	t.Helper()
	elf, err := compile(t.Context(), source, strict...)
	var rejected *CompileError
	if errors.As(err, &rejected) {
		t.Fatalf("%v\n%s\n%s", err, source, rejected.Output)
	}
	var absent *NoClangError
	if errors.As(err, &absent) {
		t.Fatalf("these tests need clang and libbpf's headers: %v (%s)", err, absent.Hint())
	}
	if err != nil {
		t.Fatal(err)
	}
	return elf
}

// loaded is a program in the kernel, built by clang.
type loaded struct {
	*ebpf.Program
	counts *ebpf.Map
	draws  *ebpf.Map // nil if it asks for no random numbers
	flows  *ebpf.Map // nil if it tracks none
	places int       // how many it may ask for
	rules  int
	source string
	close  func()
}

// load prints, builds and loads the rules.
func load(t *testing.T, link field.Link, p *rule.Program, o Options) *loaded {
	t.Helper()
	return loadWith(t, link, p, o, nil)
}

// loadWith is load with maps that are there already, by name.
func loadWith(t *testing.T, link field.Link, p *rule.Program, o Options, maps map[string]*ebpf.Map) *loaded {
	t.Helper()
	source := Print(p, plan.Build(p, link), o)
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object(t, source)))
	if err != nil {
		t.Fatalf("read the object: %v\n%s", err, source)
	}
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps})
	if err != nil {
		t.Fatalf("load %s: %+v\n%s", p.Source, err, source)
	}
	return &loaded{c.Programs[ProgramName], c.Maps[CountersMap], c.Maps[DrawsMap], c.Maps[FlowsMap], p.Draws, len(p.Written), source, c.Close}
}

// run runs one frame through the program, with these random numbers.
func (l *loaded) run(t *testing.T, frame []byte, draws reference.Draws) (verdict uint32, out []byte) {
	t.Helper()
	if l.draws != nil {
		numbers := make([]uint32, l.places)
		for i := range numbers {
			numbers[i] = draws(i)
		}
		if err := l.draws.Put(uint32(0), numbers); err != nil {
			t.Fatal(err)
		}
	}
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	verdict, err := l.Run(&o)
	if err != nil {
		t.Fatalf("run a frame of %d bytes: %v", len(frame), err)
	}
	return verdict, o.DataOut
}

// counter is what a rule counts.
type counter struct{ Packets, Bytes uint64 }

// counters adds up what every CPU has counted, by rule.
func (l *loaded) counters(t *testing.T) []counter {
	t.Helper()
	out := make([]counter, l.rules)
	for i := range out {
		var perCPU []counter
		if err := l.counts.Lookup(uint32(i), &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, c := range perCPU {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out
}
