package engine

import (
	"errors"
	"fmt"
	"slices"

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
	counters *ebpf.Map       // nil where the program is gone and none has taken its place
	found    bool            // the counters are this record's to close
	before   *ebpf.Map       // the counters of the program before, or nil
	// aside is what rules have counted that acted for a while in the place of these, and have
	// gone back; or nil.
	aside *aside
}

// aside is rules that have gone back, and their counters, which rest but for packets that were on
// their way.
type aside struct {
	rules    []hook.MetaRule
	counters *ebpf.Map
}

// folded is the record with what was counted aside added: to rules of the same words, and the
// others' behind those that are gone. It has the maps of r, which closes them.
func (r *record) folded() (*record, error) {
	if r.aside == nil {
		return r, nil
	}
	n := len(r.aside.rules)
	rows, err := counterRows(r.aside.counters, n+bpf.ReasonCount)
	if err != nil {
		return nil, err
	}
	counted := map[hook.MetaRuleKey][]hook.MetaRule{}
	for i, m := range r.aside.rules[:min(n, len(rows))] {
		m.Past, m.Old = hook.MetaCount{Packets: rows[i].Packets, Bytes: rows[i].Bytes}, 0
		counted[m.Key()] = append(counted[m.Key()], m)
	}
	out := *r
	out.aside = nil
	out.meta.Rules, out.gone = slices.Clone(r.meta.Rules), slices.Clone(r.gone)
	for _, had := range [][]hook.MetaRule{out.meta.Rules, out.gone} {
		for i := range had {
			m := &had[i]
			if same := counted[m.Key()]; len(same) > 0 {
				m.Past.Packets += same[0].Past.Packets
				m.Past.Bytes += same[0].Past.Bytes
				counted[m.Key()] = same[1:]
			}
		}
	}
	for _, m := range r.aside.rules {
		if left := counted[m.Key()]; len(left) > 0 {
			out.gone = append(out.gone, left[0])
			counted[m.Key()] = left[1:]
		}
	}
	var all skipped
	copy(all[:], r.meta.Skipped)
	all.add(rows[min(n, len(rows)):])
	out.meta.Skipped = all[:]
	return &out, nil
}

// final are the metadata with what the programs before have counted, which have come to rest.
func (r *record) final() (hook.Meta, error) {
	r, err := r.folded()
	if err != nil {
		return hook.Meta{}, err
	}
	old, err := r.old()
	if err != nil {
		return hook.Meta{}, err
	}
	m := r.meta
	m.Rules = slices.Clone(m.Rules)
	for i := range m.Rules {
		c := past(m.Rules[i], old)
		m.Rules[i].Past, m.Rules[i].Old = hook.MetaCount{Packets: c.Packets, Bytes: c.Bytes}, 0
	}
	all := r.pastSkipped(old)
	m.Skipped, m.OldRules, m.Revert = all[:], 0, nil
	return m, nil
}

// skipped are the packets that rules matched and could not act on, by reason.
type skipped [bpf.ReasonCount]uint64

// skipReasons say for people why packets were skipped.
var skipReasons = [bpf.ReasonCount]string{
	bpf.ReasonSegments:  "segmentation offload is yet to segment them, and a rule sets a field that this depends on",
	bpf.ReasonPartial:   "their checksum is offloaded, so it cannot be set or fixed",
	bpf.ReasonHeaders:   "their headers could not be brought into one buffer",
	bpf.ReasonLimit:     "each stands for more packets, by segmentation offload, than -c has left",
	bpf.ReasonTag:       "the type of their VLAN tag can only be 0x8100 or 0x88a8 at tc",
	bpf.ReasonCollision: "they would look like packets of another client, whose flow is tracked",
	bpf.ReasonBusy:      "their flow could not be entered: its place was being written to",
	bpf.ReasonTorn:      "the flow that they answer was changing while it was looked up",
}

// skipWords are the words for it.
var skipWords = [bpf.ReasonCount]run.SkipReason{
	bpf.ReasonSegments:  run.SkipSegments,
	bpf.ReasonPartial:   run.SkipChecksum,
	bpf.ReasonHeaders:   run.SkipHeaders,
	bpf.ReasonTag:       run.SkipTag,
	bpf.ReasonLimit:     run.SkipLimit,
	bpf.ReasonCollision: run.SkipCollision,
	bpf.ReasonBusy:      run.SkipBusy,
	bpf.ReasonTorn:      run.SkipTorn,
}

// tally is what a record has counted: the rules of its program, those of programs before,
// and what was skipped.
type tally struct {
	rules, gone []tallied
	skipped     skipped
}

// tallied is what a program has counted for a rule.
type tallied struct {
	hook.MetaRule
	bpf.Counter
}

// tally is what has been counted so far.
func (r *record) tally() (t tally, err error) {
	if r, err = r.folded(); err != nil {
		return t, err
	}
	n := len(r.meta.Rules)
	var own []bpf.Counter
	if r.counters != nil {
		own, err = counterRows(r.counters, n+bpf.ReasonCount)
	}
	if err != nil {
		return t, err
	}
	if len(own) < n {
		return t, fmt.Errorf("the program on %s has %d counters for %d rules", r.meta.Interface, len(own), n)
	}
	old, err := r.old()
	if err != nil {
		return t, err
	}
	for i, m := range r.meta.Rules {
		t.rules = append(t.rules, tallied{m, add(past(m, old), own[i])})
	}
	for _, m := range r.gone {
		t.gone = append(t.gone, tallied{m, past(m, old)})
	}
	t.skipped = r.pastSkipped(old)
	t.skipped.add(own[n:])
	return t, nil
}

