package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Rules that somebody has to confirm are in one program together with the rules before, and a
// word in a map says from which jiffies on these act again: with every process dead the kernel
// goes back. Both programs of rules that have replies share the word.

// Reversion is what a program does again once its deadline has passed.
type Reversion struct {
	// Rules are the rules before; of none, where nothing was there.
	Rules *rule.Program
	// With is what they are loaded with; what says what kind of program it is, as Hook, is that
	// of the new rules.
	With LoadOptions
	// deadline is the word with the deadline; nil: one of the program's own.
	deadline *ebpf.Map
}

// nothing are the rules where there are none: all packets pass.
func nothing() *rule.Program { return &rule.Program{} }

// apart is the same with maps of its own, for a test.
func (v *Reversion) apart() *Reversion {
	if v == nil {
		return nil
	}
	out := *v
	out.deadline = nil
	out.With.limits, out.With.Flows, out.With.recording, out.With.share, out.With.Drawn = nil, nil, nil, nil, true
	return &out
}

// with are the options to load the rules before with, in a program for new ones.
func (v *Reversion) with(o LoadOptions) LoadOptions {
	out := v.With
	out.Hook, out.Fragments, out.Link, out.Drawn = o.Hook, o.Fragments, o.Link, o.Drawn
	return out
}

// reverting is what makes a program go back.
type reverting struct {
	former   *Loaded // the maps of the rules before; its program is that of both
	deadline *ebpf.Map
	owned    bool // the deadline is the program's own
	sizes    bpf.Sizes
}

func (v *reverting) close() error {
	if v == nil {
		return nil
	}
	v.former.Program = nil // it has been closed
	err := v.former.Close()
	if v.owned {
		err = errors.Join(err, v.deadline.Close())
	}
	return err
}

// explain says of an error of the verifier how large the two sets of rules are that may have
// been too much for it together.
func (v *reverting) explain(err error) error {
	var complex *TooComplexError
	if v == nil || !errors.As(err, &complex) {
		return err
	}
	return &bpf.TogetherError{New: v.sizes.New, Former: v.sizes.Former, Err: err}
}

// set sets the deadline, in jiffies.
func (v *reverting) set(jiffies uint64) error { return setWord(v.deadline, jiffies) }

func setWord(m *ebpf.Map, to uint64) error {
	if err := m.Put(uint32(0), to); err != nil {
		return fmt.Errorf("set the deadline of the rules: %w", err)
	}
	return nil
}

// revertingSource is the program of rules that may have to go back. Its deadline has not passed.
func (l *Loaded) revertingSource(p *rule.Program, o LoadOptions) (*ebpf.ProgramSpec, error) {
	v := &reverting{former: &Loaded{rules: len(o.Revert.Rules.Written), fragments: o.Fragments}, deadline: o.Revert.deadline}
	l.reverting = v
	if v.deadline == nil {
		var err error
		if v.deadline, err = wordMap(hook.RevertMapName); err != nil {
			return nil, fmt.Errorf("make the deadline of the rules: %w", err)
		}
		v.owned = true
		if err := v.set(hook.Never); err != nil {
			return nil, err
		}
	}
	planned, opt, err := l.planned(p, o)
	if err != nil {
		return nil, err
	}
	former, formerOpt, err := v.former.planned(o.Revert.Rules, o.Revert.with(o))
	if err != nil {
		return nil, err
	}
	instructions, sizes, err := bpf.CompileReverting(planned, opt, bpf.Former{Plan: former, Options: formerOpt, Deadline: v.deadline.FD()})
	if err != nil {
		return nil, err
	}
	v.sizes = sizes
	return specOf(instructions, o), nil
}

// testFormer tests what the program does once its deadline has passed.
func (l *Loaded) testFormer(o LoadOptions, made <-chan []trial) error {
	v := l.reverting
	if err := v.set(0); err != nil {
		return err
	}
	v.former.Program = l.Program
	_, err := v.former.selfTest(o.Revert.Rules, o.Revert.with(o), made)
	return errors.Join(err, v.set(hook.Never))
}

// ticks is how many jiffies there are in a second.
func ticks() (int, error) {
	var tick unix.Timespec // of the coarse clock it is a jiffy (kernel/time/posix-timers.c)
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick); err != nil {
		return 0, fmt.Errorf("ask for the length of a jiffy: %w", err)
	}
	return int(time.Second / time.Duration(tick.Nano())), nil
}

// lasting is how long so many jiffies take.
func lastingJiffies(n uint64) (time.Duration, error) {
	hz, err := ticks()
	if err != nil {
		return 0, err
	}
	return time.Duration(n) * (time.Second / time.Duration(hz)), nil
}

// arm sets a deadline so far from now, rounded up to a jiffy; one that has been called off
// meanwhile stays so.
func arm(deadline *ebpf.Map, in time.Duration) error {
	var set uint64
	if err := deadline.Lookup(uint32(0), &set); err != nil {
		return fmt.Errorf("read the deadline of the rules: %w", err)
	}
	if set == hook.Never {
		return nil
	}
	hz, err := ticks()
	if err != nil {
		return err
	}
	now, err := hook.Jiffies()
	if err != nil {
		return err
	}
	jiffy := time.Second / time.Duration(hz)
	return setWord(deadline, now+uint64((in+jiffy-1)/jiffy))
}

