package cli

import (
	"repacket/internal/journal"
	"repacket/internal/run"
)

const confirmHelp = `Let rules stay that would go back to what was done before (--revert-after).

Rules that are attached or replaced with --revert-after DURATION are in one
program with the rules before, and the kernel goes back to those when the time
is over, with every process dead. This command calls that off. When it comes too
late, it says when the rules went back, with status 1. What rewrites replies is
confirmed with its rules.`

// confirmedEvent tells that rules stay.
type confirmedEvent struct {
	event
	run.Target
}

// confirm has the rules of an interface stay that would go back.
func (a *app) confirm() error {
	target, err := a.target()
	if err != nil {
		return err
	}
	a.env.IgnoreBrokenPipes()
	a.noteReverts(target.Interface)
	done, err := a.env.Kernel.Confirm(target)
	if err != nil {
		return err
	}
	a.logger.write(journal.Notice, logConfirm, done.Target, "confirmed")
	a.out.advise(done.Advice)
	if a.out.json {
		a.out.object(confirmedEvent{a.out.event("confirmed"), done.Target})
		a.out.untold("the rules are confirmed", "")
		return nil
	}
	a.out.status("%s: confirmed%s", done.Interface, leaving(done.Direction))
	return nil
}
