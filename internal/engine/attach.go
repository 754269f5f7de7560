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

// Detached is what Detach has done.
type Detached struct {
	// Found: rules of ours were there.
	Found bool
	// Unsure is why it is not known whether all is gone, or nil: the rules were taken
	// off, but then the interface could not be inspected once more.
	Unsure error
}

// Detach takes ours off an interface, all sets of rules where there are more than one.
// Another's stays. What a dead process has left at tc goes too. The errors are those of
// hook.Ours and hook.Take; with an error rules of ours may be there still.
func Detach(name string, dir hook.Direction) (d Detached, err error) {
	iface, err := hook.Interface(name)
	if err != nil {
		return d, err
	}
	for attempt := 1; ; attempt++ {
		ours, err := hook.Ours(iface.Index, dir)
		if err != nil {
			return d.inspected(err)
		}
		if len(ours) == 0 {
			break
		}
		// What was found may have been replaced since; then look again.
		took, err := takeAll(ours)
		d.Found = d.Found || took
		if attempt == replaceAttempts || err != nil && !overtaken(err) {
			return d, err
		}
	}
	_, err = hook.RemoveStale(iface.Index)
	return d.inspected(err)
}

// inspected is what to return when inspecting the interface has led to an error or to
// none.
func (d Detached) inspected(err error) (Detached, error) {
	if d.Found {
		d.Unsure, err = err, nil
	}
	return d, err
}

// takeAll takes programs off, as many as it can, and tells whether it was one at
// least. The error is hook.ErrNothing where one went meanwhile.
func takeAll(ours []*hook.Attached) (took bool, err error) {
	for _, a := range ours {
		if taking := hook.Take(a); taking != nil {
			err = errors.Join(err, taking)
			continue
		}
		took = true
	}
	return took, err
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
		if err = l.limits(); err != nil {
			return nil, err
		}
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
func (l *Listed) limits() error {
	now, err := monotonic(0)
	switch {
	case err != nil:
		return err
	case l.Meta.Limit > 0 && l.Tickets >= l.Meta.Limit:
		l.Over = OverCount
		return nil
	case l.Until > 0 && l.Until <= now:
		l.Over = OverTime
		return nil
	case l.Until > 0:
		l.Remaining = time.Duration(l.Until - now)
	}
	if l.Meta.Limit > 0 {
		l.Left = l.Meta.Limit - l.Tickets
	}
	return nil
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