// PendingError says that rules wait for confirmation, so that others cannot take their place.
type PendingError struct {
	run.Target
	// Left is how long they wait.
	Left time.Duration
	// Run: they are those of a run, which are not detached.
	Run bool
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("the rules on %s wait to be confirmed, for %v more: until then no others take their place", e.Interface, e.Left.Round(time.Second))
}

// Hint says what to do instead.
func (e *PendingError) Hint() string {
	hint := "confirm them: repacket confirm " + e.Flags()
	if e.Run {
		return hint + "; or wait until those before act again"
	}
	return hint + "; or detach them: repacket detach " + e.Flags()
}

// Class is that of an interface that is taken.
func (*PendingError) Class() run.Class { return run.Taken }

// LostRulesError says that rules on an interface cannot be kept in a program with others, to
// come back.
type LostRulesError struct {
	Interface string
	Why       string
	Err       error // or nil
}

func (e *LostRulesError) Error() string {
	return fmt.Sprintf("the rules on %s cannot be kept to come back: %s", e.Interface, e.Why)
}

func (e *LostRulesError) Unwrap() error { return e.Err }

// Hint says what to do instead.
func (*LostRulesError) Hint() string {
	return "leave out --revert-after to replace them for good"
}

// Class is that of an unsupported request: status 4.
func (*LostRulesError) Class() run.Class { return run.Unsupported }

// rulesOf are the rules of a program that was found, from the text that is kept with it.
func rulesOf(a *hook.Program) (*rule.Program, error) {
	if len(a.Meta.Rules) == 0 {
		return nothing(), nil
	}
	text, whole := a.Meta.Source()
	if !whole {
		return nil, &LostRulesError{Interface: a.Interface, Why: "their text was too long to be kept as a whole"}
	}
	p, err := rule.Check(text)
	switch {
	case err != nil:
		return nil, &LostRulesError{Interface: a.Interface, Why: "their text alone is not enough: " + err.Error(), Err: err}
	case len(p.Written) != len(a.Meta.Rules):
		return nil, &LostRulesError{Interface: a.Interface, Why: "this version reads other rules in their text"}
	}
	return p, nil
}

// formerly has the sides of a rule set that takes the place of another one go back to that at a
// deadline. The caller closes what it opens.
func (s *Prepared) formerly(deadline *ebpf.Map) error {
	was := nothing()
	if from := cmpOr(s.there, s.repliesThere); from != nil {
		var err error
		if was, err = rulesOf(from); err != nil {
			return err
		}
	}
	for _, side := range s.sides() {
		if err := side.goBackTo(was, deadline); err != nil {
			return err
		}
	}
	return nil
}

func cmpOr(a, b *hook.Program) *hook.Program {
	if a != nil {
		return a
	}
	return b
}

// goBackTo has a side go back to what is there now, which is its part of the rules before.
func (s *Prepared) goBackTo(was *rule.Program, deadline *ebpf.Map) (err error) {
	v := &Reversion{Rules: nothing(), deadline: deadline}
	s.reverts = v
	if s.there == nil {
		return nil
	}
	v.Rules = was
	if s.answers != nil {
		if v.Rules = was.Replies; v.Rules == nil {
			v.Rules = nothing()
		} else {
			v.With.Answers = was
		}
	}
	if v.With.Redirect, err = outletNumbers(v.Rules); err != nil {
		return &LostRulesError{Interface: s.iface.Name, Why: err.Error(), Err: err}
	}
	if v.With.share, err = shared(s.there, s.old); err != nil {
		return err
	}
	v.With.Limit, v.With.Timed = s.there.Meta.Limit, v.With.share.deadline != nil
	if v.With.share.tickets == nil {
		v.With.Limit = 0
	}
	return nil
}

// outletNumbers are the numbers of the interfaces that rules redirect to.
func outletNumbers(p *rule.Program) (map[string]int, error) {
	numbers := map[string]int{}
	for _, r := range p.Rules {
		if r.Verdict != rule.ToInterface {
			continue
		}
		i, err := hook.Interface(r.Redirect)
		if err != nil {
			return nil, err
		}
		numbers[r.Redirect] = i.Index
	}
	return numbers, nil
}

// shared opens the maps of a program that was found: its counters are those of its record.
func shared(a *hook.Program, counted *record) (l *Loaded, err error) {
	l = &Loaded{counters: counted.counters, rules: len(a.Meta.Rules)}
	if l.tickets, l.deadline, err = a.Limits(); err != nil {
		return nil, err
	}
	m, err := a.Flows()
	if err != nil {
		return nil, errors.Join(err, l.closeLimits())
	}
	if m != nil {
		l.flows = &Flows{table: m, flows: a.Meta.Flows, next: a.Meta.NextOwner}
		for _, r := range a.Meta.Rules {
			l.flows.owners = append(l.flows.owners, r.Owner)
		}
	}
	return l, nil
}

// closeFormer closes what goBackTo has opened.
func (s *Prepared) closeFormer() (err error) {
	for _, side := range s.sides() {
		if v := side.reverts; v != nil && v.With.share != nil {
			err = errors.Join(err, v.With.share.closeLimits(), v.With.share.flows.Close())
		}
		side.reverts = nil
	}
	return err
}
