package engine

import (
	"errors"
	"fmt"
	"slices"

	"repacket/internal/hook"
	"repacket/internal/rule"
)

// replaceAttempts is how often is tried again what others change in between.
const replaceAttempts = 4

// Replace proves the rules and puts them in the place of those that Attach has
// given to the interface, in one step: each packet meets the old rules or the
// new ones. Rules of the same words count on. Where there are none of ours it
// does as Attach. Whatever fails, the old rules stay. The errors are those of
// Attach; rules that a process holds there are hook.ErrTaken.
func Replace(cfg Config) (*Attachment, error) {
	cfg.Stay, cfg.Replace = true, true
	for attempt := 1; ; attempt++ {
		a, err := replaceOnce(cfg)
		if attempt == replaceAttempts || !overtaken(err) {
			return a, err
		}
	}
}

// overtaken tells that another process has put rules there, or has taken them
// off, since it was looked.
func overtaken(err error) bool {
	var taken *hook.ErrTaken
	var nothing *hook.ErrNothing
	return errors.As(err, &taken) && taken.Ours && taken.PID == 0 || errors.As(err, &nothing)
}

func replaceOnce(cfg Config) (*Attachment, error) {
	there, cfg, err := cfg.taking()
	if err != nil {
		return nil, err
	}
	if there == nil {
		return Attach(cfg)
	}
	old, done, err := openRecord(there)
	if err != nil {
		return nil, err
	}
	s, err := newSite(cfg)
	if err != nil {
		return nil, errors.Join(err, done())
	}
	s.old = old
	p, err := s.attach(func(_ int, p *placed) error { return hook.Replace(there, p.loaded.Program) })
	if err != nil {
		return nil, errors.Join(err, done())
	}
	mode := s.choice.Mode
	return &Attachment{Mode: mode, Note: mode.String() + ": where the rules before were", Replaced: true}, errors.Join(p.close(), done())
}

// taking finds the program of ours whose place is to be taken, if that is
// wanted, and asks for its hook: between two hooks there would be a gap. The
// errors are UsageError, and hook.ErrTaken where a process holds it.
func (cfg Config) taking() (*hook.Attached, Config, error) {
	if !cfg.Replace {
		return nil, cfg, nil
	}
	iface, err := hook.Interface(cfg.Interface)
	if err != nil {
		return nil, cfg, err
	}
	ours, err := hook.Ours(iface.Index, cfg.Direction)
	if err != nil || len(ours) == 0 { // another's is in the way or it is not, as for Attach
		return nil, cfg, err
	}
	a := ours[0]
	switch {
	case len(ours) > 1, a.Meta.Foreground:
		return nil, cfg, hook.Taken(ours)
	case cfg.Mode != hook.Auto && cfg.Mode != a.Mode:
		return nil, cfg, &UsageError{
			fmt.Sprintf("the rules on %s are at %s: those at %s could not take their place without a gap", iface.Name, a.Mode, cfg.Mode),
			"leave out --hook, or detach them first",
		}
	}
	cfg.Mode = a.Mode
	return a, cfg, nil
}

// errClosed: the run has ended.
var errClosed = errors.New("the run has ended")

// Replace proves other rules and puts them in the place of those that run, in
// one step, at the same hook. The limit and the time of the run go on. Whatever
// fails, the old rules go on. It may be called while other methods are, from a
// thread in the network namespace of Start. The errors are those of Look, of
// Load and of hook.Handle.
func (r *Run) Replace(p *rule.Program) error {
	r.replacing.Lock()
	defer r.replacing.Unlock()
	cfg := r.cfg
	cfg.Program = p
	name, err := r.InterfaceName()
	if err != nil {
		return err
	}
	cfg.Interface = name
	s, err := newSite(cfg)
	if err != nil {
		return err
	}
	if s.iface.Index != r.ifindex {
		return fmt.Errorf("%s is another interface now than when the run began", cfg.Interface)
	}
	l, err := r.proved(s)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.Join(errClosed, l.Close())
	}
	s.old = r.record
	_, err = s.finish(l, s.choice, r.take)
	return err
}

// proved loads and proves other rules beside those that run, for the same hook
// and with the same limits.
func (r *Run) proved(s *Site) (*Loaded, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, errClosed
	}
	o := s.options(r.choice.Mode)
	o.Fragments = o.Fragments || r.loaded.fragments // else the driver would refuse
	shared, err := r.loaded.clone()
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	o.limits = &shared
	l, err := proved(s.cfg.Program, o)
	if err != nil {
		return nil, hook.ExplainLoad(err)
	}
	return l, nil
}

// take puts a program in the place of the one that runs; r.mu is held.
func (r *Run) take(_ int, p *placed) error {
	if err := r.link.Update(p.loaded.Program); err != nil {
		return err
	}
	old := r.placed
	r.placed = *p
	r.choice, r.late = old.choice, old.late
	// What passes everything at the other end of a veth harms nobody, so it
	// stays until the run ends, whether the new rules need it or not.
	r.peers = slices.Concat(old.peers, p.peers)
	old.peers = nil
	// The new program is there, so this is no failure of the swap.
	_ = old.close()
	return nil
}
