package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"repacket/internal/capture"
	"repacket/internal/offline"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// checkFile rejects flags that have no meaning with a capture file, or without one.
func (a *app) checkFile() error {
	o := &a.opt
	if o.read == "" {
		if err := o.checkLive(); err != nil {
			return err
		}
		return a.checkSave()
	}
	for _, live := range []struct{ flag, typed, hint string }{
		{"interface", "-i", "leave out -i"},
		{"direction", "-Q", "leave out -Q: a file holds packets of both directions; tests on addresses tell them apart"},
		{"hook", "--hook", "leave out --hook"},
		{"for", "--for", "-c N acts on the first N packets; editcap -A and -B choose by time"},
		{"revert-after", "--revert-after", "leave out --revert-after"},
		{"backend", "--backend", "leave out --backend"},
		{"protect", "--protect", "leave out --protect"},
		{"allow-lockout", "--allow-lockout", "leave out --allow-lockout"},
		{"metrics", "--metrics", "leave out --metrics: the summary has all counts"},
	} {
		if a.flags.Changed(live.flag) {
			return usage(live.hint, "%s is for live packets, and -r reads them from a file", live.typed)
		}
	}
	switch {
	case o.read == "-" && o.file == "-":
		return usage("put the rules on the line, or into a file", "both -r and -f are to read stdin")
	case o.write == "" && o.comment:
		return usage("-w FILE.pcapng", "--comment writes to a file, and there is no -w")
	case o.write == "-" && o.json:
		return usage("-w FILE", "both --json and -w - are to write to stdout")
	case o.write == "-" && a.env.IsTerminal(a.env.Stdout):
		return usage("| tcpdump -nr -, or -w FILE", "-w - writes a capture file to stdout, which is a terminal")
	case o.write == "-" && o.asksToShow():
		return usage("-w FILE", "both the packets that are shown and -w - are to go to stdout")
	case o.showRate != "":
		return usage("--show N and --show-every N show fewer packets", "--show-rate is for live packets: a file waits for whoever looks")
	}
	if o.seed == "" {
		o.random = rand.Uint64()
		return nil
	}
	var err error
	if o.random, err = strconv.ParseUint(o.seed, 0, 64); err != nil {
		return usage("--seed 1", "--seed takes a number, not %q", o.seed)
	}
	return nil
}

// checkLive rejects flags that are for capture files, where there is none.
func (o *options) checkLive() error {
	switch {
	case o.seed != "":
		return usage("-r FILE reads packets from a capture file", "--seed is for capture files: on an interface the kernel draws")
	case o.comment:
		return usage("-r FILE reads packets from a capture file", "--comment is for capture files")
	}
	return nil
}

// prepareFile is prepare for a capture file.
func (a *app) prepareFile(words []string) (opt run.Options, _ run.Prepared, err error) {
	if opt.Program, err = a.program(words); err != nil {
		return opt, nil, err
	}
	o := offline.Options{
		Program: opt.Program, Name: nameOf(a.opt.read, "stdin"), Limit: a.opt.limit, Seed: a.opt.random,
		Comment: a.opt.comment, Patience: a.env.Patience, Why: a.opt.why,
	}
	a.shower = a.newShower(a.showing(opt.Program), nil)
	if o.Record = a.shower.recording(); a.shower != nil {
		a.shower.files = &filesOf{a.opt.read, a.opt.write}
	}
	if o.From, o.Size, err = a.openCapture(); err != nil {
		return opt, nil, err
	}
	if err := a.createCapture(&o); err != nil {
		return opt, nil, err
	}
	prepared, err := offline.Prepare(o)
	if err != nil {
		if o.Output != nil {
			err = errors.Join(err, o.Output.Abort())
		}
		return opt, nil, a.fileFailure(err)
	}
	opt.Target = prepared.Target()
	a.out.advise(prepared.Advice())
	a.notExamined(opt.Program)
	return opt, prepared, nil
}

// nameOf is the name of a file for messages, where - is a stream.
func nameOf(file, stream string) string {
	if file == "-" {
		return stream
	}
	return file
}

// openCapture opens the file of -r. Its size is 0 if it is no regular file.
func (a *app) openCapture() (io.Reader, int64, error) {
	if a.opt.read == "-" {
		return a.asCaller(a.env.Stdin), 0, nil
	}
	f, err := a.openFile(a.opt.read, math.MaxInt64, false)
	if err != nil {
		return nil, 0, unreadable(a.opt.read, err)
	}
	size := int64(0)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return a.asCaller(f), size, nil
}

// callersOutput is a file that takes its place with the rights of the caller.
type callersOutput struct {
	*capture.Output
	app *app
}

func (c callersOutput) Commit() error { return c.app.env.AsCaller(c.Output.Commit) }
func (c callersOutput) Abort() error  { return c.app.env.AsCaller(c.Output.Abort) }

// createCapture begins the file of -w.
func (a *app) createCapture(o *offline.Options) error {
	switch a.opt.write {
	case "":
		return nil
	case "-":
		o.To = struct{ io.Writer }{a.env.Stdout} // a pipe has no place to go back to
		return nil
	}
	var out *capture.Output
	err := a.env.AsCaller(func() (err error) {
		out, err = capture.Create(a.opt.write)
		return err
	})
	if err != nil {
		return &Failure{Status: exitFailed, Err: fmt.Errorf("%s: %w", a.opt.write, reason(err))}
	}
	o.To, o.Output = out.Seekable(), callersOutput{out, a}
	return nil
}

