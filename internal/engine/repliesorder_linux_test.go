package engine

import (
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"repacket/internal/hook"
	"repacket/internal/run"
)

// TestSecondAttachFails: where the rules cannot be attached, what rewrites their replies does not
// stay, though it was attached before.
func TestSecondAttachFails(t *testing.T) {
	e := newExchange(t)
	e.do(func() {
		other, err := passAll("somebody", 0)
		check(t, err)
		defer other.Close()
		l, err := link.AttachXDP(link.XDPOptions{Program: other, Interface: ifindexOf(t, "right"), Flags: link.XDPDriverMode})
		check(t, err)
		opt := e.options(webReplies)
		opt.Hook = run.XDP
		for what, f := range map[string]func() error{
			"attach": func() error { _, err := attachRules(opt); return err },
			"run":    func() error { _, err := Start(opt); return err },
		} {
			var taken *hook.TakenError
			if err := f(); !errors.As(err, &taken) || taken.ProgramName != "somebody" {
				t.Errorf("%s: %v", what, err)
			}
			wantPrograms(t, "right", "somebody")
		}
		check(t, l.Close())
	})
}

// logged is a handle that says what is done with it, and refuses updates if it is told to.
type logged struct {
	hook.Handle
	name   string
	log    *[]string
	refuse error
}

func (l logged) Update(prog *ebpf.Program) error {
	*l.log = append(*l.log, "update "+l.name)
	if l.refuse != nil {
		return l.refuse
	}
	return l.Handle.Update(prog)
}

func (l logged) Close() error {
	*l.log = append(*l.log, "close "+l.name)
	return l.Handle.Close()
}

// TestOrder: what rewrites replies is replaced before the rules and detached behind them, and when
// the rules cannot be replaced the old set goes on.
func TestOrder(t *testing.T) {
	e := newExchange(t)
	r := e.start(e.options(webReplies))
	var log []string
	steps := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(log, want) {
			t.Errorf("%s: %q, want %q", what, log, want)
		}
		log = nil
	}
	replace := func(text string) (err error) {
		e.do(func() { _, err = r.Replace(checked(t, text)) })
		return err
	}
	r.rules.link, r.replies.link = logged{r.rules.link, "rules", &log, nil}, logged{r.replies.link, "replies", &log, nil}
	check(t, replace(dnsReplies+"\n"+webReplies))
	steps("replace", "update replies", "update rules")

	refused, accepting := errors.New("refused"), r.rules.link
	r.rules.link = logged{accepting.(logged).Handle, "rules", &log, refused}
	if err := replace(webReplies); !errors.Is(err, refused) {
		t.Errorf("the rules are not replaced, and the error is %v", err)
	}
	steps("a replace that fails", "update replies", "update rules", "update replies")
	if err := replace(webAlone); !errors.Is(err, refused) {
		t.Errorf("the rules are not replaced, and the error is %v", err)
	}
	steps("a replace without replies that fails", "update rules")
	if !e.asks(2, 53, 5353) || !e.asks(1, 443, 8080) {
		t.Error("the old rules do not go on")
	}
	r.rules.link = accepting
	check(t, replace(webAlone))
	steps("replies go", "update rules", "close replies")
	r.rules.link = logged{accepting.(logged).Handle, "rules", &log, refused}
	if err := replace(webReplies); !errors.Is(err, refused) {
		t.Errorf("the rules are not replaced, and the error is %v", err)
	}
	e.do(func() { wantPrograms(t, "right", hook.ProgramName) })
	log, r.rules.link = nil, accepting
	check(t, replace(webReplies))
	r.replies.link = logged{r.replies.link, "replies", &log, nil}
	log = nil
	_, err := r.Close()
	check(t, err)
	steps("the end", "close rules", "close replies")
	e.do(func() { wantPrograms(t, "right") })
}

// TestHalfOfASet: an attach or a detach that is killed between its two steps leaves one program.
// list says which is missing, and detach detaches what is there.
func TestHalfOfASet(t *testing.T) {
	e := newExchange(t)
	for _, missing := range []run.Part{run.RulesPart, run.RepliesPart} {
		e.do(func() {
			_, err := attachRules(e.options(webReplies))
			check(t, err)
			half := run.In
			if missing == run.RepliesPart {
				half = run.Out
			}
			ours, err := hook.Ours(ifindexOf(t, "right"), half)
			check(t, err)
			check(t, hook.Detach(ours[0]))
			all, err := List("")
			check(t, err)
			if len(all) != 1 || all[0].Direction != run.In || all[0].Missing != missing || all[0].Rules[0].Text != checked(t, webReplies).Written[0].Text {
				t.Errorf("listed %+v", all)
			}
			if _, err := attachRules(e.options(webReplies)); err == nil {
				t.Error("there was room for a second set")
			}
			d, err := Detach(run.Target{Interface: "right"})
			check(t, err)
			if !d.Found || d.Replies || d.Missing != missing {
				t.Errorf("detached %+v", d)
			}
			wantPrograms(t, "right")
		})
	}
}
