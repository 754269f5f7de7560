package offline

import (
	"sync"

	"repacket/internal/run"
	"repacket/internal/software"
	"repacket/internal/why"
)

// reasons are the tests by which rules did not act on packets, as one worker has counted them.
type reasons struct {
	mu     sync.Mutex
	counts []why.Count // by why.Slot
}

func newReasons(tests []why.Test) *reasons {
	return &reasons{counts: make([]why.Count, len(tests)*int(why.Misses))}
}

// add counts a packet; r may be nil.
func (r *reasons) add(missed []software.Missed) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range missed {
		r.counts[m.Slot].Add(m.Seen, 1)
	}
}

// explain says of the first rules why they have not acted; s.mu is held.
func (s *Session) explain(rules []run.RuleCount) {
	if len(s.tests) == 0 {
		return
	}
	sums := make([]why.Sum, len(s.tests)*int(why.Misses))
	for _, r := range s.reasons {
		r.mu.Lock()
		for slot := range r.counts {
			sums[slot].Add(&r.counts[slot])
		}
		r.mu.Unlock()
	}
	matched := make([]uint64, len(s.counts))
	for i, c := range s.counts {
		matched[i] = c.packets
	}
	run.Explain(rules, s.tests, sums, matched)
}