// fileFailure says which file an error is about, and what is left of the one that was to be
// written.
func (a *app) fileFailure(err error) error {
	var (
		format  *capture.FormatError
		link    *offline.LinkTypeError
		refused *offline.UsageError
		damaged *capture.DamagedError
		writing *offline.WriteError
	)
	in, out := nameOf(a.opt.read, "stdin"), nameOf(a.opt.write, "stdout")
	switch {
	case err == nil:
		return nil
	case errors.As(err, &format):
		return usage(format.Hint(), "%s: %w", in, format)
	case errors.As(err, &link):
		return usage(link.Hint(), "%s: %w", in, link)
	case errors.As(err, &refused):
		return err
	case errors.As(err, &damaged):
		hint := ""
		if out != "" {
			hint = "what comes before is in " + out
		}
		return &Failure{Status: exitFailed, Err: fmt.Errorf("%s: %w", in, err), Hint: hint}
	case errors.As(err, &writing):
		return &Failure{Status: exitFailed, Err: fmt.Errorf("%s: %w", out, reason(writing.Err))}
	case errors.Is(err, offline.ErrStopped) && out == "":
		return nil
	case errors.Is(err, offline.ErrStopped):
		why := out + " was not written"
		if a.opt.write == "-" {
			why = "what was written to stdout is not all"
		}
		return &Failure{Status: exitFailed, Err: fmt.Errorf("stopped before the end of %s: %s", in, why)}
	}
	return &Failure{Status: exitFailed, Err: fmt.Errorf("%s: %w", in, reason(err))}
}

// filesOf are the files of a run, as JSON has them.
type filesOf struct {
	Read  string `json:"read"`
	Write string `json:"write,omitempty"`
}

// readingEvent tells that the packets of a file are being read.
type readingEvent struct {
	event
	filesOf
	Rules []run.RuleText `json:"rules"`
}

// fileEvent is the counts of a run over a file as JSON.
type fileEvent struct {
	event
	filesOf
	Seconds float64 `json:"seconds"`
	Ended   string  `json:"ended,omitempty"` // summary: end, count, signal or error
	// Packets and Bytes are what was read.
	Packets uint64    `json:"packets"`
	Bytes   int64     `json:"bytes"`
	Total   run.Count `json:"total"`
	run.Counts
	*shownCounts
}

// fileEvent shows the counts as JSON.
func (r *report) fileEvent(as string, counts run.Counts, elapsed time.Duration, why string) {
	p := r.file.session.Progress()
	e := fileEvent{
		event: r.out.event("stats"), filesOf: r.file.filesOf, Seconds: elapsed.Seconds(), Ended: why,
		Packets: p.Packets, Bytes: p.Bytes, Total: counts.Total(), Counts: counts,
		shownCounts: r.shower.counts(counts),
	}
	if as == "summary" {
		e.Event = as
	}
	r.out.object(e)
}

// fileReport is what a report says of a file.
type fileReport struct {
	filesOf
	session run.FileSession
}

// mega is for rates.
const mega = 1e6

// progress is a bar of how far a file is read, as far as its size is known, and how fast.
func (f *fileReport) progress(p run.Progress, seconds float64) string {
	text := fmt.Sprintf("%s pkts, %.1f MB", spelling.Thousands(int(p.Packets)), float64(p.Bytes)/mega)
	if p.Size > 0 {
		const width = 20
		share := min(float64(p.Bytes)/float64(p.Size), 1)
		bar := []byte("                    ")
		for i := range int(share * width) {
			bar[i] = '='
		}
		text = fmt.Sprintf("[%s] %3.0f %% of %.1f MB, %s pkts", bar, 100*share, float64(p.Size)/mega, spelling.Thousands(int(p.Packets)))
	}
	if seconds > 0 {
		text += fmt.Sprintf(", %s pkts/s", spelling.Thousands(int(float64(p.Packets)/seconds)))
	}
	return text
}

// nothingInFile says, where nothing matched, what there was.
func (r *report) nothingInFile() {
	p := r.file.session.Progress()
	if p.Packets == 0 {
		r.out.status("nothing matched: there are no packets in %s", nameOf(r.file.Read, "stdin"))
		return
	}
	r.out.status("nothing matched: %s in %s, but none that the rules match", packets(p.Packets), nameOf(r.file.Read, "stdin"))
	if !r.why {
		r.out.status("  hint: %s", askWhy)
	}
	r.out.status("  hint: to see them: tcpdump -ner %s", cmp.Or(spelling.InShell(r.file.Read), "-"))
}

// reading tells that a file is being read.
func (a *app) reading(o run.Options) {
	if !a.out.json {
		return
	}
	e := readingEvent{event: a.out.event("reading"), filesOf: filesOf{a.opt.read, a.opt.write}}
	for _, w := range o.Program.Written {
		e.Rules = append(e.Rules, run.RuleText{Name: w.Name, Text: w.Text})
	}
	a.out.object(e)
}
