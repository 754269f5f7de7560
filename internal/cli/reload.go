package cli

import (
	"os"
	"slices"

	"repacket/internal/rule"
)

// stops tells whether a signal ends a run. A closed terminal does.
func (a *app) stops(s os.Signal) bool {
	if slices.Contains(reloadSignals(), s) {
		return a.env.HungUp()
	}
	return !slices.Contains(summarySignals(), s)
}

// reload is how a run reads its rules again, or nil where they are on the line
// or were on stdin, which is read once.
func (a *app) reload(words []string) func() (*rule.Program, error) {
	if a.opt.file == "" || a.opt.file == "-" {
		return nil
	}
	return func() (*rule.Program, error) { return a.attachable(words) }
}

// reloaded is how rules that were read again have fared.
type reloaded struct {
	program *rule.Program
	err     error
}

// readAgain reads the rules again and begins to put them in the place of those
// that run. While some are being proved the run goes on, and can be stopped.
func (r *running) readAgain() {
	r.report.clear()
	if r.reload == nil {
		r.out.advise([]Advice{{
			Message: "there is no file to read again: the rules go on as they are",
			Hint:    "with -f FILE a SIGHUP reads the file again; Ctrl-C and SIGTERM stop",
		}})
		return
	}
	if r.reloading {
		r.again = true
		return
	}
	job := r.job
	job.Hook = r.session.Hook()
	program, err := r.reload()
	if err == nil {
		job.Program = program
		err = r.adviseAgain(job)
	}
	if err != nil {
		r.refused(err)
		return
	}
	r.reloading = true
	go func() { r.reloaded <- reloaded{program, r.session.Replace(program)} }()
}

// adviseAgain passes on what should be known about the new rules and was not to
// be known about those before.
func (r *running) adviseAgain(job Job) error {
	known, err := r.env.Kernel.Advise(r.job)
	if err != nil {
		known = nil
	}
	advice, err := r.env.Kernel.Advise(job)
	r.out.advise(slices.DeleteFunc(advice, func(w Advice) bool { return slices.Contains(known, w) }))
	return err
}

// replaced tells how it went, and reads once more if that was asked for
// meanwhile.
func (r *running) replaced(o reloaded) {
	r.report.clear()
	r.reloading = false
	switch {
	case o.err != nil:
		r.refused(o.err)
	case r.out.json:
		r.job.Program = o.program
		r.attached("replaced", r.job, r.session.Hook(), "")
	default:
		r.job.Program = o.program
		r.out.status("%s: replaced by the rules of %s as it is now", r.job.Interface, r.opt.file)
	}
	if r.again {
		r.again = false
		r.readAgain()
	}
}

// refused tells why the old rules go on.
func (r *running) refused(err error) {
	r.out.refuse(err)
	r.out.status("%s: the rules before go on", r.job.Interface)
}
