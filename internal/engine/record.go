package engine

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/run"
	"repacket/internal/syntax"
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
	counters *ebpf.Map
	found    bool      // the counters are this record's to close
	before   *ebpf.Map // the counters of the program before, or nil
}

// skipped are the packets that rules matched and could not act on, by reason.
type skipped [bpf.ReasonCount]uint64

// skipReasons say for people why packets were skipped.
var skipReasons = [bpf.ReasonCount]string{
	bpf.ReasonSegments: "segmentation offload is yet to segment them, and a rule sets a field that this depends on",
	bpf.ReasonPartial:  "their checksum is offloaded, so it cannot be set or fixed",
	bpf.ReasonHeaders:  "their headers could not be brought into one buffer",
	bpf.ReasonLimit:    "each stands for more packets, by segmentation offload, than -c has left",
	bpf.ReasonTag:      "the type of their VLAN tag can only be 0x8100 or 0x88a8 at tc",
}

// counts are the counts so far.
func (r *record) counts() (out run.Counts, err error) {
	n := len(r.meta.Rules)
	own, err := counterRows(r.counters, n+bpf.ReasonCount)
	if err != nil {
		return out, err
	}
	if len(own) < n {
		return out, fmt.Errorf("the program on %s has %d counters for %d rules", r.meta.Interface, len(own), n)
	}
	old, err := r.old()
	if err != nil {
		return out, err
	}
	for i, m := range r.meta.Rules {
		out.Rules = append(out.Rules, ruleCount(m, add(past(m, old), own[i])))
	}
	for _, m := range r.gone {
		if gone := ruleCount(m, past(m, old)); gone.Matched > 0 {
			gone.Gone = true
			out.Rules = append(out.Rules, gone)
		}
	}
	all := r.pastSkipped(old)
	all.add(own[n:])
	for why, packets := range all {
		if packets > 0 {
			out.Skipped = append(out.Skipped, run.Skipped{Packets: packets, Why: skipReasons[why]})
		}
	}
	return out, nil
}

// add adds the rows of counters behind those of rules: another version's may have fewer
// reasons, or none.
func (s *skipped) add(rows []bpf.Counter) {
	for i, c := range rows[:min(len(rows), len(s))] {
		s[i] += c.Packets
	}
}

// next is the record of a program with other rules that is to take the place
// of this one's. It is for when all programs before this one are at rest: their
// counts are final now.
func (r *record) next(meta hook.Meta) (*record, error) {
	old, err := r.old()
	if err != nil {
		return nil, err
	}
	final := r.pastSkipped(old)
	meta.OldRules, meta.Skipped = len(r.meta.Rules), final[:]

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

// pastSkipped are the packets that the programs before this one skipped.
func (r *record) pastSkipped(old []bpf.Counter) (out skipped) {
	copy(out[:], r.meta.Skipped)
	if r.before != nil {
		out.add(old[min(r.meta.OldRules, len(old)):])
	}
	return out
}

// close closes what the record owns.
func (r *record) close() error {
	if r.found {
		return closeAll(r.counters, r.before)
	}
	return closeAll(r.before)
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

// ruleCount says what a rule did. A program rewrites every packet that a rule with
// actions matches: what it cannot rewrite whole, its condition does not match.
func ruleCount(m hook.MetaRule, c bpf.Counter) run.RuleCount {
	out := run.RuleCount{RuleText: run.RuleText{Name: m.Name, Text: m.Text}, DryRun: m.DryRun}
	for _, v := range syntax.Verdicts() {
		if m.Verdict == v.String() { // another version may have more of them
			out.Verdict = v
		}
	}
	out.Set(c.Packets, c.Bytes)
	return out
}

// counterRows reads the first counters of a map, or all where it has fewer.
func counterRows(m *ebpf.Map, n int) ([]bpf.Counter, error) {
	return readCounters(m, min(n, int(m.MaxEntries())))
}

// openRecord is the record of a program on an interface.
func openRecord(a *hook.Program) (*record, error) {
	counters, err := a.Counters()
	if err != nil {
		return nil, err
	}
	before, err := a.Before()
	if err != nil {
		return nil, errors.Join(err, counters.Close())
	}
	return &record{meta: a.Meta, counters: counters, found: true, before: before}, nil
}
