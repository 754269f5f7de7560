package cli

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"repacket/internal/follow"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// prepare completes the options of a run with all that the command line says, checked,
// and inspects the target.
func (a *app) prepare(words []string, opt run.Options) (run.Options, run.Prepared, error) {
	program, err := a.program(words)
	if err == nil {
		err = a.opt.attachable(program)
	}
	if err != nil {
		return opt, nil, err
	}
	opt.Program, opt.Hook, opt.Limit, opt.For = program, a.opt.at, a.opt.limit, a.opt.lasts
	opt.Flows, opt.RevertAfter, opt.Origin = a.opt.tracked, a.opt.back, a.by
	opt.Release, _ = buildVersion()
	opt.Clang, opt.Broken = a.opt.backend == "clang", a.env.Broken
	if opt.Target, err = a.target(); err != nil {
		return opt, nil, err
	}
	if !opt.Stay {
		save, err := a.newSavefile()
		if err != nil {
			return opt, nil, err
		}
		a.shower = a.newShower(a.showing(program), save)
		opt.Record = a.shower.recording()
		opt.Why = a.opt.why
	}
	prepared, err := a.env.Kernel.Prepare(opt)
	if err != nil {
		a.shower.saved().abandon(a)
		return opt, nil, err
	}
	opt.Target = prepared.Target()
	if a.logger != nil {
		a.logger.target = opt.Target
	}
	if err := a.guard(opt); err != nil {
		a.shower.saved().abandon(a)
		return opt, nil, err
	}
	a.shower.on(opt.Interface)
	a.out.advise(prepared.Advice())
	a.notExamined(program)
	return opt, prepared, nil
}

// attachable checks that the flags are there which rules need.
func (o *options) attachable(program *rule.Program) error {
	if !program.Tracks() && o.flows != "" {
		return usage("leave out --flows, or write replies tracked behind the actions of a rule", "--flows %s, and no rule tracks flows", o.flows)
	}
	if program.Verdicts() && o.iface == "" {
		return usage("-i IFACE", "rules that drop, reflect or redirect need the interface spelled out")
	}
	return nil
}

// checkReload checks the flags that are about reading rules again.
func (o *options) checkReload() error {
	if o.back > 0 && !o.rereads() {
		return usage("-f FILE has rules that SIGHUP reads again; repacket attach and replace take --revert-after too",
			"--revert-after is about rules that take the place of others, and a run without a file has none")
	}
	if o.once && o.file == "" {
		return usage("-f FILE --once", "--once is about the file of -f, and there is none")
	}
	return o.checkFollow()
}

// run rewrites until a signal, -c or --for ends it.
func (a *app) run(words []string) error {
	if err := a.opt.checkReload(); err != nil {
		return err
	}
	listener, err := a.listenForMetrics()
	if err != nil {
		return err
	}
	if listener != nil {
		defer listener.Close()
	}
	followed, err := a.followFile()
	if err != nil {
		return err
	}
	if followed != nil {
		defer followed.Close()
	}
	// To catch signals takes longer than to read a rule, so both go on at once.
	caught := make(chan struct{})
	done := a.start(words, func() { <-caught })
	signals := a.env.Signals(a.opt.rereads())
	close(caught)
	o, early := a.started(done, signals)
	session := o.session
	if session == nil || o.err != nil {
		a.shower.saved().abandon(a)
		return o.err
	}
	if err := a.confine(session); err != nil {
		return err
	}
	r := a.newRunning(words, o)
	r.follow(followed)
	heard := make(chan os.Signal, heardAtOnce)
	over := make(chan struct{})
	defer close(over)
	go r.hear(early, signals, heard, over)
	r.tellBegin(o.opt)
	if listener != nil {
		stop := r.serveMetrics(listener, o.opt.Release)
		defer func() { _ = stop() }() // the counts are told anyway
	}
	return r.untilOver(heard)
}

