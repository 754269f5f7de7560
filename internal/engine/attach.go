package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// replaceAttempts is how often is tried again what others change in between.
const replaceAttempts = 4

// Attach tests the rules and attaches them so that they outlive the process. With
// Options.Replace they take the place of rules that are there, in one step: each packet
// meets the old rules or the new ones, and rules of the same words count on. Whatever
// fails, what was there stays and nothing is left behind. The errors are those of Load
// and of hook.Attach or hook.Replace. It is for Options with Stay.
func (s *Prepared) Attach() (run.Attachment, error) {
	for attempt := 1; ; attempt++ {
		a, err := s.attachOnce()
		if !s.opt.Replace || attempt == replaceAttempts || !overtaken(err) {
			return a, err
		}
		if s, err = Prepare(s.opt); err != nil {
			return a, err
		}
	}
}

// overtaken reports whether another process has attached rules there, or has detached
// them, since the target was inspected.
func overtaken(err error) bool {
	var taken *hook.TakenError
	var nothing *hook.NotAttachedError
	return errors.As(err, &taken) && taken.Ours && taken.PID == 0 || errors.As(err, &nothing)
}

func (s *Prepared) attachOnce() (a run.Attachment, err error) {
	for _, side := range s.sides() {
		if side.there == nil {
			continue
		}
		if side.old, err = openRecord(side.there); err != nil {
			return a, err
		}
		defer func() { err = errors.Join(err, side.old.close()) }()
	}
	var deadline *ebpf.Map
	if s.opt.RevertAfter > 0 {
		if deadline, err = wordMap(hook.RevertMapName); err != nil {
			return a, fmt.Errorf("make the deadline of the rules: %w", err)
		}
		defer func() { err = errors.Join(err, s.closeFormer(), deadline.Close()) }()
		if err := s.formerly(deadline); err != nil {
			return a, err
		}
	}
	var steps []*hook.Step
	defer func() {
		for _, step := range steps {
			err = errors.Join(err, step.Close())
		}
	}()
	p, err := s.attachSet(func(side *Prepared, p *installed) (undo func() error, err error) {
		if err := s.arm(deadline); err != nil {
			return nil, err
		}
		var step *hook.Step
		if side.there != nil {
			step, err = hook.ReplaceStep(side.there, p.loaded.Program)
		} else {
			step, err = hook.AttachStep(side.iface.Index, side.opt.Direction, p.loaded.Program, p.choice.Hook)
		}
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
		return step.Undo, nil
	})
	if err != nil {
		return a, err
	}
	if s.repliesLost(p) {
		return a, errors.Join(errRepliesLost, onlyIfThere(undoAll(steps)), p.close())
	}
	if err := s.detachFormer(); err != nil {
		return a, errors.Join(err, steps[0].Undo(), p.close())
	}
	// The time counts from now on, not from before the kernel's wait.
	if err := s.arm(deadline); err != nil {
		return a, errors.Join(err, undoAll(steps), p.close())
	}
	a = p.attachment(s)
	if a.Replaced = s.there != nil; a.Replaced {
		a.Note = whereBefore(a.Hook)
	}
	return a, p.close()
}

// errRepliesLost: between the two programs of a set another command has detached the first.
var errRepliesLost = errors.New("another command has detached the program for the replies meanwhile, so nothing is attached")

// repliesLost reports whether the program for the replies, which was attached first, is gone: this process
// may have been stopped for long between the two. If that cannot be seen, it is there.
func (s *Prepared) repliesLost(p set) bool {
	if p.replies == nil {
		return false
	}
	info, err := p.replies.loaded.Program.Info()
	if err != nil {
		return false
	}
	id, _ := info.ID()
	found, err := hook.Find(s.replies.iface.Index, s.replies.opt.Direction)
	var none *hook.NotAttachedError
	return errors.As(err, &none) || err == nil && found.ProgramID != uint32(id)
}

// onlyIfThere forgets the error of taking away what is gone already.
func onlyIfThere(err error) error {
	var none *hook.NotAttachedError
	if errors.As(err, &none) {
		return nil
	}
	return err
}

