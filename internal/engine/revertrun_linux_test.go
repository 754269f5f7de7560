package engine

import (
	"errors"
	"testing"
	"time"

	"repacket/internal/hook"
	"repacket/internal/run"
)

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
