package bpf_test

import (
	"bytes"
	"debug/elf"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/packetgen"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// objects are rules whose programs differ in what an object is made of:
// relocations, functions, the number of counters.
var objects = []string{
	"if all",
	"if ip then ip_hl 4 ip_check fix", // never acts
	"if udp_dest 443 then udp_dest 8080",
	"if not tcp then ip_ttl 9; if tcp_syn on then tcp_window 0; if all",
	"if udp then udp_check fix ip_ttl 3 else if icmp then icmp_check bad",
	"if ip then ip_check bad",
}

// TestObjectDoesTheSame loads each program as it is and from its object, and
// runs both on the same packets: the same verdict, bytes and counters.
func TestObjectDoesTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	for _, text := range objects {
		for _, fragments := range []bool{false, true} {
			p := checked(t, text)
			direct, fromObject := loadDirect(t, p, fragments), loadObject(t, p, fragments)
			for _, frame := range packetgen.Frames(r, p, 300) {
				frame = frame[:min(len(frame), 3000)] // in one buffer
				v1, out1 := direct.run(t, frame)
				v2, out2 := fromObject.run(t, frame)
				if v1 != v2 || !bytes.Equal(out1, out2) {
					t.Fatalf("%s: %x\n  direct      %d %x\n  from object %d %x", text, frame, v1, out1, v2, out2)
				}
			}
			if a, b := direct.counters(t), fromObject.counters(t); !slices.Equal(a, b) {
				t.Errorf("%s: counted %v, from the object %v", text, a, b)
			}
		}
	}
}

// program is a program in the kernel and its counters.
type program struct {
	*ebpf.Program
	counts *ebpf.Map
	rules  int
}

func loadDirect(t *testing.T, p *rule.Program, fragments bool) program {
	t.Helper()
	counts := newMap(t, countersOf(p))
	ins, err := bpf.Compile(plan.Build(p, field.Ethernet), bpf.Options{Counters: counts.FD(), Fragments: fragments})
	if err != nil {
		t.Fatal(err)
	}
	spec := &ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: ins, License: "Dual MIT/GPL"}
	if fragments {
		spec.Flags = unix.BPF_F_XDP_HAS_FRAGS
	}
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatalf("%s: %v", p.Source, err)
	}
	t.Cleanup(func() { prog.Close() })
	return program{prog, counts, len(p.Written)}
}

// countersOf is the map that the program of p counts in.
func countersOf(p *rule.Program) ebpf.MapSpec {
	return ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: bpf.CounterSize, MaxEntries: uint32(len(p.Written))}
}

func newMap(t *testing.T, spec ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(&spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func loadObject(t *testing.T, p *rule.Program, fragments bool) program {
	t.Helper()
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object(t, p, fragments)))
	if err != nil {
		t.Fatalf("%s: %v", p.Source, err)
	}
	if flags := spec.Programs[bpf.ProgramName].Flags; (flags&unix.BPF_F_XDP_HAS_FRAGS != 0) != fragments {
		t.Errorf("%s: fragments %v, but the program's flags are %#x", p.Source, fragments, flags)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%s: %v", p.Source, err)
	}
	t.Cleanup(c.Close)
	return program{c.Programs[bpf.ProgramName], c.Maps[bpf.CountersName], len(p.Written)}
}

func object(t *testing.T, p *rule.Program, fragments bool) []byte {
	t.Helper()
	a, err := bpf.Annotate(plan.Build(p, field.Ethernet), bpf.Options{Fragments: fragments})
	if err != nil {
		t.Fatal(err)
	}
	file, err := a.ELF(len(p.Written))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func (p program) run(t *testing.T, frame []byte) (verdict uint32, out []byte) {
	t.Helper()
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256)}
	verdict, err := p.Run(&o)
	if err != nil {
		t.Fatal(err)
	}
	return verdict, o.DataOut
}

func (p program) counters(t *testing.T) []bpf.Counter {
	t.Helper()
	out := make([]bpf.Counter, p.rules)
	for i := range out {
		var perCPU []bpf.Counter
		if err := p.counts.Lookup(uint32(i), &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, c := range perCPU {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out
}

// TestObjectForLoaders checks by the standard library's reader what libbpf
// goes by: machine, sections, symbols.
func TestObjectForLoaders(t *testing.T) {
	p := checked(t, "if udp then udp_check fix; if tcp")
	f, err := elf.NewFile(bytes.NewReader(object(t, p, true)))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != elf.EM_BPF || f.Type != elf.ET_REL || f.ByteOrder.String() != "LittleEndian" {
		t.Errorf("it is a %v for %v", f.Type, f.Machine)
	}
	license, err := f.Section("license").Data()
	if err != nil || string(license) != "Dual MIT/GPL\x00" {
		t.Errorf("license %q, %v", license, err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range symbols {
		got = append(got, s.Name+" "+f.Sections[s.Section].Name+" "+elf.ST_BIND(s.Info).String()+" "+elf.ST_TYPE(s.Info).String())
	}
	want := []string{
		" .text STB_LOCAL STT_SECTION", // the function's address is given by it
		"sum_chunk .text STB_LOCAL STT_FUNC",
		"find_last_hop .text STB_LOCAL STT_FUNC",
		"find_home .text STB_LOCAL STT_FUNC",
		"repacket xdp.frags STB_GLOBAL STT_FUNC",
		"LICENSE license STB_GLOBAL STT_OBJECT",
		"repacket_counts .maps STB_GLOBAL STT_OBJECT",
	}
	if !slices.Equal(got, want) {
		t.Errorf("symbols:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestObjectIsForNoRun: what a program is bound to while it runs cannot be
// written to a file.
func TestObjectIsForNoRun(t *testing.T) {
	a, err := bpf.Annotate(plan.Build(checked(t, "if all then ip_ttl 1"), field.Ethernet), bpf.Options{Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.ELF(1); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("got %v", err)
	}
}

// TestNames: a loader of an object finds what hook finds on an interface.
func TestNames(t *testing.T) {
	if bpf.ProgramName != hook.ProgramName || bpf.CountersName != hook.CountersMapName {
		t.Errorf("%s, %s in an object; %s, %s in the kernel", bpf.ProgramName, bpf.CountersName, hook.ProgramName, hook.CountersMapName)
	}
}