// arm sets the deadline of rules that are to be confirmed; it may be nil.
func (s *Prepared) arm(deadline *ebpf.Map) error {
	if deadline == nil {
		return nil
	}
	return arm(deadline, s.opt.RevertAfter)
}

// undoAll undoes steps, the last one first.
func undoAll(steps []*hook.Step) (err error) {
	for _, step := range slices.Backward(steps) {
		err = errors.Join(err, step.Undo())
	}
	return err
}

// detachFormer detaches what rewrites the replies of the rules before where there are none of
// the new ones.
func (s *Prepared) detachFormer() error {
	if s.replies != nil || s.repliesThere == nil {
		return nil
	}
	err := hook.Detach(s.repliesThere)
	if nothing := (*hook.NotAttachedError)(nil); errors.As(err, &nothing) {
		return nil
	}
	return err
}

// installed is a program on an interface.
type installed struct {
	loaded *Loaded
	// both is the program that is there instead of loaded while its rules are to be confirmed, and
	// when they have gone back: it holds the rules before too, and counts in the same maps. Or nil.
	both   *Loaded
	record *record
	choice hook.Choice
	late   []run.Advice // about a choice that was not the first
	peers  []io.Closer  // programs at the other ends of veths
}

// close gives back what is not attached.
func (p *installed) close() error {
	err := closeAll(p.peers...)
	for _, l := range []*Loaded{p.both, p.loaded} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if p.record != nil {
		err = errors.Join(err, p.record.close())
	}
	return err
}

// program is that which is to be on the interface.
func (p *installed) program() *ebpf.Program {
	if p.both != nil {
		return p.both.Program
	}
	return p.loaded.Program
}

// attach loads the program for the hook that is chosen and lets put attach it;
// where the kernel refuses that and the choice is ours, it goes on to the next.
func (s *Prepared) attach(put func(*installed) error) (*installed, error) {
	c := s.choice
	for first := true; ; first = false {
		p, err := s.install(c, put)
		if err == nil {
			if !first {
				p.late = s.adviceAt(c)
			}
			return p, nil
		}
		next, ok := c.Instead(err)
		if !ok {
			return nil, err
		}
		if c, err = s.settle(next); err != nil {
			return nil, err
		}
	}
}

// install loads and attaches the program for a hook.
func (s *Prepared) install(c hook.Choice, put func(*installed) error) (*installed, error) {
	o := s.options(c.Hook)
	p, err := s.installWith(o, c, put)
	if errors.Is(err, unix.ERANGE) && c.Hook == run.XDP && !o.Fragments {
		// A veth goes by the MTU of its peer, which cannot be seen from here.
		o.Fragments = true
		p, err = s.installWith(o, c, put)
	}
	return p, err
}

