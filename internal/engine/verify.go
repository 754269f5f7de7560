package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Verify tests rules at length: n packets through each of the programs that
// may be attached: for XDP with packets in several buffers, for XDP with packets
// in one, and for tc. Of the options only Program, Clang and Broken count. The errors are
// those of SelfTest.
func Verify(opt run.Options, n int) (v run.Verified, err error) {
	if v, err = verify(opt, nil, n); err != nil || opt.Program.Replies == nil {
		return v, err
	}
	rules := opt.Program
	opt.Program = rules.Replies
	replies, err := verify(opt, rules, n)
	v.Replies = &replies
	return v, err
}

// verify is Verify for the program of one direction; answers are the rules whose replies it rewrites.
func verify(opt run.Options, answers *rule.Program, n int) (v run.Verified, err error) {
	p := opt.Program
	o := LoadOptions{Clang: opt.Clang, Broken: opt.Broken, Redirect: outlets(p), Answers: answers}
	n = atLength(p, n)
	there, reached := map[int]bool{}, map[int]bool{}
	for _, r := range p.Rules { // not every rule has replies
		there[r.Index] = true
	}
	for _, way := range []struct {
		hook      bpf.Hook
		fragments bool
	}{{bpf.XDP, true}, {bpf.TC, false}, {bpf.XDP, false}} { // the last one is measured below
		o.Hook, o.Fragments = way.hook, way.fragments
		tested, err := SelfTest(p, o, n)
		if err != nil {
			return v, hook.ExplainLoad(err)
		}
		for i := range p.Written {
			reached[i] = reached[i] || !slices.Contains(tested.Unreached, i)
		}
		v.Packets += tested.Packets
		v.Acted += tested.Acted
	}
	for i := range p.Written {
		if there[i] && !reached[i] {
			v.Unreached = append(v.Unreached, i+1)
		}
	}
	l, err := Load(p, o)
	if err != nil {
		return v, hook.ExplainLoad(err)
	}
	defer l.Close()
	info, err := l.Program.Info()
	if err != nil {
		return v, fmt.Errorf("inspect the program: %w", err)
	}
	ins, err := info.Instructions()
	if err != nil {
		return v, fmt.Errorf("read the program back: %w", err)
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

// atLength is how many packets are tried of n: fewer for so many rules, values or rows
// that to make the packets and to ask the reference, which looks at each of them for each
// packet, would take more than seconds. The costs are those of a rule that is looked at,
// about 50 ns, as are ten rows, or four values where a packet is made that has none.
func atLength(p *rule.Program, n int) int {
	const least, most = 500, 8_000_000
	const rows, values = 10, 4
	cost := 0
	for _, r := range p.Rules {
		cost++
		if r.Rows != nil {
			cost += r.Rows.Len / rows
		}
		for _, x := range rule.Leaves(r.Cond) {
			if t, ok := x.(rule.Test); ok {
				cost += len(t.In) / values
			}
		}
	}
	return min(n, max(least, most/max(1, cost)))
}

// lasting is a packet that a rule acts on again and again: repeated test runs
// work on one buffer.
func lasting(p *rule.Program) []byte {
	r := rand.New(rand.NewPCG(testSeed, 0))
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
	nothing, err := passAll("", 0)
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