// untilOver waits for the end of the run, detaches its rules and tells how it went.
func (r *running) untilOver(heard <-chan os.Signal) error {
	why, watchErr := r.watch(heard)
	r.ending.Store(true)
	r.tellManager("STOPPING=1", "")
	ended := r.env.Clock.Now()
	counts, closeErr := r.close()
	r.ending.Store(true)
	closeErr = errors.Join(closeErr, r.shower.saved().finish())
	r.leave()
	if r.report.file != nil {
		r.out.advise(r.report.file.session.Remarks())
		closeErr = r.fileFailure(closeErr)
	}
	if closeErr != nil {
		why = "error"
	}
	if counts.Rules != nil {
		r.report.show("summary", counts, ended.Sub(r.began), why)
	}
	err := errors.Join(watchErr, closeErr)
	if r.report.file == nil {
		r.logger.ended(r.report.target, why, counts, err)
	}
	return err
}

// newRunning is a run whose rules act from now on.
func (a *app) newRunning(words []string, o started) *running {
	return &running{
		app: a, session: o.session,
		report: &report{
			out: a.out, target: o.opt.Target, shower: a.shower, traffic: o.session.Traffic, why: a.opt.why,
			width: func() int { return a.env.Width(a.env.Stderr) },
		},
		began:  a.env.Clock.Now(),
		reload: a.reload(words, o.opt), reloaded: make(chan reloaded, 1),
		ended: make(chan struct{}, 2),
	}
}

// tellBegin tells that the rules act from now on.
func (r *running) tellBegin(o run.Options) {
	if file, ok := r.session.(run.FileSession); ok {
		r.report.file = &fileReport{filesOf{r.opt.read, r.opt.write}, file}
		r.reading(o)
		return
	}
	began := r.session.Attachment()
	if r.logger != nil {
		r.logger.began = true
		r.logger.attached(logStart, "run started", began, o.Program)
	}
	r.out.advise(began.Advice)
	r.out.attached("attached", began, o.Program)
	if r.out.live {
		r.out.status("Ctrl-C to stop")
	}
	r.tellManager("READY=1", "rewrites packets of "+began.Interface)
}

// started is what starting has led to.
type started struct {
	opt     run.Options
	session run.Session
	err     error
}

// start begins to read the rules and to attach them, the latter when ready returns.
func (a *app) start(words []string, ready func()) <-chan started {
	done := make(chan started, 1)
	go func() {
		var o started
		var prepared run.Prepared
		if a.opt.read != "" {
			o.opt, prepared, o.err = a.prepareFile(words)
		} else {
			o.opt, prepared, o.err = a.prepare(words, run.Options{})
		}
		if o.err == nil {
			o.session, o.err = prepared.Start(ready)
			o.err = a.withoutWhy(a.taken(o.opt, o.err))
		}
		done <- o
	}()
	return done
}

// started waits until the rules are attached. Signals that come meanwhile are
// early. Where one asks to stop and it takes too long, there is no session and
// no error: the command is over, and with the process goes whatever it had begun.
func (a *app) started(done <-chan started, signals <-chan os.Signal) (_ started, early []os.Signal) {
	var giveUp <-chan time.Time
	for {
		select {
		case o := <-done:
			return o, early
		case <-giveUp:
			return started{}, nil
		case got := <-signals:
			early = append(early, got)
			if giveUp == nil && a.stops(got) {
				giveUp = time.After(a.env.Patience)
			}
		}
	}
}

// running is a run between attach and detach.
type running struct {
	*app
	session run.Session
	report  *report
	began   time.Time
	// reload reads the rules again.
	reload func() (*rule.Program, error)
	// reloaded tells how rules that were read again have fared; reloading is
	// true until it does, again if a signal has come since they were read.
	reloaded         chan reloaded
	reloading, again bool
	followed         *follow.File // nil without --follow
	reloads          reloads
	notShown         uint64 // packets, that have been told
	// asked: a signal has asked to read the rules again. It may be what a terminal sends
	// that is being closed, so from then on the terminal is looked at.
	asked bool
	// ending: the run detaches its rules, which a busy kernel makes wait.
	ending atomic.Bool
	// ended tells that it has detached them, and that it has finished its file: from then on it may only
	// wait for somebody who reads what it prints.
	ended chan struct{}
}

