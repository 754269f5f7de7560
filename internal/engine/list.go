package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// Detach detaches ours from an interface: the rules for a direction, then what rewrites their
// replies, all sets of rules where there are more than one. Where replies are rewritten in that
// direction, the set is that of the other one. Another's stays. What a dead process has left at
// tc goes too. The errors are those of hook.Resolve, hook.Ours and hook.Detach; with an error
// rules of ours may be there still.
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
	other, err := hook.Ours(iface.Index, d.Direction.Other())
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
		ours, err := rulesAndReplies(ifindex, d)
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
			if err = errors.Join(err, detaching); err != nil && a.Meta.Replies != "" {
				break // its replies are rewritten as long as it is there
			}
		}
		if attempt == replaceAttempts || err != nil && !overtaken(err) {
			return err
		}
	}
}

// rulesAndReplies are the programs of ours to be detached, the rules first and what rewrites
// replies last. It completes d with the direction of the rules and with what is missing.
func rulesAndReplies(ifindex int, d *run.Detached) ([]*hook.Program, error) {
	ours, err := hook.Ours(ifindex, d.Direction)
	if err == nil && len(ours) > 0 && servesReplies(ours[0]) { // they go with their rules
		d.Direction = d.Direction.Other()
		ours, err = hook.Ours(ifindex, d.Direction)
	}
	if err != nil {
		return nil, err
	}
	replies, err := repliesOf(ifindex, d.Direction)
	if err != nil {
		return nil, err
	}
	switch expected := slices.ContainsFunc(ours, func(a *hook.Program) bool { return a.Meta.Replies != "" }); {
	case d.Found: // what is left goes too
	case len(replies) > 0 && len(ours) > 0:
		d.Replies = true
	case len(replies) > 0:
		d.Missing = run.RulesPart
	case expected:
		d.Missing = run.RepliesPart
	}
	return append(ours, replies...), nil
}

// servesReplies reports whether a program rewrites the replies of rules for the other direction.
func servesReplies(a *hook.Program) bool { return a.Meta.RepliesOf != "" }

