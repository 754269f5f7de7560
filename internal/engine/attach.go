package engine

import (
	"errors"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/hook"
)

// Attachment is a program that has been given to an interface.
type Attachment struct {
	Mode hook.Mode
	// Note and Late are as those of a Run.
	Note string
	Late []Advice
	// Replaced: it took the place of another one of ours.
	Replaced bool
}

// Attach is Look, then Site.Attach.
func Attach(cfg Config) (*Attachment, error) {
	cfg.Stay, cfg.Replace = true, false
	s, err := Look(cfg)
	if err != nil {
		return nil, err
	}
	return s.Attach()
}

// Attach proves the rules and gives them to the interface, where they outlive
// the process, or replaces others, as Replace does. Whatever fails, nothing stays
// behind. The errors are those of Load and of hook.Give, or of Replace. It is for a
// Config with Stay.
func (s *Site) Attach() (*Attachment, error) {
	if s.asked.Replace {
		return Replace(s.asked)
	}
	p, err := s.attach(func(index int, p *placed) error {
		return hook.Give(index, s.cfg.Direction, p.loaded.Program, p.choice.Mode)
	})
	if err != nil {
		return nil, err
	}
	return &Attachment{Mode: p.choice.Mode, Note: p.choice.Why, Late: p.late}, p.close()
}

// Detach takes ours off an interface; found is false where there was none, or
// another's, which stays. What a dead process has left at tc goes too. The errors
// are those of hook.Find and hook.Take.
func Detach(name string, dir hook.Direction) (found bool, err error) {
	iface, err := hook.Interface(name)
	if err != nil {
		return false, err
	}
	for attempt := 1; ; attempt++ {
		took, err := detachOnce(iface.Index, dir)
		found = found || took
		if err == nil && (!took || attempt == replaceAttempts) {
			break
		}
		// What was found may have been replaced since; then look again.
		if err != nil && (attempt == replaceAttempts || !overtaken(err)) {
			return found, err
		}
	}
	_, err = hook.RemoveStale(iface.Index)
	return found, err
}

// detachOnce takes off the first program of ours that is found, if there is one.
// The error is hook.ErrNothing where it went meanwhile.
func detachOnce(ifindex int, dir hook.Direction) (bool, error) {
	a, err := hook.Find(ifindex, dir)
	var nothing *hook.ErrNothing
	switch {
	case errors.As(err, &nothing), err == nil && !a.Ours:
		return false, nil
	case err != nil:
		return false, err
	}
	err = hook.Take(a)
	return err == nil, err
}

// Listed is a program of ours on an interface and what it has counted.
type Listed struct {
	hook.Attached
	Counts []Count
	// LeftAlone are the packets that its rules took and that it left alone.
	LeftAlone LeftAlone
	// Over says which limit was reached, so that all packets pass untouched:
	// OverCount, OverTime, or "" for none.
	Over string
	// Left are the packets and Remaining is the time that are left of limits which
	// are not reached, or 0.
	Left      uint64
	Remaining time.Duration
}

// List finds the programs of ours on all interfaces of the network namespace,
// in both directions.
func List() ([]Listed, error) {
	all, err := hook.List()
	if err != nil {
		return nil, err
	}
	var ours []Listed
	for _, a := range all {
		if !a.Ours {
			continue
		}
		l, err := listed(&a)
		var nothing *hook.ErrNothing
		var noInterface *hook.ErrNoInterface
		if errors.As(err, &nothing) || errors.As(err, &noInterface) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ours = append(ours, *l)
	}
	return ours, nil
}

// listed reads the counters of a program that was found, or of that which has
// taken its place meanwhile.
func listed(a *hook.Attached) (l *Listed, err error) {
	for range replaceAttempts {
		l = &Listed{Attached: *a}
		l.limits()
		err = l.count()
		var gone *hook.ErrNothing
		if !errors.As(err, &gone) {
			break
		}
		var now *hook.Attached
		if now, err = hook.Find(a.Ifindex, a.Direction); err != nil {
			return nil, err
		}
		if !now.Ours {
			return nil, gone
		}
		a = now
	}
	return l, err
}

// limits says which limit was reached, or what is left of them.
func (l *Listed) limits() {
	now := monotonic(0)
	switch {
	case l.Meta.Limit > 0 && l.Tickets >= l.Meta.Limit:
		l.Over = OverCount
		return
	case l.Until > 0 && l.Until <= now:
		l.Over = OverTime
		return
	case l.Until > 0:
		l.Remaining = time.Duration(l.Until - now)
	}
	if l.Meta.Limit > 0 {
		l.Left = l.Meta.Limit - l.Tickets
	}
}

// count reads the program's counters.
func (l *Listed) count() error {
	r, done, err := openRecord(&l.Attached)
	if err != nil {
		return err
	}
	rules, err := r.rules()
	for _, c := range rules {
		l.Counts = append(l.Counts, c.Count)
	}
	var aloneErr error
	l.LeftAlone, aloneErr = r.leftAlone()
	return errors.Join(err, aloneErr, done())
}

// LeftAlone are the packets that rules took and that were left alone, by reason.
type LeftAlone [bpf.ReasonCount]uint64

// count says what a rule did. A program rewrites every packet that a rule with
// actions takes: what it cannot rewrite whole, its condition does not take.
func count(c bpf.Counter, look bool) Count {
	out := Count{Matched: c.Packets, MatchedBytes: c.Bytes}
	if !look {
		out.Rewritten, out.RewrittenBytes = c.Packets, c.Bytes
	}
	return out
}
