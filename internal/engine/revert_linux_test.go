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

// TestRevertOfReplies: both directions go back in the same moment, whichever of the two sets has
// replies, and what is confirmed leaves no program that serves nothing.
func TestRevertOfReplies(t *testing.T) {
	e := newExchange(t)
	target := run.Target{Interface: "right"}
	replace := func(text string, after time.Duration) {
		t.Helper()
		opt := e.options(text)
		opt.RevertAfter = after
		e.do(func() {
			_, err := replaceRules(opt)
			check(t, err)
		})
	}
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

	replace(webReplies, 0)
	serves(8080, true)
	listed(2, [2]uint64{2, 2})
	replace(other, time.Hour) // replies to nothing
	serves(9090, false)
	goBack()
	serves(8080, true)
	listed(2, [2]uint64{4, 4}, [2]uint64{1, 0})

	replace(other+" replies", time.Hour)
	serves(9090, true)
	goBack()
	serves(8080, true)

	replace(other, time.Hour)
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

	replace(webReplies, time.Hour)
	serves(8080, true)
	goBack()
	serves(9090, false)
	replace(webReplies, time.Hour)
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

// startReverting starts a run whose rules are to be confirmed when they are replaced.
func startReverting(t *testing.T, do func(func() error), opt run.Options) (r *Session) {
	t.Helper()
	opt.RevertAfter = time.Hour
	do(func() (err error) {
		r, err = Start(opt)
		return err
	})
	return r
}

// letPass lets the deadline of the rules of a run pass now, and waits until the run has noticed.
func letPass(t *testing.T, do func(func() error), r *Session) {
	t.Helper()
	do(func() error { pass(t, r.opt.Target); return nil })
	r.mu.Lock()
	r.waiting.over = time.Now()
	r.mu.Unlock()
	wantSettled(t, r, false)
}

func wantSettled(t *testing.T, r *Session, confirmed bool) {
	t.Helper()
	select {
	case s := <-r.Settled():
		if s.Confirmed != confirmed {
			t.Errorf("settled: %+v", s)
		}
	case <-time.After(patience):
		t.Fatal("nobody has noticed")
	}
}

// TestRevertOfARun: rules that a run has read again go back where nobody confirms them, and the run
// goes on with those before; what was counted is there in the end.
func TestRevertOfARun(t *testing.T) {
	const web, other = "web: if udp_dest 443 then udp_dest 8080", "if udp_dest 443 then udp_dest 9090"
	onBeds(t, func(b *bed) {
		session := startReverting(b.t, b.do, b.with(web))
		replace := func(text string) {
			b.t.Helper()
			b.do(func() error { return replaced(session.Replace(checked(b.t, text))) })
		}
		counted := func(acting int, want ...uint64) {
			b.t.Helper()
			counts, err := session.Counts()
			check(b.t, err)
			wantCounts(b.t, run.Attached{Counts: counts}, acting, want...)
			l := b.one()
			if l.PID == 0 || len(l.Rules) < acting || l.Rules[0].Rewritten != want[0] {
				b.t.Errorf("listed %+v, want %v", l, want)
			}
		}
		b.stream(3, 443, 8080)
		for i := range uint64(3) {
			replace(other)
			b.stream(2, 443, 9090)
			counted(1, 2*(i+1), 3+i)
			var pending *PendingError
			b.do(func() error {
				if err := replaced(session.Replace(checked(b.t, web))); !errors.As(err, &pending) {
					b.t.Errorf("replaced while pending: %v", err)
				}
				return nil
			})
			letPass(b.t, b.do, session)
			b.stream(1, 443, 8080)
			counted(1, 4+i, 2*(i+1))
		}
		replace(web + " else " + other)
		b.stream(1, 443, 8080)
		b.do(func() error {
			_, err := Confirm(b.cfg.Target)
			return err
		})
		wantSettled(b.t, session, true)
		b.stream(1, 443, 8080)
		counted(2, 8, 6)
		if session.rules.both != nil || session.waiting != nil {
			b.t.Error("the rules before are still there")
		}
		replace(other)
		b.stream(1, 443, 9090)
		final, err := session.Close()
		check(b.t, err)
		wantCounts(b.t, run.Attached{Counts: final}, 1, 7, 8)
		b.do(func() error { wantPrograms(b.t, b.cfg.Interface); return nil })
	})
}

// TestRevertOfARunWithReplies: so do both directions.
func TestRevertOfARunWithReplies(t *testing.T) {
	const other = "if udp_dest 443 then udp_dest 9090"
	e := newExchange(t)
	do := func(f func() error) { e.do(func() { check(t, f()) }) }
	r := startReverting(t, do, e.options(webAlone))
	replace := func(text string) {
		t.Helper()
		do(func() error { return replaced(r.Replace(checked(t, text))) })
	}
	serves := func(served uint16, answered bool) {
		t.Helper()
		if got := e.asks(2, 443, served); got != answered {
			t.Errorf("port %d is answered from port 443: %v, want %v", served, got, answered)
		}
	}
	confirm := func() {
		t.Helper()
		do(func() error {
			_, err := Confirm(r.opt.Target)
			return err
		})
		wantSettled(t, r, true)
	}
	serves(8080, false)
	for range 2 {
		replace(webReplies)
		serves(8080, true)
		letPass(t, do, r)
		serves(8080, false)
	}
	replace(webReplies)
	serves(8080, true)
	confirm()
	serves(8080, true)
	for range 2 {
		replace(other)
		serves(9090, false)
		letPass(t, do, r)
		serves(8080, true)
	}
	replace(other + " replies")
	serves(9090, true)
	confirm()
	replace(other)
	serves(9090, false)
	do(func() error {
		wantPrograms(t, "right", hook.ProgramName, hook.ProgramName)
		return nil
	})
	confirm()
	serves(9090, false)
	do(func() error {
		wantPrograms(t, "right", hook.ProgramName)
		all, err := List("")
		if len(all) != 1 || all[0].Missing != "" || all[0].Revert != nil {
			t.Errorf("listed %+v", all)
		}
		return err
	})
	counts, err := r.Close()
	check(t, err)
	total := counts.Total()
	if want := uint64(1 + 2*(2+1) + 2 + 2 + 2*(1+2) + 2 + 1 + 1); total.Rewritten != want {
		t.Errorf("rewritten %d, want %d: %+v", total.Rewritten, want, counts.Rules)
	}
	if want := uint64(2*2 + 2 + 2 + 2*2 + 2); total.Replies != want {
		t.Errorf("%d replies, want %d: %+v", total.Replies, want, counts.Rules)
	}
	do(func() error { wantPrograms(t, "right"); return nil })
}
