package cli

import (
	"fmt"
	"os"
	"slices"

	"repacket/internal/rule"
	"repacket/internal/run"
)

// rereads reports whether there is a file of rules that a signal can ask to read again.
// What was on the line or on stdin is read once, and so it is for a capture file, and with --once.
func (o *options) rereads() bool { return o.file != "" && o.file != "-" && o.read == "" && !o.once }

// stops reports whether a signal ends a run. A closed terminal does, and so does a
// signal to read the rules again where there is no file of them.
func (a *app) stops(s os.Signal) bool {
	if slices.Contains(reloadSignals(), s) {
		return !a.opt.rereads() || a.env.HungUp()
	}
	return !slices.Contains(summarySignals(), s)
}

// reload is how a run reads its rules again, where rereads says that it can.
func (a *app) reload(words []string, opt run.Options) func() (*rule.Program, error) {
	var index int
	var unknown error
	if a.opt.rereads() { // the interface may have another name by then
		index, unknown = a.env.Kernel.Interface(opt.Interface)
	}
	files := &rereader{patience: a.env.FilePatience, asCaller: a.asCaller}
	files.open = func(path string, limit int64) (*os.File, error) { return a.openFile(path, limit, true) }
	return func() (*rule.Program, error) {
		program, err := a.checked(words, files.reopen)
		if err == nil {
			err = a.opt.attachable(program)
		}
		if err == nil {
			err = a.guardAgain(program, opt, func() (int, error) { return index, unknown })
		}
		return program, err
	}
}

// reloaded is how rules that were read again have fared.
type reloaded struct {
	program *rule.Program // nil if they are wrong
	run.Attachment
	err error
}

// readAgain begins to read the rules again and to put them in the place of
// those that run. Meanwhile the run goes on and can be stopped, however long it
// takes to read a file and to test what is in it.
func (r *running) readAgain() {
	r.report.clear()
	if r.reloading {
		r.again = true
		return
	}
	r.reloading = true
	r.tellManager(reloadingState(), "reads the rules again")
	go func() { // it prints nothing: the run does, meanwhile
		var o reloaded
		if o.program, o.err = r.reload(); o.err == nil {
			o.Attachment, o.err = r.session.Replace(o.program)
		}
		r.reloaded <- o
	}()
}

// replaced tells how it went, and reads once more if that was asked for
// meanwhile.
func (r *running) replaced(o reloaded) {
	r.report.clear()
	r.reloading = false
	r.reloads.count(o.err, r.env.Clock.Now())
	if o.program != nil {
		r.out.warnings(o.program)
	}
	r.out.advise(o.Advice)
	if o.err != nil {
		if r.logger != nil {
			r.logger.refusal(r.report.target, o.err)
		}
		r.out.refuse(o.err)
		r.out.status("%s: the rules before go on", r.report.target.Interface)
		r.tellManager("READY=1", "the rules before go on: "+o.err.Error())
	} else {
		r.report.target = o.Target
		r.tellManager("READY=1", "rewrites packets of "+o.Interface)
		r.logger.attached(logReplace, "replaced by the rules of "+r.opt.file, o.Attachment, o.program)
		if r.out.json {
			r.out.attached("replaced", o.Attachment, o.program)
		} else {
			until := ""
			if o.RevertAfter > 0 {
				until = fmt.Sprintf("; goes back to the rules before in %v, unless: repacket confirm %s", o.RevertAfter, o.Flags())
			}
			r.out.status("%s: replaced by the rules of %s as it is now%s", o.Interface, r.opt.file, until)
		}
	}
	if r.again {
		r.again = false
		r.readAgain()
	}
}

// settledEvent tells what became of rules that were to be confirmed.
type settledEvent struct {
	event
	run.Target
	Rules []run.RuleText `json:"rules"` // that act now
}

// settled tells what became of rules that were to be confirmed.
func (r *running) settled(s run.Settled) {
	r.report.clear()
	name, text := "reverted", "nobody has confirmed the rules of "+r.opt.file+": those before act again"
	if !s.Confirmed {
		r.logger.reverted(r.report.target, r.env.Clock.Now())
	}
	if s.Confirmed {
		name, text = "confirmed", "confirmed: the rules of "+r.opt.file+" stay"
	}
	if r.out.json {
		r.out.object(settledEvent{r.out.event(name), r.report.target, ruleTexts(s.Program)})
		return
	}
	r.out.status("%s: %s", r.report.target.Interface, text)
}
