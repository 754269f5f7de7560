package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/plan"
)

// counting says what a program counts of the packets that it rewrites. The
// numbers are those of COUNT in the C programs.
type counting int

const (
	countNothing counting = iota
	countFirst            // packets, and bytes of the first buffer: all there is at an ordinary MTU
	countAll              // packets, and bytes of all buffers: for a large MTU
)

// program is one way to carry out a rule, loaded.
type program struct {
	prog     *ebpf.Program
	code     asm.Instructions // as given to the kernel
	what     counting
	counters func() (bpf.Counter, error)
	close    func()
}

// ours loads the program of the compiler, as the command does.
func ours(r *benchRule, what counting) (*program, error) {
	if what == countNothing {
		return oursNotCounting(r)
	}
	l, err := engine.Load(r.checked, engine.LoadOptions{Fragments: what == countAll})
	if err != nil {
		return nil, err
	}
	code, err := compiled(r, what, anyMap)
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	counters := func() (bpf.Counter, error) {
		all, err := l.Counters()
		if err != nil {
			return bpf.Counter{}, err
		}
		return all[0], nil
	}
	return &program{l.Program, code, what, counters, func() { _ = l.Close() }}, nil
}

// anyMap stands for a map in code that is not loaded.
const anyMap = 1

// compiled is what the compiler makes of the rule.
func compiled(r *benchRule, what counting, counters int) (asm.Instructions, error) {
	return bpf.Compile(plan.Build(r.checked, field.Ethernet), bpf.Options{Counters: counters, Fragments: what == countAll})
}

// oursNotCounting loads the program of the compiler without its last part,
// which counts.
func oursNotCounting(r *benchRule) (*program, error) {
	code, err := compiled(r, countAll, anyMap)
	if err == nil {
		code, err = withoutCounting(code)
	}
	if err != nil {
		return nil, err
	}
	return loadCode(code, countNothing, nil)
}

// withoutCounting takes the counting out of a program: what stands between the
// only call for the packet's length and the two instructions that end it.
func withoutCounting(code asm.Instructions) (asm.Instructions, error) {
	exit := slices.IndexFunc(code, func(in asm.Instruction) bool { return in.OpCode.JumpOp() == asm.Exit })
	call := slices.IndexFunc(code, func(in asm.Instruction) bool {
		return in.IsBuiltinCall() && in.Constant == int64(asm.FnXdpGetBuffLen)
	})
	if call < 1 || exit < call {
		return nil, errors.New("the program does not count as this benchmark expects")
	}
	leave := asm.Ja.Label(code[exit-1].Symbol()).WithSymbol(code[call].Symbol())
	return slices.Concat(code[:call], asm.Instructions{leave}, code[exit-1:]), nil
}

// nothing loads a program that lets every packet pass.
func nothing() (*program, error) {
	return loadCode(asm.Instructions{asm.Mov.Imm32(asm.R0, 2), asm.Return()}, countNothing, nil)
}

func newCounters() (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: bpf.CounterSize, MaxEntries: 1,
	})
}

// loadCode loads instructions and takes over their map, which may be nil.
func loadCode(code asm.Instructions, what counting, counters *ebpf.Map) (*program, error) {
	spec := &ebpf.ProgramSpec{Name: hook.ProgramName, Type: ebpf.XDP, AttachType: ebpf.AttachXDP, Instructions: code, License: "MIT"}
	if what == countAll {
		spec.Flags = unix.BPF_F_XDP_HAS_FRAGS
	}
	prog, err := ebpf.NewProgram(spec)
	if err != nil {
		_ = counters.Close()
		return nil, fmt.Errorf("load the program: %w", err)
	}
	return &program{prog, code, what, counterOf(counters), func() {
		_ = prog.Close()
		_ = counters.Close()
	}}, nil
}

func counterOf(m *ebpf.Map) func() (bpf.Counter, error) {
	return func() (bpf.Counter, error) {
		var perCPU []bpf.Counter
		if err := m.Lookup(uint32(0), &perCPU); err != nil {
			return bpf.Counter{}, fmt.Errorf("read the counters: %w", err)
		}
		var sum bpf.Counter
		for _, c := range perCPU {
			sum.Packets += c.Packets
			sum.Bytes += c.Bytes
		}
		return sum, nil
	}
}

// compiler runs clang in a folder of its own.
type compiler struct{ dir string }

// newCompiler writes the C programs where clang can read them. The error
// matches exec.ErrNotFound where there is no clang.
func newCompiler() (*compiler, error) {
	if _, err := exec.LookPath("clang"); err != nil {
		return nil, fmt.Errorf("the C programs need clang: %w", err)
	}
	dir, err := os.MkdirTemp("", "repacket-bench-")
	if err != nil {
		return nil, err
	}
	files, err := fs.Sub(sources, "c")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("write the C programs: %w", err)
	}
	return &compiler{dir}, nil
}

func (c *compiler) close() { _ = os.RemoveAll(c.dir) }

// command is the call of clang for one program, and the object that it makes.
func (c *compiler) command(name, cpu string, what counting) (*exec.Cmd, string) {
	object := filepath.Join(c.dir, fmt.Sprintf("%s-%s-%d.o", name, cpu, what))
	return exec.Command("clang", "-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu="+cpu,
		fmt.Sprintf("-DCOUNT=%d", what), "-c", filepath.Join(c.dir, name+".c"), "-o", object), object
}

// object compiles a program, once.
func (c *compiler) object(name, cpu string, what counting) ([]byte, error) {
	cmd, object := c.command(name, cpu, what)
	if b, err := os.ReadFile(object); err == nil {
		return b, nil
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(object)
}

// load compiles the C program of a rule and loads it.
func (c *compiler) load(r *benchRule, cpu string, what counting) (*program, error) {
	object, err := c.object(r.name, cpu, what)
	if err != nil {
		return nil, fmt.Errorf("compile %s.c: %w", r.name, err)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("read %s.o: %w", r.name, err)
	}
	m, err := newCounters()
	if err != nil {
		return nil, err
	}
	code := spec.Programs[r.name].Instructions
	if what != countNothing {
		err = code.AssociateMap("counters", m)
	}
	if err != nil {
		_ = m.Close()
		return nil, fmt.Errorf("give %s.o its map: %w", r.name, err)
	}
	return loadCode(code, what, m)
}
