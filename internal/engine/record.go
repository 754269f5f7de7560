package engine

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/hook"
)

// record is what a program counts, together with what the programs before it
// have counted on the same interface: a rule goes on from where it was when
// other rules come and go around it.
//
// Each program has counters of its own, because for a moment an old and a new
// one run side by side. The counts of a rule are the sum of what is final (Past
// in the metadata), of the counters of the program before, and of its own. All
// of it is bound to the program before it takes its place, so no reader ever
// sees less than before, and nothing is left to be done behind the swap.
type record struct {
	meta     hook.Meta
	gone     []hook.MetaRule // rules of programs before; only a run knows them
	counters *ebpf.Map       // not owned
	before   *ebpf.Map       // the counters of the program before, or nil
}

// RuleCount is a rule in the user's words and what it did.
type RuleCount struct {
	Name, Text string
	Look       bool // it only counts
	Gone       bool // it has been replaced
	Count
}

// rules are the counts by rule as written; behind them stand rules that are gone
// and had something to do.
func (r *record) rules() ([]RuleCount, error) {
	n := len(r.meta.Rules)
	own, err := counterRows(r.counters, n)
	if err != nil {
		return nil, err
	}
	if len(own) < n {
		return nil, fmt.Errorf("the program on %s has %d counters for %d rules", r.meta.Interface, len(own), n)
	}
	old, err := r.old()
	if err != nil {
		return nil, err
	}
	out := make([]RuleCount, 0, n+len(r.gone))
	for i, m := range r.meta.Rules {
		out = append(out, ruleCount(m, add(past(m, old), own[i])))
	}
	for _, m := range r.gone {
		if gone := ruleCount(m, past(m, old)); gone.Matched > 0 {
			gone.Gone = true
			out = append(out, gone)
		}
	}
	return out, nil
}

// leftAlone are the packets left alone so far.
func (r *record) leftAlone() (out LeftAlone, err error) {
	own, err := counterRows(r.counters, len(r.meta.Rules)+bpf.ReasonCount)
	if err != nil {
		return out, err
	}
	old, err := r.old()
	if err != nil {
		return out, err
	}
	out = r.pastAlone(old)
	for i := range out { // another version's may have fewer reasons, or none
		if at := len(r.meta.Rules) + i; at < len(own) {
			out[i] += own[at].Packets
		}
	}
	return out, nil
}

// next is the record of a program with other rules that is to take the place
// of this one's. It is for when all programs before this one are at rest: their
// counts are final now.
func (r *record) next(meta hook.Meta) (*record, error) {
	old, err := r.old()
	if err != nil {
		return nil, err
	}
	final := r.pastAlone(old)
	meta.OldRules, meta.LeftAlone = len(r.meta.Rules), final[:]

	known := map[hook.MetaRuleKey][]hook.MetaRule{} // rules of the same words, in their order
	var order []hook.MetaRuleKey
	know := func(m hook.MetaRule, place int) {
		c := past(m, old)
		m.Past, m.Old = hook.MetaCount{Packets: c.Packets, Bytes: c.Bytes}, place
		if place == 0 && c.Packets == 0 {
			return
		}
		k := m.Key()
		known[k] = append(known[k], m)
		order = append(order, k)
	}
	for i, m := range r.meta.Rules {
		know(m, i+1)
	}
	for _, m := range r.gone {
		know(m, 0)
	}
	for i := range meta.Rules {
		m := &meta.Rules[i]
		k := m.Key()
		if same := known[k]; len(same) > 0 {
			m.Past, m.Old = same[0].Past, same[0].Old
			known[k] = same[1:]
		}
	}
	next := &record{meta: meta}
	for _, k := range order {
		if left := known[k]; len(left) > 0 {
			next.gone = append(next.gone, left[0])
			known[k] = left[1:]
		}
	}
	return next, nil
}

// old reads the counters of the program before.
func (r *record) old() ([]bpf.Counter, error) {
	if r.before == nil {
		return nil, nil
	}
	return counterRows(r.before, r.meta.OldRules+bpf.ReasonCount)
}

// pastAlone are the packets that the programs before this one left alone.
func (r *record) pastAlone(old []bpf.Counter) (out LeftAlone) {
	copy(out[:], r.meta.LeftAlone)
	if r.before == nil {
		return out
	}
	for i := range out {
		if at := r.meta.OldRules + i; at < len(old) {
			out[i] += old[at].Packets
		}
	}
	return out
}

// close gives back what the record owns.
func (r *record) close() error {
	if r.before == nil {
		return nil
	}
	return r.before.Close()
}

// past is what a rule had counted before its program came.
func past(m hook.MetaRule, old []bpf.Counter) bpf.Counter {
	c := bpf.Counter{Packets: m.Past.Packets, Bytes: m.Past.Bytes}
	if m.Old > 0 && m.Old <= len(old) {
		c = add(c, old[m.Old-1])
	}
	return c
}

func add(a, b bpf.Counter) bpf.Counter {
	return bpf.Counter{Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes}
}

func ruleCount(m hook.MetaRule, c bpf.Counter) RuleCount {
	return RuleCount{Name: m.Name, Text: m.Text, Look: m.Look, Count: count(c, m.Look)}
}

// counterRows reads the first counters of a map, or all where it has fewer.
func counterRows(m *ebpf.Map, n int) ([]bpf.Counter, error) {
	return readCounters(m, min(n, int(m.MaxEntries())))
}

// openRecord is the record of a program on an interface. Its maps are open until
// the function that is returned is called.
func openRecord(a *hook.Attached) (*record, func() error, error) {
	counters, err := a.Counters()
	if err != nil {
		return nil, nil, err
	}
	before, err := a.Before()
	if err != nil {
		return nil, nil, errors.Join(err, counters.Close())
	}
	r := &record{meta: a.Meta, counters: counters, before: before}
	return r, func() error { return errors.Join(counters.Close(), r.close()) }, nil
}
