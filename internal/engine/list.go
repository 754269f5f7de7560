package engine

import (
	"cmp"
	"errors"
	"time"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// Detach detaches ours from an interface, all sets of rules where there are more than
// one. Another's stays. What a dead process has left at tc goes too. The errors are those
// of hook.Resolve, hook.Ours and hook.Detach; with an error rules of ours may be there
// still.
func Detach(t run.Target) (d run.Detached, err error) {
	d.Target = t
	iface, err := hook.Resolve(t.Interface)
	if err != nil {
		return d, err
	}
	d.Interface = iface.Name
	if err := detachAll(iface.Index, &d); err != nil || d.Unsure != nil {
		return d, err
	}
	if _, err = hook.RemoveStale(iface.Index); err != nil && !d.Found {
		return d, err
	}
	d.Unsure = err
	other, err := hook.Ours(iface.Index, t.Direction.Other())
	if len(other) > 0 {
		a := attached(other[0])
		d.Other = &a
	}
	d.Unsure = cmp.Or(d.Unsure, err)
	return d, nil
}

// detachAll detaches until nothing is found, and says so in d.
func detachAll(ifindex int, d *run.Detached) error {
	for attempt := 1; ; attempt++ {
		ours, err := hook.Ours(ifindex, d.Direction)
		if err != nil && d.Found {
			d.Unsure = err
			return nil
		}
		if err != nil || len(ours) == 0 {
			return err
		}
		// What was found may have been replaced since; then it is inspected again.
		for _, a := range ours {
			detaching := hook.Detach(a)
			d.Found = d.Found || detaching == nil
			err = errors.Join(err, detaching)
		}
		if attempt == replaceAttempts || err != nil && !overtaken(err) {
			return err
		}
	}
}

// List finds the rules of ours on all interfaces of the network namespace, or on one,
// in both directions.
func List(iface string) ([]run.Attached, error) {
	all, err := hook.List(iface)
	if err != nil {
		return nil, err
	}
	var ours []run.Attached
	for _, a := range all {
		if !a.Ours {
			continue
		}
		l, err := listed(&a)
		var nothing *hook.NotAttachedError
		var noInterface *hook.NoInterfaceError
		if errors.As(err, &nothing) || errors.As(err, &noInterface) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ours = append(ours, l)
	}
	return ours, nil
}

// attached is what the metadata of rules say of them.
func attached(a *hook.Program) run.Attached {
	l := run.Attached{Target: run.Target{Interface: a.Interface, Direction: a.Direction}, Hook: a.Hook}
	if a.Meta.Foreground {
		l.PID, l.PIDElsewhere = a.Meta.PID, a.Elsewhere()
	}
	return l
}

// listed reads the counters of a program that was found, or of that which has
// taken its place meanwhile.
func listed(a *hook.Program) (run.Attached, error) {
	for attempt := 1; ; attempt++ {
		l := attached(a)
		err := readLimits(a, &l)
		if err == nil {
			l.Counts, err = countsOf(a)
		}
		var gone *hook.NotAttachedError
		if !errors.As(err, &gone) || attempt == replaceAttempts {
			return l, err
		}
		if a, err = hook.Find(a.Ifindex, a.Direction); err != nil {
			return l, err
		}
		if !a.Ours {
			return l, gone
		}
	}
}

// readLimits says which limit was reached, or what is left of them.
func readLimits(a *hook.Program, l *run.Attached) error {
	now, err := monotonic(0)
	switch {
	case err != nil:
		return err
	case a.Meta.Limit > 0 && a.Tickets >= a.Meta.Limit:
		l.Over = run.LimitCount
		return nil
	case a.Until > 0 && a.Until <= now:
		l.Over = run.LimitTime
		return nil
	case a.Until > 0:
		l.SecondsLeft = time.Duration(a.Until - now).Seconds()
	}
	if a.Meta.Limit > 0 {
		l.PacketsLeft = a.Meta.Limit - a.Tickets
	}
	return nil
}

// countsOf reads the counters of a program that was found. A text that is not kept as a
// whole says so.
func countsOf(a *hook.Program) (run.Counts, error) {
	r, err := openRecord(a)
	if err != nil {
		return run.Counts{}, err
	}
	counts, err := r.counts()
	for i, m := range a.Meta.Rules[:len(counts.Rules)] {
		if m.Sum != "" {
			counts.Rules[i].Text += " (cut)"
		}
	}
	return counts, errors.Join(err, r.close())
}