// List finds the rules of ours on all interfaces of the network namespace, or on one,
// in both directions. What rewrites the replies of rules is listed with them.
func List(iface string) ([]run.Attached, error) {
	all, err := hook.List(iface)
	if err != nil {
		return nil, err
	}
	var ours []run.Attached
	for _, s := range sets(all) {
		l, err := s.listed()
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

// found is a rule set that was found: rules, what rewrites their replies, or both.
type found struct{ rules, replies *hook.Program }

// sets puts together the programs of ours that are one rule set each.
func sets(all []hook.Program) (out []found) {
	at := func(a, rules *hook.Program) bool {
		return rules != nil && rules.Ifindex == a.Ifindex && rules.Direction == a.Direction.Other()
	}
	ours := slices.DeleteFunc(slices.Clone(all), func(a hook.Program) bool { return !a.Ours })
	for i := range ours {
		if !servesReplies(&ours[i]) {
			out = append(out, found{rules: &ours[i]})
		}
	}
	for i := range ours {
		a := &ours[i]
		if !servesReplies(a) {
			continue
		}
		if n := slices.IndexFunc(out, func(s found) bool { return at(a, s.rules) && s.replies == nil }); n >= 0 {
			out[n].replies = a
		} else {
			out = append(out, found{replies: a})
		}
	}
	return out
}

// attached is what the metadata of rules say of them.
func attached(a *hook.Program) run.Attached {
	l := run.Attached{Target: run.Target{Interface: a.Interface, Direction: a.Direction}, Hook: a.Hook, Release: a.Meta.Release, ProgramID: a.ProgramID}
	if a.Meta.Foreground {
		l.PID, l.PIDElsewhere = a.Meta.PID, a.Elsewhere()
	}
	return l
}

// listed reads the counters of a rule set that was found, or of that which has taken its place
// meanwhile.
func (s found) listed() (run.Attached, error) {
	for attempt := 1; ; attempt++ {
		l, err := s.read()
		var gone *hook.NotAttachedError
		if !errors.As(err, &gone) || attempt == replaceAttempts {
			return l, err
		}
		if s, err = s.again(); err != nil {
			return l, err
		}
		if s.rules == nil && s.replies == nil {
			return l, gone
		}
	}
}

// again finds the rule set once more.
func (s found) again() (now found, err error) {
	a := cmp.Or(s.rules, s.replies)
	d := a.Direction
	if a == s.replies {
		d = d.Other()
	}
	rules, err := hook.Ours(a.Ifindex, d)
	if err != nil {
		return now, err
	}
	replies, err := repliesOf(a.Ifindex, d)
	if len(rules) > 0 && !servesReplies(rules[0]) {
		now.rules = rules[0]
	}
	if len(replies) > 0 {
		now.replies = replies[0]
	}
	return now, err
}

// read is what is known of the rule set.
func (s found) read() (l run.Attached, err error) {
	if s.rules == nil {
		l = attached(s.replies)
		l.Direction = l.Direction.Other()
		l.Hook, l.Missing = run.Auto, run.RulesPart
	} else {
		l = attached(s.rules)
		if err := readLimits(s.rules, &l); err != nil {
			return l, err
		}
		if s.replies == nil && s.rules.Meta.Replies != "" {
			l.Missing = run.RepliesPart
		}
	}
	if s.replies != nil {
		l.Replies = &run.RepliesAt{Direction: s.replies.Direction, Hook: s.replies.Hook}
	}
	if s.rules != nil && s.rules.Revert != nil {
		if l.Revert, err = revertOf(s.rules); err != nil {
			return l, err
		}
		if !slices.ContainsFunc(s.rules.Meta.Rules, func(m hook.MetaRule) bool { return m.Replies }) {
			l.Replies = nil // its program only waits
		}
	}
	if err := originOf(cmp.Or(s.rules, s.replies), &l); err != nil {
		return l, err
	}
	if l.Counts, err = s.counts(); err == nil && s.rules != nil {
		l.Flows, err = usageOf(s.rules)
	}
	return l, err
}

// counts reads the counters of the programs. A text that is not kept as a whole says so.
func (s found) counts() (counts run.Counts, err error) {
	var rules, replies *record
	for _, side := range []struct {
		program *hook.Program
		record  **record
	}{{s.rules, &rules}, {s.replies, &replies}} {
		if side.program == nil {
			continue
		}
		if *side.record, err = openRecord(side.program); err != nil {
			return counts, err
		}
		defer func() { err = errors.Join(err, (*side.record).close()) }()
	}
	shown := rules
	if rules == nil {
		shown = replies
		counts, err = replies.repliesAlone()
	} else {
		counts, err = rules.counts(replies)
	}
	for i, m := range shown.meta.Rules[:min(len(counts.Rules), len(shown.meta.Rules))] {
		if m.Sum != "" {
			counts.Rules[i].Text += " (cut)"
		}
	}
	return counts, err
}

// revertOf says when the rules of a program that goes back do, or have; nil where they are
// confirmed.
func revertOf(a *hook.Program) (*run.Revert, error) {
	v := a.Revert
	now := time.Now()
	switch {
	case v.Pending():
		left, err := lastingJiffies(v.Deadline - v.Now)
		out := &run.Revert{At: now.Add(left), SecondsLeft: left.Seconds()}
		for _, m := range v.Other.Rules {
			text := m.Text
			if m.Sum != "" {
				text += " (cut)"
			}
			out.Before = append(out.Before, run.RuleText{Name: m.Name, Text: text})
		}
		return out, err
	case v.Over():
		since, err := lastingJiffies(v.Now - v.Deadline)
		return &run.Revert{At: now.Add(-since), Over: true, Origin: v.Other.By}, err
	}
	return nil, nil
}

// FirstTold reports whether nobody was told before that rules of a target went back by themselves,
// which is so only once.
func FirstTold(t run.Target) bool {
	iface, err := hook.Resolve(t.Interface)
	if err != nil {
		return false
	}
	ours, err := hook.Ours(iface.Index, t.Direction)
	return err == nil && len(ours) > 0 && ours[0].FirstTold()
}

// originOf says who attached the rules of a program, and what the kernel says of it.
func originOf(a *hook.Program, l *run.Attached) error {
	l.Origin = a.Meta.By
	if a.Loaded == 0 {
		return nil
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return fmt.Errorf("ask for the time since the machine was booted: %w", err)
	}
	since := time.Duration(now.Nano()) - a.Loaded
	l.Program = &run.Program{ID: a.ProgramID, Loaded: time.Now().Add(-since).Truncate(time.Millisecond), UID: int(a.UID)}
	return nil
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
