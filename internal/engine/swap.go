package engine

import (
	"errors"
	"slices"
	"time"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// testBeside loads and tests other rules beside those that run, for the same hooks and with
// the same limits. They are ahead of the sides then.
func (r *Session) testBeside(s *Prepared) error {
	for _, side := range s.sides() {
		o, err := r.besides(side)
		if err == nil {
			side.ahead, err = tested(side.opt.Program, o)
			err = hook.ExplainLoad(err)
		}
		if err == nil && o.Timed && o.limits == nil {
			err = side.ahead.expireIn(time.Until(r.until) + run.RepliesLonger)
		}
		if err != nil {
			return errors.Join(err, s.dropTested())
		}
	}
	return nil
}

// besides are the options to load a side of other rules with.
func (r *Session) besides(s *Prepared) (LoadOptions, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.side(s)
	o := s.options(s.choice.Hook)
	switch {
	case r.closed:
		return o, errClosed
	case now.link == nil:
		return o, nil
	}
	o.Fragments = o.Fragments || now.loaded.fragments // else the driver would refuse
	shared, err := now.loaded.clone()
	o.limits = &shared
	return o, err
}

// swap puts other rules, which have been tested, in the place of those that run, in an order in
// which what the new ones rewrite has its replies rewritten from the first packet on: first what
// rewrites the replies, then the rules, and where the new ones have no replies, what rewrote those
// of the old ones is detached at last. A rule that is in both sets is served all the time. r.mu is
// held. After an error the old rules run on.
func (r *Session) swap(s *Prepared) (err error) {
	rules, replies := r.rules.installed, r.replies.installed
	for _, side := range s.sides() {
		side.old = r.side(side).record
	}
	if s.replies == nil {
		err = r.finishAhead(s, r.rules.take)
	} else {
		err = r.finishAhead(s.replies, func(back *installed) error {
			return r.finishAhead(s, func(p *installed) error {
				undo, err := r.takeReplies(s.replies, back)
				if err != nil {
					return err
				}
				if err := r.rules.take(p); err != nil {
					return errors.Join(err, undo())
				}
				return nil
			})
		})
	}
	if err != nil {
		return errors.Join(err, s.dropTested())
	}
	// The new rules are there, so what follows is no failure of the swap.
	r.rules.peers = slices.Concat(rules.peers, r.rules.peers)
	rules.peers = nil
	if r.waiting != nil {
		r.waiting.rules, r.waiting.replies = rules, replies
		return nil
	}
	_ = rules.close()
	if s.replies != nil {
		_ = replies.close()
		return nil
	}
	_ = r.replies.retire()
	return nil
}

// finishAhead is Prepared.finish with the program that was tested ahead.
func (r *Session) finishAhead(s *Prepared, put func(*installed) error) error {
	l := s.ahead
	s.ahead = nil
	_, err := s.finish(l, s.choice, put)
	return err
}

// take puts a program in the place of the one that runs.
func (p *linked) take(n *installed) error {
	if err := p.link.Update(n.program()); err != nil {
		return err
	}
	choice, late := p.choice, p.late
	p.installed = *n
	p.choice, p.late = choice, late
	return nil
}

// takeReplies is take for the program that rewrites the replies, which is attached where there
// is none.
func (r *Session) takeReplies(s *Prepared, n *installed) (undo func() error, err error) {
	before := r.replies
	if before.link != nil {
		err := r.replies.take(n)
		return func() error {
			r.replies = before
			return before.link.Update(before.program())
		}, err
	}
	h, err := hook.Link(s.iface.Index, s.opt.Direction, n.program(), s.choice.Hook)
	if err != nil {
		return nil, err
	}
	r.replies = linked{h, *n}
	return func() error {
		r.replies = before
		return h.Close()
	}, nil
}

// retire detaches the program; what it has counted stays.
func (p *linked) retire() error {
	if p.link == nil {
		return nil
	}
	detached := p.link.Close()
	record, err := p.record.followedBy(hook.Meta{Interface: p.record.meta.Interface})
	err = errors.Join(detached, err, p.close())
	*p = linked{installed: installed{record: record}}
	return err
}
