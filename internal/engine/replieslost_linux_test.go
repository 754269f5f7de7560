package engine

import (
	"errors"
	"testing"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// TestRepliesLost: another command detaches the program for the replies while an attach, which may be
// stopped there for long, has still to attach that for the rules. No half of the set stays.
func TestRepliesLost(t *testing.T) {
	e := newExchange(t)
	e.do(func() {
		opt := e.options(webReplies)
		opt.Stay = true
		s, err := Prepare(opt)
		check(t, err)
		calls := 0
		s.ready = func() {
			if calls++; calls == 2 { // the first is for the replies
				_, err := Detach(run.Target{Interface: "right"})
				check(t, err)
			}
		}
		if _, err := s.Attach(); !errors.Is(err, errRepliesLost) || calls != 2 {
			t.Errorf("%v, after %d programs", err, calls)
		}
		if all, err := hook.List(""); err != nil || len(all) > 0 {
			t.Errorf("there is %+v, %v", all, err)
		}
	})
}
