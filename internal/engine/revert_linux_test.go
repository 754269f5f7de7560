package engine

import (
	"errors"
	"slices"
	"testing"
	"time"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// reverting are options whose rules are to be confirmed within a time.
func (b *bed) reverting(text string, after time.Duration) run.Options {
	opt := b.with(text)
	opt.RevertAfter = after
	return opt
}

// replaceWith replaces what is attached, or attaches.
func (b *bed) replaceWith(opt run.Options) {
	b.t.Helper()
	b.do(func() error {
		_, err := replaceRules(opt)
		return err
	})
}

// one is what list says where one set of rules is attached.
func (b *bed) one() (l run.Attached) {
	b.t.Helper()
	b.do(func() error {
		all, err := List("")
		if err != nil || len(all) != 1 {
			b.t.Fatalf("listed %+v, %v", all, err)
		}
		l = all[0]
		return nil
	})
	return l
}

// pass lets the deadline of rules pass now.
func pass(t *testing.T, target run.Target) {
	t.Helper()
	i, err := hook.Interface(target.Interface)
	check(t, err)
	ours, err := hook.Ours(i.Index, target.Direction)
	check(t, err)
	cell, err := ours[0].Deadline()
	check(t, err)
	now, err := hook.Jiffies()
	check(t, err)
	check(t, errors.Join(setWord(cell, now), cell.Close()))
}

// TestArmKeepsConfirmed: a deadline that is set once more, behind the swap, does not undo a
// confirmation that came before.
func TestArmKeepsConfirmed(t *testing.T) {
	cell, err := wordMap(hook.RevertMapName)
	check(t, err)
	defer cell.Close()
	word := func() (w uint64) {
		check(t, cell.Lookup(uint32(0), &w))
		return w
	}
	check(t, arm(cell, time.Hour))
	first := word()
	check(t, arm(cell, 2*time.Hour))
	if now, err := hook.Jiffies(); err != nil || first <= now || word() <= first {
		t.Errorf("armed for %d and then %d at %d, %v", first, word(), now, err)
	}
	late, err := hook.CallOff(cell)
	check(t, errors.Join(err, arm(cell, time.Hour)))
	if late || word() != hook.Never {
		t.Errorf("confirmed and armed again: %d, late %v", word(), late)
	}
}

// wantCounts compares what the rules have rewritten, and of which behind so many that act there
// is no more than what they have counted.
func wantCounts(t *testing.T, l run.Attached, acting int, want ...uint64) {
	t.Helper()
	if len(l.Rules) != len(want) {
		t.Fatalf("listed %+v, want %d rules", l, len(want))
	}
	for i, c := range l.Rules {
		if c.Rewritten != want[i] || c.Gone != (i >= acting) {
			t.Errorf("%s: counted %d, want %d; gone: %v", c.Text, c.Rewritten, want[i], c.Gone)
		}
	}
}

// TestRevert: rules that nobody confirms go back to those before, which count on; rules that are
// confirmed stay, and count on too.
func TestRevert(t *testing.T) {
	const web, other, both = "web: if udp_dest 443 then udp_dest 8080", "if udp_dest 443 then udp_dest 9090",
		"web: if udp_dest 443 then udp_dest 8080 else if udp_dest 53 then udp_dest 5353"
	onBeds(t, func(b *bed) {
		target := b.cfg.Target
		b.replaceWith(b.with(web))
		b.stream(3, 443, 8080)

		b.replaceWith(b.reverting(other, time.Hour))
		b.stream(2, 443, 9090)
		l := b.one()
		wantCounts(b.t, l, 1, 2)
		if v := l.Revert; v == nil || v.Over || v.SecondsLeft < 3500 || v.SecondsLeft > 3600 || len(v.Before) != 1 || v.Before[0].Name != "web" {
			b.t.Errorf("pending: %+v", v)
		}
		var pending *PendingError
		b.do(func() error {
			for _, opt := range []run.Options{b.with(web), b.reverting(web, time.Hour)} {
				if _, err := replaceRules(opt); !errors.As(err, &pending) || run.ClassOf(err) != run.Taken {
					b.t.Errorf("replaced while pending: %v", err)
				}
			}
			pass(b.t, target)
			return nil
		})
		b.stream(4, 443, 8080)
		l = b.one()
		wantCounts(b.t, l, 1, 7, 2)
		if v := l.Revert; v == nil || !v.Over || time.Since(v.At) > time.Minute {
			b.t.Errorf("gone back: %+v", v)
		}
		var late *TooLateError
		b.do(func() error {
			if _, err := Confirm(target); !errors.As(err, &late) {
				b.t.Errorf("confirmed too late: %v", err)
			}
			return nil
		})

		// What was counted while others were there goes on for rules of the same words.
		b.replaceWith(b.reverting(both, time.Hour))
		b.stream(5, 443, 8080)
		b.stream(1, 53, 5353)
		wantCounts(b.t, b.one(), 2, 12, 1)
		b.do(func() error { pass(b.t, target); return nil })
		b.stream(1, 443, 8080)
		wantCounts(b.t, b.one(), 1, 13, 1)

		b.replaceWith(b.reverting(both, time.Hour))
		b.stream(1, 443, 8080)
		var none *NotPendingError
		b.do(func() error {
			done, err := Confirm(target)
			if len(done.Advice) > 0 {
				b.t.Errorf("advice %+v", done.Advice)
			}
			if _, err := Confirm(target); !errors.As(err, &none) {
				b.t.Errorf("confirmed twice: %v", err)
			}
			return err
		})
		b.stream(1, 53, 5353)
		l = b.one()
		wantCounts(b.t, l, 2, 14, 2) // what had gone counts on when it comes back
		if l.Revert != nil {
			b.t.Errorf("confirmed: %+v", l.Revert)
		}
		b.do(func() error {
			ours, err := Detach(target)
			if !ours.Found {
				b.t.Error("nothing was there to detach")
			}
			wantPrograms(b.t, b.cfg.Interface)
			return err
		})
	})
}

// TestRevertToNothing: where nothing was there before, packets pass from the deadline on.
func TestRevertToNothing(t *testing.T) {
	onBeds(t, func(b *bed) {
		b.do(func() error {
			_, err := attachRules(b.reverting("if udp_dest 443 then udp_dest 8080", time.Hour))
			return err
		})
		b.stream(2, 443, 8080)
		if v := b.one().Revert; v == nil || len(v.Before) != 0 || v.SecondsLeft == 0 {
			b.t.Errorf("pending: %+v", v)
		}
		b.do(func() error { pass(b.t, b.cfg.Target); return nil })
		b.stream(2, 443, 443)
		if l := b.one(); l.Revert == nil || !l.Revert.Over || len(l.Rules) != 1 || !l.Rules[0].Gone {
			b.t.Errorf("gone back: %+v", l)
		}
		b.replaceWith(b.with("if udp_dest 443 then udp_dest 8081"))
		b.stream(1, 443, 8081)
		b.do(func() error {
			_, err := Detach(b.cfg.Target)
			return err
		})
	})
}

// replace replaces the rules, which go back after so long unless it is 0.
func (e exchange) replace(text string, after time.Duration) {
	e.t.Helper()
	opt := e.options(text)
	opt.RevertAfter = after
	e.do(func() {
		_, err := replaceRules(opt)
		check(e.t, err)
	})
}

// TestRevertOfReplies: both directions go back in the same moment, whichever of the two sets has
// replies, and what is confirmed leaves no program that serves nothing.
func TestRevertOfReplies(t *testing.T) {
	e := newExchange(t)
	target := run.Target{Interface: "right"}
	serves := func(served uint16, answered bool) {
		t.Helper()
		if got := e.asks(2, 443, served); got != answered {
			t.Errorf("port %d is answered from port 443: %v, want %v", served, got, answered)
		}
	}
	listed := func(programs int, want ...[2]uint64) {
		t.Helper()
		e.do(func() {
			wantPrograms(t, "right", slices.Repeat([]string{hook.ProgramName}, programs)...)
			all, err := List("")
			check(t, err)
			if len(all) != 1 || all[0].Missing != "" {
				t.Fatalf("listed %+v", all)
			}
			e.counted(all[0].Counts, nil, want...)
		})
	}
	goBack := func() { e.do(func() { pass(t, target) }) }
	const other = "if udp_dest 443 then udp_dest 9090"

	e.replace(webReplies, 0)
	serves(8080, true)
	listed(2, [2]uint64{2, 2})
	e.replace(other, time.Hour) // replies to nothing
	serves(9090, false)
	goBack()
	serves(8080, true)
	listed(2, [2]uint64{4, 4}, [2]uint64{1, 0})

	e.replace(other+" replies", time.Hour)
	serves(9090, true)
	goBack()
	serves(8080, true)

	e.replace(other, time.Hour)
	serves(9090, false)
	e.do(func() {
		var none *NotPendingError
		if _, err := Confirm(run.Target{Interface: "right", Direction: run.Out}); !errors.As(err, &none) || none.Other == nil {
			t.Errorf("confirmed in the direction of replies: %v", err)
		}
		_, err := Confirm(target)
		check(t, err)
	})
	serves(9090, false)
	listed(1, [2]uint64{2, 0})

	e.replace(webReplies, time.Hour)
	serves(8080, true)
	goBack()
	serves(9090, false)
	e.replace(webReplies, time.Hour)
	serves(8080, true)
	e.do(func() {
		_, err := Confirm(target)
		check(t, err)
	})
	serves(8080, true)
	listed(2, [2]uint64{6, 6})
	e.do(func() {
		_, err := Detach(target)
		check(t, err)
		wantPrograms(t, "right")
	})
}

// TestRevertKeepsLimits: the rules before go on with what is left of their limit, and rules that are
// confirmed with what is left of theirs.
func TestRevertKeepsLimits(t *testing.T) {
	onBeds(t, func(b *bed) {
		limited := func(text string, limit uint64, after time.Duration) run.Options {
			opt := b.reverting(text, after)
			opt.Limit = limit
			return opt
		}
		b.replaceWith(limited("if udp_dest 443 then udp_dest 8080", 5, 0))
		b.stream(2, 443, 8080)
		b.replaceWith(limited("if udp_dest 443 then udp_dest 9090", 4, time.Hour))
		b.stream(1, 443, 9090)
		b.do(func() error { pass(b.t, b.cfg.Target); return nil })
		if l := b.one(); l.PacketsLeft != 3 {
			b.t.Errorf("%d packets are left: %+v", l.PacketsLeft, l)
		}
		b.stream(3, 443, 8080)
		b.stream(1, 443, 443)
		b.replaceWith(limited("if udp_dest 443 then udp_dest 9090", 4, time.Hour))
		b.stream(1, 443, 9090)
		b.do(func() error {
			_, err := Confirm(b.cfg.Target)
			return err
		})
		b.stream(3, 443, 9090)
		b.stream(1, 443, 443)
		if l := b.one(); l.Over != run.LimitCount {
			b.t.Errorf("listed %+v", l)
		}
	})
}

// TestRevertKeepsFlows: the flows that the rules before have tracked are there when they act again, and
// those of confirmed rules stay.
func TestRevertKeepsFlows(t *testing.T) {
	const hops = "hops: if udp_dest 20000-50000 then udp_dest 443 replies tracked"
	e := newExchange(t)
	target := run.Target{Interface: "right"}
	flows := func(want int) {
		t.Helper()
		e.do(func() {
			all, err := List("")
			check(t, err)
			if len(all) != 1 || all[0].Flows == nil || all[0].Flows.Flows != want {
				t.Errorf("listed %+v, want %d flows", all, want)
			}
		})
	}
	serves := func(asked, served uint16) {
		t.Helper()
		if !e.asks(1, asked, served) {
			t.Errorf("port %d is not answered", asked)
		}
	}
	e.replace(hops, 0)
	serves(30000, 443)
	e.replace("if udp_dest 53 then udp_dest 5353 replies tracked else "+hops, time.Hour)
	serves(30001, 443)
	serves(53, 5353)
	e.do(func() { pass(t, target) })
	serves(30002, 443)
	flows(4)
	e.replace(hops+" else if udp_dest 54 then udp_dest 5353 replies tracked", time.Hour)
	serves(54, 5353)
	e.do(func() {
		_, err := Confirm(target)
		check(t, err)
	})
	serves(54, 5353)
	serves(30003, 443)
	flows(7)
	e.replace(webAlone, time.Hour)
	e.do(func() { pass(t, target) })
	serves(30004, 443)
	flows(8)
}
