package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// Verified is what Verify found out about a program.
type Verified struct {
	Proof
	// Instructions is the program's length as the kernel runs it.
	Instructions int
	// Nanoseconds is what the program takes for one packet that a rule acts on,
	// over a program that does nothing: 0 if no packet was found that goes on
	// matching when it is rewritten.
	Nanoseconds float64
}

// Verify proves rules at length: n packets through each of the programs that
// may be attached: for XDP with packets in several buffers, for XDP with packets
// in one, and for tc. Of o only Broken, Clang and Redirect count. The errors are
// those of Prove.
func Verify(p *rule.Program, n int, o LoadOptions) (*Verified, error) {
	v := &Verified{}
	n = atLength(p, n)
	if o.Redirect == nil {
		o.Redirect = outlets(p)
	}
	for _, way := range []struct {
		hook      bpf.Hook
		fragments bool
	}{{bpf.XDP, true}, {bpf.TC, false}, {bpf.XDP, false}} { // the last one is looked at below
		o.Hook, o.Fragments = way.hook, way.fragments
		proof, err := Prove(p, o, n)
		if err != nil {
			return nil, hook.ExplainLoad(err)
		}
		if v.Packets == 0 {
			v.Unreached = proof.Unreached
		}
		v.Unreached = slices.DeleteFunc(v.Unreached, func(r int) bool { return !slices.Contains(proof.Unreached, r) })
		v.Packets += proof.Packets
		v.Acted += proof.Acted
	}
	l, err := Load(p, o)
	if err != nil {
		return nil, hook.ExplainLoad(err)
	}
	defer l.Close()
	info, err := l.Program.Info()
	if err != nil {
		return nil, fmt.Errorf("look at the program: %w", err)
	}
	ins, err := info.Instructions()
	if err != nil {
		return nil, fmt.Errorf("read the program back: %w", err)
	}
	v.Instructions = len(ins)
	if frame := lasting(p); frame != nil {
		v.Nanoseconds, err = cost(l.Program, frame)
	}
	return v, err
}

// outlets gives each interface that rules redirect to a number: a test run sends
// nothing, so it counts for nothing which.
func outlets(p *rule.Program) map[string]int {
	numbers := map[string]int{}
	for _, r := range p.Rules {
		if r.Verdict == rule.ToInterface {
			numbers[r.Redirect] = 1
		}
	}
	return numbers
}

// atLength is how many packets are tried of n: fewer for so many rules that the
// reference, which looks at each of them for each packet, would take minutes.
func atLength(p *rule.Program, n int) int {
	const least, tests = 500, 1_000_000_000
	rules := 0
	for _, r := range p.Rules {
		rules++
		if r.Rows != nil {
			rules += r.Rows.Len
		}
	}
	return min(n, max(least, tests/max(1, rules)))
}

// lasting is a packet that a rule acts on again and again: repeated test runs
// work on one buffer.
func lasting(p *rule.Program) []byte {
	r := rand.New(rand.NewPCG(proofSeed, 0))
	for range 1000 {
		frame := packetgen.Frame(r, p)
		first := reference.Run(p, frame)
		if first.Index >= 0 && reference.Run(p, first.Frame).Index == first.Index {
			return frame
		}
	}
	return nil
}

// cost times a program against one that does nothing, in turn, and takes the
// median. A call costs milliseconds by itself, so each figure is the slope
// between two numbers of runs.
func cost(prog *ebpf.Program, frame []byte) (float64, error) {
	nothing, err := idle()
	if err != nil {
		return 0, err
	}
	defer nothing.Close()
	var diffs []float64
	for range 5 {
		ours, err := slope(prog, frame)
		if err != nil {
			return 0, err
		}
		none, err := slope(nothing, frame)
		if err != nil {
			return 0, err
		}
		diffs = append(diffs, ours-none)
	}
	slices.Sort(diffs)
	return diffs[len(diffs)/2], nil
}

// idle is a program that lets every packet pass.
func idle() (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.XDP,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, int32(bpf.XDP.Verdict(rule.Pass))), asm.Return()},
		License:      "Dual MIT/GPL",
	})
}

// slope is the time of one run in nanoseconds.
func slope(prog *ebpf.Program, frame []byte) (float64, error) {
	const few, many = 10_000, 1_010_000
	var took [2]time.Duration
	for i, repeat := range []int{few, many} {
		_, each, err := prog.Benchmark(frame, repeat, nil)
		if err != nil {
			return 0, fmt.Errorf("time the program: %w", err)
		}
		took[i] = each * time.Duration(repeat)
	}
	return float64(took[1]-took[0]) / (many - few), nil
}
