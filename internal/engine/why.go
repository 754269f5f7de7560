package engine

import (
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/why"
)

// reasons are the tests by which rules do not act on packets, as a program counts them.
type reasons struct {
	tests  []why.Test
	counts *ebpf.Map // of why.Count, by why.Slot
}

// newReasons makes the counters of the first rules of a program; it is nil where none has a test.
func newReasons(p *rule.Program) (*reasons, error) {
	r := &reasons{tests: why.Tests(p)}
	if len(r.tests) == 0 {
		return nil, nil
	}
	var err error
	r.counts, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "repacket_why", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: why.CountSize, MaxEntries: uint32(r.slots()),
	})
	if err != nil {
		return nil, fmt.Errorf("make the counters of why: %w", err)
	}
	return r, nil
}

func (r *reasons) slots() int { return len(r.tests) * int(why.Misses) }

// sums adds up, by slot, what every CPU has counted.
func (r *reasons) sums() ([]why.Sum, error) {
	out := make([]why.Sum, r.slots())
	var perCPU []why.Count
	for slot := range out {
		if err := r.counts.Lookup(uint32(slot), &perCPU); err != nil {
			return nil, fmt.Errorf("read the counters of why: %w", err)
		}
		for i := range perCPU {
			out[slot].Add(&perCPU[i])
		}
	}
	return out, nil
}

// reset makes the counters as new; r may be nil.
func (r *reasons) reset(cpus int) error {
	if r == nil {
		return nil
	}
	none := make([]why.Count, cpus)
	for slot := range r.slots() {
		if err := r.counts.Put(uint32(slot), none); err != nil {
			return fmt.Errorf("reset the counters of why: %w", err)
		}
	}
	return nil
}

// close gives the counters back; r may be nil.
func (r *reasons) close() error {
	if r == nil {
		return nil
	}
	return r.counts.Close()
}

// explain says of the first rules, in counts of a run, why they have not acted since they began.
func (l *Loaded) explain(rules []run.RuleCount) error {
	if l.why == nil {
		return nil
	}
	own, err := l.Counters()
	if err != nil {
		return err
	}
	sums, err := l.why.sums()
	if err != nil {
		return err
	}
	matched := make([]uint64, len(own))
	for i, c := range own {
		matched[i] = c.Packets
	}
	run.Explain(rules, l.why.tests, sums, matched)
	return nil
}
