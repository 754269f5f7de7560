package cli

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"repacket/internal/rule"
)

// job completes what a command wants with all that it needs to know, checked,
// and looks at where it is to be done.
func (a *app) job(words []string, want Job) (Job, Site, error) {
	limit, duration, err := a.opt.limits()
	if err != nil {
		return Job{}, nil, err
	}
	program, err := a.program(words)
	if err == nil {
		err = a.attachable(program)
	}
	if err != nil {
		return Job{}, nil, err
	}
	iface, err := a.named()
	if err != nil {
		return Job{}, nil, err
	}
	job := Job{
		Program: program, Interface: iface, Direction: a.opt.direction, Hook: a.opt.hook, Limit: limit, For: duration,
		Clang: a.opt.backend == "clang", Broken: a.env.Broken, Stay: want.Stay, Replace: want.Replace,
	}
	if job.Clang && (limit > 0 || duration > 0) {
		return Job{}, nil, clangLimits()
	}
	site, err := a.env.Kernel.Look(job)
	if err != nil {
		return Job{}, nil, err
	}
	job.Interface = site.InterfaceName()
	a.out.advise(site.Advice())
	return job, site, nil
}

func clangLimits() *Failure {
	return notYet("-c and --for with --backend clang", "the built-in compiler keeps both: leave out --backend")
}

// attachable checks that the flags are there which rules need.
func (a *app) attachable(program *rule.Program) error {
	if program.Verdicts() && a.opt.iface == "" {
		return usage("-i IFACE", "rules that drop, reflect or redirect need the interface spelled out")
	}
	return nil
}

// run rewrites until a signal, -c or --for ends it.
func (a *app) run(words []string) error {
	// To catch signals takes longer than to read a rule, so both go on at once.
	caught := make(chan struct{})
	done := a.start(words, func() { <-caught })
	signals := a.env.Signals(a.rereads())
	close(caught)
	o, early := a.started(done, signals)
	session, job := o.session, o.job
	if session == nil || o.err != nil {
		return o.err
	}
	r := &running{
		app: a, session: session, job: job,
		report: newReport(a.out, job, a.opt.verbose),
		began:  a.env.Clock.Now(),
		reload: a.reload(words), reloaded: make(chan reloaded, 1),
	}
	heard := make(chan os.Signal, heardAtOnce)
	over := make(chan struct{})
	defer close(over)
	go r.hear(early, signals, heard, over)
	a.out.advise(session.Late())
	a.attached("attached", job, session.Hook(), session.Note())
	why, watchErr := r.watch(heard)
	r.ending.Store(true)
	r.ended = a.env.Clock.Now()
	counts, closeErr := session.Close()
	alone, aloneErr := session.LeftAlone()
	if closeErr != nil {
		why = "error"
	}
	if counts != nil {
		r.report.summary(counts, alone, r.ended.Sub(r.began), why)
	}
	return errors.Join(watchErr, aloneErr, closeErr)
}

// started is what starting has led to.
type started struct {
	job     Job
	session Session
	err     error
}

// start begins to read the rules and to attach them, the latter when ready returns.
func (a *app) start(words []string, ready func()) <-chan started {
	done := make(chan started, 1)
	go func() {
		var o started
		var site Site
		if o.job, site, o.err = a.job(words, Job{}); o.err == nil {
			o.session, o.err = site.Start(ready)
			o.err = a.taken(o.job, o.err)
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
	session      Session
	job          Job
	report       *report
	began, ended time.Time
	// reload reads the rules again.
	reload func() (*rule.Program, error)
	// reloaded tells how rules that were read again have fared; reloading is
	// true until it does, again if a signal has come since they were read.
	reloaded         chan reloaded
	reloading, again bool
	// asked: a signal has asked to read the rules again. It may be what a terminal sends
	// that is being closed, so from then on the terminal is looked at.
	asked bool
	// ending: the run takes its rules off, which a busy kernel makes wait.
	ending atomic.Bool
}

// heardAtOnce is how many signals can wait to be heeded; more are dropped, as the
// kernel drops those of one kind.
const heardAtOnce = 8

// hear passes signals on to the run. It hears them also while the run waits for
// somebody to read what it prints: then one that asks to stop ends the process
// when patience is over, and the rules go with it. A run that takes its rules off
// is left to that, unless it is asked once more. What is asked again before is the
// same wish: timeout(1) sends its signal to a process and then to the group of it.
func (r *running) hear(early []os.Signal, signals <-chan os.Signal, heard chan<- os.Signal, over <-chan struct{}) {
	var giveUp <-chan time.Time
	impatient := false
	pass := func(s os.Signal) {
		switch {
		case !r.stops(s):
		case impatient:
			r.env.Exit(exitFailed)
		case giveUp == nil:
			giveUp = time.After(r.env.Patience)
		}
		select {
		case heard <- s:
		default:
		}
	}
	for _, s := range early {
		pass(s)
	}
	for {
		select {
		case s := <-signals:
			pass(s)
		case <-giveUp:
			if impatient = true; !r.ending.Load() {
				r.env.Exit(exitFailed)
			}
		case <-over:
			return
		}
	}
}

// watch waits for the end of the run, tells each second how it goes, and
// says what ended it.
func (r *running) watch(signals <-chan os.Signal) (why string, err error) {
	beat, stop := r.env.Clock.Tick(time.Second)
	defer stop()
	for {
		select {
		case <-r.session.Done():
			return r.session.Over(), nil
		case s := <-signals:
			if why, err := r.heed(s); why != "" {
				return why, err
			}
		case o := <-r.reloaded:
			r.replaced(o)
		case <-beat:
			if r.report.periodic() {
				if err := r.tell(r.report.progress); err != nil {
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
	if err := r.tell(r.report.interim); err != nil {
		return "error", err
	}
	return "", nil
}

// tell gives the counts so far to one of the report's ways to show them.
func (r *running) tell(show func([]tally, []LeftAlone, time.Duration)) error {
	counts, err := r.session.Counts()
	if err != nil {
		return err
	}
	alone, err := r.session.LeftAlone()
	if err != nil {
		return err
	}
	show(counts, alone, r.env.Clock.Now().Sub(r.began))
	return r.out.err
}

// attachedEvent tells that rules act from now on.
type attachedEvent struct {
	event
	Interface string       `json:"interface"`
	Direction string       `json:"direction"`
	Hook      string       `json:"hook"`
	Note      string       `json:"note,omitempty"`
	Rules     []ruleObject `json:"rules"`
}

// ruleObject is a rule in the user's words.
type ruleObject struct {
	Name string `json:"name,omitempty"`
	Text string `json:"text"`
}

// attached tells where the rules are, in the line that names the hook.
func (a *app) attached(event string, job Job, hook, note string) {
	if a.out.json {
		a.out.object(attachedEvent{a.out.event(event), job.Interface, job.Direction, hook, note, ruleObjects(job.Program)})
		return
	}
	a.out.status("%s: %s", job.Interface, hookLine(hook, job.Direction, note))
}

// hookLine says where the rules are and why. The reason names the hook itself.
func hookLine(hook, direction, why string) string {
	line := hookTitles[hook] + leaving(direction)
	if _, reason, ok := strings.Cut(why, ": "); ok && reason != "as asked" {
		line += " (" + reason + ")"
	}
	return line
}

func ruleObjects(p *rule.Program) []ruleObject {
	var rules []ruleObject
	for _, w := range p.Written {
		rules = append(rules, ruleObject{w.Name, w.Text})
	}
	return rules
}