func (s *Prepared) installWith(o LoadOptions, c hook.Choice, put func(*installed) error) (*installed, error) {
	l, err := s.testedFor(o)
	if err != nil {
		return nil, err
	}
	if o.Timed && o.limits == nil {
		if err := l.expireIn(s.opt.For); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return s.finish(l, c, put)
}

// finish takes the last steps to the interface with a program that is tested.
// After an error the program is closed.
func (s *Prepared) finish(l *Loaded, c hook.Choice, put func(*installed) error) (p *installed, err error) {
	if s.ready != nil {
		s.ready()
	}
	p = &installed{loaded: l, both: s.both, choice: c}
	s.both = nil
	p.record, err = s.label(l, c.Hook)
	if err == nil && p.both != nil {
		err = s.labelBoth(p)
	}
	if err == nil {
		p.peers, err = s.openPeers(c.Hook)
	}
	if err == nil && l.recording != nil {
		err = l.Deliver(run.Packet{Direction: s.opt.Direction, Hook: c.Hook, Program: s.opt.Program, Link: s.link()})
	}
	if err == nil {
		err = put(p)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// label makes a program ours, and lets its counts go on from those of the one
// whose place it takes.
func (s *Prepared) label(l *Loaded, mode run.Hook) (r *record, err error) {
	r = &record{meta: s.meta(mode)}
	if s.old != nil {
		if s.old.counters != nil {
			if err := hook.Follow(l.Program, s.old.counters); err != nil {
				return nil, err
			}
		}
		// From here on what came before s.old is final.
		if r, err = s.old.followedBy(r.meta); err != nil {
			return nil, err
		}
	}
	r.counters = l.counters
	if l.reverting == nil && s.replies != nil && s.replies.isIdle() {
		r.meta.Replies = "" // it waits with a program of both alone
	}
	if err := s.mark(l, r.meta); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// labelBoth makes a program ours that holds the rules of one that is, and those before.
func (s *Prepared) labelBoth(p *installed) error {
	if s.old != nil && s.old.counters != nil {
		if err := hook.Follow(p.both.Program, s.old.counters); err != nil {
			return err
		}
	}
	meta := p.record.meta
	meta.Replies = s.meta(p.choice.Hook).Replies
	return s.mark(p.both, meta)
}

// mark binds metadata and counters to a program, both of them where it goes back.
func (s *Prepared) mark(l *Loaded, meta hook.Meta) (err error) {
	if l.reverting == nil {
		return hook.Label(l.Program, meta, l.counters)
	}
	if meta.Revert, err = s.metaRevert(l.reverting.former); err != nil {
		return err
	}
	if err := hook.Label(l.Program, meta, l.counters); err != nil {
		return err
	}
	if err := hook.LabelFormer(l.Program, l.reverting.former.counters); err != nil || !s.opt.Stay {
		return err // of a run its process tells
	}
	return hook.LabelTold(l.Program)
}

// metaRevert is what the metadata of a program say of the rules before, whose maps these are. What
// came before them has come to rest.
func (s *Prepared) metaRevert(former *Loaded) (m *hook.MetaRevert, err error) {
	m = &hook.MetaRevert{}
	if s.old != nil {
		if m.Old, err = s.old.final(); err != nil {
			return nil, err
		}
	}
	of := []struct {
		to *uint32
		*ebpf.Map
	}{{&m.Counters, former.counters}, {&m.Limit, former.tickets}, {&m.Until, former.deadline}}
	if former.flows != nil {
		of = append(of, struct {
			to *uint32
			*ebpf.Map
		}{&m.Flows, former.flows.table})
	}
	for _, x := range of {
		if x.Map == nil {
			continue
		}
		if *x.to, err = hook.MapNumber(x.Map); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// oneBuffer is an MTU in bytes up to which every driver gives XDP a packet in
// one buffer. The kernel holds to it: while a program is attached that is not
// aware of several buffers, the MTU cannot be raised beyond what one holds.
const oneBuffer = 1500

func (s *Prepared) meta(mode run.Hook) hook.Meta {
	m := hook.Meta{
		Interface:  s.iface.Name,
		Ifindex:    s.iface.Index,
		Direction:  s.opt.Direction.String(),
		Hook:       mode.String(),
		PID:        os.Getpid(),
		PIDSpace:   hook.PIDSpace(),
		Foreground: !s.opt.Stay,
		Release:    s.opt.Release,
		Start:      time.Now().UnixNano(),
		Limit:      s.opt.Limit,
	}
	if s.opt.Origin != nil {
		by := *s.opt.Origin
		if by.At.IsZero() {
			by.At = time.Unix(0, m.Start)
		}
		m.By = &by
	}
	switch {
	case s.answers != nil:
		m.RepliesOf = s.opt.Direction.Other().String()
	case s.replies != nil:
		m.Replies = s.replies.opt.Direction.String()
	}
	for _, w := range s.opt.Program.Written {
		r := hook.NewMetaRule(w.Name, w.Text, w.DryRun, len(s.opt.Program.Written))
		r.Replies = w.Replies != rule.NoReplies
		if w.Verdict != rule.Pass {
			r.Verdict = w.Verdict.String()
		}
		m.Rules = append(m.Rules, r)
	}
	s.flows.label(&m)
	return m
}
