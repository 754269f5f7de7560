package engine

import (
	"errors"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Rules that have replies are two programs: one for the rules, and one for the packets of the
// other direction that answer what the rules rewrite. They are one rule set (semantics.md 5.6):
// that of the replies is attached first and detached last, so that no packet is rewritten whose
// answers are not.

// prepareReplies prepares the program for the replies of rules, if there are any.
func (s *Prepared) prepareReplies(p *rule.Program) (err error) {
	s.replies = nil
	back := p.Replies
	switch {
	case back != nil:
	case s.opt.RevertAfter > 0 && s.repliesAt != run.Auto:
		back = nothing() // for as long as those of the rules before may have to come back
	default:
		return nil
	}
	r := &Prepared{opt: s.opt, iface: s.iface, outlets: s.outlets, peers: s.peers, there: s.repliesThere, answers: p, flows: s.flows, recording: s.recording}
	r.opt.Direction, r.opt.Limit = s.opt.Direction.Other(), 0
	if s.opt.For > 0 {
		r.opt.For = s.opt.For + run.RepliesLonger
	}
	want := run.Auto
	switch { // XDP sees one direction only, so it can be asked for in that one
	case s.repliesAt != run.Auto:
		want = s.repliesAt
	case s.opt.Hook == run.TC:
		want = run.TC
	}
	if err := r.choose(back, want); err != nil {
		return err
	}
	s.replies = r
	return nil
}

// repliesOf are the programs of ours on an interface that rewrite the replies of rules for a
// direction.
func repliesOf(ifindex int, d run.Direction) ([]*hook.Program, error) {
	ours, err := hook.Ours(ifindex, d.Other())
	return slices.DeleteFunc(ours, func(a *hook.Program) bool { return a.Meta.RepliesOf != d.String() }), err
}

// sides are the programs of a rule set: that of the rules, and that of the replies if there
// are any.
func (s *Prepared) sides() []*Prepared {
	if s.replies == nil {
		return []*Prepared{s}
	}
	return []*Prepared{s, s.replies}
}

// isIdle reports whether a side has no rules: it holds only those before, which may have to come
// back.
func (s *Prepared) isIdle() bool { return len(s.opt.Program.Written) == 0 }

// set is the installed programs of a rule set.
type set struct{ rules, replies *installed } // replies may be nil

func (p set) close() error {
	err := p.rules.close()
	if p.replies != nil {
		err = errors.Join(err, p.replies.close())
	}
	return err
}

// attachment is how the set was attached.
func (p set) attachment(s *Prepared) run.Attachment {
	a := run.Attachment{Target: s.opt.Target, Hook: p.rules.choice.Hook, Note: p.rules.choice.Why, Advice: p.rules.late, RevertAfter: s.opt.RevertAfter}
	if p.replies != nil && !s.replies.isIdle() {
		a.Replies = &run.RepliesAt{Direction: s.replies.opt.Direction, Hook: p.replies.choice.Hook, Note: p.replies.choice.Why}
		if s.replies.there != nil {
			a.Replies.Note = whereBefore(a.Replies.Hook)
		}
		a.Advice = slices.Concat(a.Advice, p.replies.late)
	}
	return a
}

// whereBefore is the note of a hook that follows from the rules whose place others take.
func whereBefore(h run.Hook) string { return h.String() + ": where the rules before were" }

// putter attaches the program of a side.
type putter func(side *Prepared, p *installed) (undo func() error, err error)

// attachSet attaches a rule set: the replies first. Both programs are tested before the first
// of them is attached, and where the second one cannot be, the first one is detached again.
func (s *Prepared) attachSet(put putter) (p set, err error) {
	undoReplies := func() error { return nil }
	if err := s.trackFlows(); err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, s.flows.Close()) }() // the programs have it
	if err := s.record(); err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, s.recording.release()) }() // so do they of this
	if s.replies != nil {
		if err := s.testAhead(); err != nil {
			return p, err
		}
		s.replies.ready = s.ready
		p.replies, err = s.replies.attach(func(p *installed) (err error) {
			undoReplies, err = put(s.replies, p)
			return err
		})
		if err != nil {
			return p, errors.Join(err, s.dropTested())
		}
	}
	p.rules, err = s.attach(func(p *installed) error {
		_, err := put(s, p)
		return err
	})
	if err != nil && p.replies != nil {
		err = errors.Join(err, undoReplies(), p.replies.close())
	}
	return p, err
}

// testAhead loads and tests the programs of both sides for the hooks that are chosen.
func (s *Prepared) testAhead() error {
	var work sync.WaitGroup
	errs := make([]error, len(s.sides()))
	for i, side := range s.sides() {
		work.Go(func() { side.ahead, errs[i] = tested(side.opt.Program, side.options(side.choice.Hook)) })
	}
	work.Wait()
	for _, err := range errs { // one is told, the rules' own first
		if err != nil {
			return errors.Join(hook.ExplainLoad(err), s.dropTested())
		}
	}
	return nil
}

// dropTested closes the programs that were tested ahead and not used.
func (s *Prepared) dropTested() (err error) {
	for _, side := range s.sides() {
		for _, l := range []**Loaded{&side.both, &side.ahead} {
			if *l != nil {
				err = errors.Join(err, (*l).Close())
				*l = nil
			}
		}
	}
	return err
}

// testedFor is a program that was tested for these options: that which was tested ahead, if
// they have not changed.
func (s *Prepared) testedFor(o LoadOptions) (*Loaded, error) {
	if l := s.ahead; l != nil {
		s.ahead = nil
		if forTC := l.Program.Type() == ebpf.SchedCLS; forTC == (o.Hook == bpf.TC) && l.fragments == o.Fragments {
			return l, nil
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	l, err := tested(s.opt.Program, o)
	if err != nil {
		return nil, hook.ExplainLoad(err)
	}
	return l, nil
}
