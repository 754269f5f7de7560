package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// A run whose rules are to be confirmed when they are read again has two programs for them: one
// with the rules before beside them, which is on the interface, and one with the new rules alone,
// which takes its place once they are confirmed. Both count in the same maps, and the rules before
// go on in those of the program that they had.

// waiting is rules of a run that are to be confirmed.
type waiting struct {
	deadline *ebpf.Map
	after    time.Duration
	over     time.Time     // when they go back, about
	program  *rule.Program // the rules before
	// rules and replies are what the rules before had.
	rules, replies installed
}

// settlePoll is how long it may stay unnoticed here that rules are confirmed or have gone back.
const settlePoll = 50 * time.Millisecond

func (w *waiting) close() error {
	if w == nil {
		return nil
	}
	return errors.Join(w.rules.close(), w.replies.close(), w.deadline.Close())
}

// begin sets the deadline; w may be nil.
func (w *waiting) begin() error {
	if w == nil {
		return nil
	}
	w.over = time.Now().Add(w.after)
	return arm(w.deadline, w.after)
}

// stillWaits is the error that rules wait to be confirmed, or nil.
func (r *Session) stillWaits(t run.Target) error {
	r.settle()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		return nil
	}
	return &PendingError{Target: t, Left: max(0, time.Until(r.waiting.over)), Run: true}
}

// testBoth loads and tests rules, which have been tested alone, in programs that hold those that run
// too; or is nil where nobody has to confirm them.
func (r *Session) testBoth(s *Prepared) (_ *waiting, err error) {
	if r.opt.RevertAfter == 0 {
		return nil, nil
	}
	w := &waiting{after: r.opt.RevertAfter, program: r.opt.Program}
	if w.deadline, err = wordMap(hook.RevertMapName); err != nil {
		return nil, fmt.Errorf("make the deadline of the rules: %w", err)
	}
	if err = w.begin(); err != nil {
		return nil, errors.Join(err, w.deadline.Close())
	}
	for _, side := range s.sides() {
		if err = r.testBothOf(side, w); err != nil {
			return nil, errors.Join(err, w.deadline.Close())
		}
	}
	return w, nil
}

// testBothOf is testBoth for a side.
func (r *Session) testBothOf(s *Prepared, w *waiting) error {
	o := s.options(s.choice.Hook)
	o.Fragments, o.share = s.ahead.fragments, s.ahead
	v, err := r.goesBack(s, w)
	if err != nil {
		return err
	}
	o.Revert = v
	s.both, err = tested(s.opt.Program, o)
	return hook.ExplainLoad(err)
}

// goesBack is what a side of the run does now, which the program of the new rules goes back to.
func (r *Session) goesBack(s *Prepared, w *waiting) (v *Reversion, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v = &Reversion{Rules: nothing(), deadline: w.deadline}
	now := r.side(s)
	if r.closed {
		return nil, errClosed
	}
	if now.link == nil || len(now.record.meta.Rules) == 0 {
		return v, nil
	}
	v.With.share, v.With.Timed, v.With.Record, v.With.Why = now.loaded, now.loaded.deadline != nil, s.opt.Record, now.loaded.why != nil
	switch {
	case s.answers == nil:
		v.Rules = w.program
		if now.loaded.tickets != nil {
			v.With.Limit = r.opt.Limit
		}
	case w.program.Replies != nil:
		v.Rules, v.With.Answers = w.program.Replies, w.program
	}
	if v.With.Redirect, err = outletNumbers(v.Rules); err != nil {
		return nil, &LostRulesError{Interface: s.iface.Name, Why: err.Error(), Err: err}
	}
	return v, nil
}

// settle sees whether rules that wait have been confirmed or have gone back, and goes on
// accordingly.
func (r *Session) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting
	if w == nil || r.closed {
		return
	}
	var deadline uint64
	if err := w.deadline.Lookup(uint32(0), &deadline); err != nil {
		return // the next look may tell
	}
	switch {
	case deadline == hook.Never:
		r.keep(w)
	case time.Now().After(w.over):
		if now, err := hook.Jiffies(); err != nil || now < deadline || r.goBack(w) != nil {
			return
		}
	default:
		return
	}
	r.waiting = nil
	select {
	case r.settled <- run.Settled{Confirmed: deadline == hook.Never, Program: r.opt.Program}:
	default: // nobody has asked for what came before
	}
}

// keep puts programs with the new rules alone in the place of those with both. Where that fails
// these go on, and their deadline never comes.
func (r *Session) keep(w *waiting) {
	for _, p := range []*linked{&r.rules, &r.replies} {
		switch {
		case p.link == nil || p.both == nil:
		case len(p.record.meta.Rules) == 0: // it only held the rules before
			_ = p.retire()
		case p.link.Update(p.loaded.Program) == nil:
			_ = p.both.Close()
			p.both = nil
		}
	}
	_ = w.close()
}

// goBack says of the rules before that they run. In the kernel they do, by the programs that are
// there.
func (r *Session) goBack(w *waiting) (err error) {
	var steps []func()
	for _, side := range []struct {
		now    *linked
		before *installed
	}{{&r.rules, &w.rules}, {&r.replies, &w.replies}} {
		if side.now.link == nil {
			continue
		}
		next, err := side.now.recordBehind(side.before.record)
		if err != nil {
			return err
		}
		steps = append(steps, func() { side.now.goBackTo(side.before, next) })
	}
	for _, step := range steps {
		step()
	}
	r.opt.Program = w.program
	_ = w.deadline.Close()
	return nil
}

// recordBehind is the record of the rules before once they act again: what the others have counted
// is set aside.
func (p *linked) recordBehind(before *record) (*record, error) {
	if before == nil {
		before = &record{meta: hook.Meta{Interface: p.record.meta.Interface}}
	}
	folded, err := before.folded()
	if err != nil {
		return nil, err
	}
	counted, err := p.loaded.counters.Clone()
	if err != nil {
		return nil, fmt.Errorf("keep the counters: %w", err)
	}
	next := *folded
	next.aside = &aside{p.record.meta.Rules, counted}
	return &next, nil
}

// goBackTo gives a program that goes back what the rules before had.
func (p *linked) goBackTo(before *installed, next *record) {
	if r := before.record; r != nil && r.aside != nil {
		_ = r.aside.counters.Close() // it has been folded
	}
	gone := installed{loaded: p.loaded, record: p.record}
	p.record = next
	if before.loaded == nil { // it has nothing to do
		gone.loaded = nil
	} else {
		p.loaded = before.loaded
		p.loaded.fragments = p.loaded.fragments || p.both.fragments
		if now, later := p.loaded.flows, gone.loaded.flows; now != nil && later != nil {
			now.next = max(now.next, later.next) // what the others have entered keeps its owners
		}
	}
	if before.both != nil {
		_ = before.both.Close()
	}
	*before = installed{}
	_ = gone.close()
}