// watch waits for the end of the run, tells each second how it goes, and
// says what ended it.
func (r *running) watch(signals <-chan os.Signal) (why string, err error) {
	beat, stop := r.env.Clock.Tick(time.Second)
	defer stop()
	for {
		select {
		case <-r.session.Done():
			return string(r.session.Over()), nil
		case s := <-signals:
			if why, err := r.heed(s); why != "" {
				return why, err
			}
		case s := <-r.session.Settled():
			r.settled(s)
		case limit := <-r.session.Reached():
			r.report.clear()
			r.out.status("%s: %s; replies are rewritten for %v more", r.report.target.Interface, overWords[limit], run.RepliesLonger)
		case text := <-r.shower.queue():
			if _, err := r.out.Write(text); err != nil {
				return "error", err
			}
		case <-r.changes():
			r.readAgain()
		case o := <-r.reloaded:
			r.replaced(o)
		case <-beat:
			r.tellUnsaved()
			if err := r.tellNotShown(); err != nil {
				return "error", err
			}
			if r.report.periodic() {
				if err := r.tell("progress"); err != nil {
					return "error", err
				}
			}
		}
		if r.asked && r.env.HungUp() {
			return "signal", nil
		}
	}
}

// heed does what a signal asks for, and says why the run ends if it does.
func (r *running) heed(s os.Signal) (why string, err error) {
	switch {
	case r.stops(s):
		return "signal", nil
	case slices.Contains(reloadSignals(), s):
		r.asked = true
		r.readAgain()
		return "", nil
	}
	if err := r.tell("interim"); err != nil {
		return "error", err
	}
	return "", nil
}

// tell shows the counts so far.
func (r *running) tell(as string) error {
	counts, err := r.session.Counts()
	if err != nil {
		return err
	}
	r.report.show(as, counts, r.env.Clock.Now().Sub(r.began), "")
	return r.out.err
}

// attachedEvent tells that rules act from now on.
type attachedEvent struct {
	event
	run.Target
	Hook    run.Hook       `json:"hook"`
	Note    string         `json:"note,omitempty"`
	Replies *run.RepliesAt `json:"replies,omitempty"`
	// RevertAfter are the seconds after which the rules go back unless they are confirmed.
	RevertAfter float64        `json:"revert_after,omitempty"`
	Rules       []run.RuleText `json:"rules"`
}

// attached tells where the rules are, in the line that names the hook, and in another one where
// replies are rewritten.
func (o *output) attached(event string, to run.Attachment, p *rule.Program) {
	if !o.json {
		o.status("%s: %s", to.Interface, hookLine(to.Hook, to.Direction, to.Note))
		if r := to.Replies; r != nil {
			o.status("%s: replies: %s", to.Interface, hookLine(r.Hook, r.Direction, r.Note))
		}
		return
	}
	e := attachedEvent{event: o.event(event), Target: to.Target, Hook: to.Hook, Note: to.Note, Replies: to.Replies, RevertAfter: to.RevertAfter.Seconds()}
	e.Rules = ruleTexts(p)
	o.object(e)
}

// ruleTexts are the rules of a program as written.
func ruleTexts(p *rule.Program) (all []run.RuleText) {
	for _, w := range p.Written {
		all = append(all, run.RuleText{Name: w.Name, Text: w.Text})
	}
	return all
}

// hookLine names a hook, and why it was chosen.
func hookLine(hook run.Hook, d run.Direction, note string) string {
	line := hook.Title() + leaving(d)
	// The reason names the hook itself.
	if _, reason, ok := strings.Cut(note, ": "); ok && reason != "as asked" {
		line += " (" + reason + ")"
	}
	return line
}