// counts are the counts so far, with those of the replies' program, whose record may be nil.
func (r *record) counts(replies *record) (out run.Counts, err error) {
	forward, err := r.tally()
	if err != nil {
		return out, err
	}
	var back tally
	if replies != nil {
		if back, err = replies.tally(); err != nil {
			return out, err
		}
	}
	answers := newAnswers(slices.Concat(back.rules, back.gone))
	for _, m := range forward.rules {
		out.Rules = append(out.Rules, ruleCount(m, answers.take(m)))
	}
	gone := func(m, answered tallied) {
		if m.Packets > 0 || answered.Packets > 0 {
			c := ruleCount(m, answered)
			c.Gone = true
			out.Rules = append(out.Rules, c)
		}
	}
	for _, m := range forward.gone {
		gone(m, answers.take(m))
	}
	for _, left := range answers.left() {
		gone(tallied{MetaRule: left.MetaRule}, left)
	}
	all := forward.skipped
	for why, packets := range back.skipped {
		all[why] += packets
	}
	for why, packets := range all {
		if packets > 0 {
			out.Skipped = append(out.Skipped, run.Skipped{Packets: packets, Reason: skipWords[why], Why: skipReasons[why]})
		}
	}
	return out, nil
}

// repliesAlone are the counts where the rules whose replies a program rewrites are not there.
func (r *record) repliesAlone() (out run.Counts, err error) {
	t, err := r.tally()
	for _, m := range t.rules {
		out.Rules = append(out.Rules, ruleCount(tallied{MetaRule: m.MetaRule}, m))
	}
	return out, err
}

// answers are the replies that were counted, by rule. The programs of the two directions
// have different rules for a moment while they are replaced, so a rule is known by its words.
type answers struct {
	byRule map[hook.MetaRuleKey][]tallied
	order  []hook.MetaRuleKey
}

func newAnswers(all []tallied) answers {
	a := answers{byRule: map[hook.MetaRuleKey][]tallied{}}
	for _, t := range all {
		if t.Packets > 0 {
			k := t.Key()
			a.byRule[k] = append(a.byRule[k], t)
			a.order = append(a.order, k)
		}
	}
	return a
}

// take are the replies of a rule, which are not left then.
func (a answers) take(m tallied) tallied {
	if len(a.byRule) == 0 { // a key takes time
		return tallied{}
	}
	return a.next(m.Key())
}

func (a answers) next(k hook.MetaRuleKey) (t tallied) {
	if there := a.byRule[k]; len(there) > 0 {
		t, a.byRule[k] = there[0], there[1:]
	}
	return t
}

// left are the replies of rules that have not been taken.
func (a answers) left() (all []tallied) {
	for _, k := range a.order {
		if t := a.next(k); t.Packets > 0 {
			all = append(all, t)
		}
	}
	return all
}

// add adds the rows of counters behind those of rules: another version's may have fewer
// reasons, or none.
func (s *skipped) add(rows []bpf.Counter) {
	for i, c := range rows[:min(len(rows), len(s))] {
		s[i] += c.Packets
	}
}

// followedBy is the record of a program with other rules that takes the place of this one's
// and goes on from its counters.
func (r *record) followedBy(meta hook.Meta) (next *record, err error) {
	if next, err = r.next(meta); err != nil || r.counters == nil {
		return next, err
	}
	next.before, err = r.counters.Clone()
	return next, err
}

// next is the record of a program with other rules that is to take the place
// of this one's. It is for when all programs before this one are at rest: their
// counts are final now.
func (r *record) next(meta hook.Meta) (*record, error) {
	r, err := r.folded()
	if err != nil {
		return nil, err
	}
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
	err := closeAll(r.before)
	if r.found {
		err = errors.Join(err, r.counters.Close())
	}
	if r.aside != nil {
		err = errors.Join(err, r.aside.counters.Close())
	}
	return err
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

// ruleCount says what a rule did, and how many packets answered that. A program rewrites
// every packet that a rule with actions matches: what it cannot rewrite whole, its condition
// does not match.
func ruleCount(m, answered tallied) run.RuleCount {
	out := run.RuleCount{RuleText: run.RuleText{Name: m.Name, Text: m.Text}, DryRun: m.DryRun, HasReplies: m.Replies}
	out.Replies, out.RepliesBytes = answered.Packets, answered.Bytes
	for _, v := range syntax.Verdicts() {
		if m.Verdict == v.String() { // another version may have more of them
			out.Verdict = v
		}
	}
	out.Set(m.Packets, m.Bytes)
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
	r := &record{meta: a.Meta, counters: counters, found: true, before: before}
	if a.Revert.Over() {
		rested, err := a.Resting()
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.aside = &aside{a.Revert.Other.Rules, rested}
	}
	return r, nil
}
