package engine

import (
	"errors"
	"fmt"
	"time"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// NotPendingError says that no rules wait to be confirmed.
type NotPendingError struct {
	run.Target
	Why string
	// Other is the direction in which rules are that wait, or in which those are whose replies are
	// rewritten; else nil.
	Other *run.Direction
}

func (e *NotPendingError) Error() string { return e.Why }

// Hint says what can be confirmed, or is "".
func (e *NotPendingError) Hint() string {
	if e.Other == nil {
		return "repacket list shows what is attached"
	}
	return "repacket confirm " + run.Target{Interface: e.Interface, Direction: *e.Other}.Flags()
}

// TooLateError says that rules had gone back before they were confirmed.
type TooLateError struct {
	run.Target
	// At is when they did, Ago how long before now.
	At  time.Time
	Ago time.Duration
}

func (e *TooLateError) Error() string {
	return fmt.Sprintf("too late: the rules on %s went back to those before at %s, %v ago", e.Interface,
		e.At.Format(time.TimeOnly), e.Ago.Round(time.Second/10))
}

// Hint says what to do now.
func (*TooLateError) Hint() string {
	return "repacket list shows what acts; the new rules have to be attached again"
}

// Confirm has the rules of a target stay that would go back. The errors are NotPendingError,
// TooLateError, and those of hook.Resolve and hook.Ours; after any of them all is as it was.
func Confirm(t run.Target) (done run.Confirmed, err error) {
	done.Target = t
	iface, err := hook.Resolve(t.Interface)
	if err != nil {
		return done, err
	}
	t.Interface, done.Interface = iface.Name, iface.Name
	a, err := reverting1(iface.Index, t)
	if err != nil {
		return done, err
	}
	if err := callOff(a, t); err != nil {
		return done, err
	}
	if a.Meta.Foreground {
		return done, nil // its process sees it
	}
	if err := makePlain(a, t); err != nil {
		done.Advice = []run.Advice{{
			Note: true, Message: fmt.Sprintf("the program on %s still holds the rules before, which do nothing: %v", t.Interface, err),
		}}
	}
	return done, nil
}

// reverting1 is the program of rules that are to be confirmed, or that have been and still are in
// one with those before.
func reverting1(ifindex int, t run.Target) (*hook.Program, error) {
	ours, err := hook.Ours(ifindex, t.Direction)
	if err != nil {
		return nil, err
	}
	other, err := hook.Ours(ifindex, t.Direction.Other())
	if err != nil {
		return nil, err
	}
	none := &NotPendingError{Target: t}
	opposite := t.Direction.Other()
	switch {
	case len(ours) > 0 && servesReplies(ours[0]):
		none.Why = fmt.Sprintf("what rewrites replies on %s is confirmed with its rules, which are for %s", t.Interface, packets(opposite))
		none.Other = &opposite
	case len(ours) > 0 && ours[0].Revert != nil:
		return ours[0], nil
	case len(other) > 0 && other[0].Revert.Pending() && !servesReplies(other[0]):
		none.Why = fmt.Sprintf("on %s the rules for %s do not wait to be confirmed: those for %s do", t.Interface, packets(t.Direction), packets(opposite))
		none.Other = &opposite
	case len(ours) > 0:
		none.Why = fmt.Sprintf("the rules on %s do not wait to be confirmed: they stay", t.Interface)
	default:
		none.Why = fmt.Sprintf("there is nothing to confirm on %s: no rules of Repacket are attached for %s", t.Interface, packets(t.Direction))
	}
	return nil, none
}

// packets are those of a direction, in words.
func packets(d run.Direction) string {
	if d == run.Out {
		return "packets that leave"
	}
	return "packets that come in"
}

// callOff calls off the deadline of rules, if it has not passed.
func callOff(a *hook.Program, t run.Target) (err error) {
	cell, err := a.Deadline()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cell.Close()) }()
	late, err := hook.CallOff(cell)
	if err != nil || !late {
		return err
	}
	now, err := hook.Jiffies()
	if err != nil {
		return err
	}
	ago, err := lastingJiffies(now - min(now, a.Revert.Deadline))
	if err != nil {
		return err
	}
	return &TooLateError{Target: t, At: time.Now().Add(-ago), Ago: ago}
}

// makePlain puts a program that holds confirmed rules alone in the place of that which holds those
// before too.
func makePlain(a *hook.Program, t run.Target) (err error) {
	program, err := rulesOf(a)
	if err != nil {
		var lost *LostRulesError
		if errors.As(err, &lost) {
			return errors.New(lost.Why)
		}
		return err
	}
	s, err := Prepare(run.Options{Target: t, Program: program, Stay: true, Replace: true, Limit: a.Meta.Limit, Flows: a.Meta.Flows, Origin: a.Meta.By})
	if err != nil {
		return err
	}
	for _, side := range s.sides() {
		if err := side.keepLimits(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, side.closeLimits()) }()
	}
	_, err = s.attachOnce()
	return err
}

// keepLimits has the side go on with the limits of the program whose place it takes.
func (s *Prepared) keepLimits() (err error) {
	if s.there == nil {
		return nil
	}
	l := limits{lent: true}
	if l.tickets, l.deadline, err = s.there.Limits(); err != nil {
		return err
	}
	s.limits = &l
	if l.tickets == nil {
		s.opt.Limit = 0
	}
	s.opt.For = 0
	if l.deadline != nil {
		s.opt.For = time.Since(time.Unix(0, s.there.Meta.Start)) // any: the word says when
	}
	return nil
}

func (s *Prepared) closeLimits() error {
	if s.limits == nil {
		return nil
	}
	return closeAll(s.limits.tickets, s.limits.deadline)
}
