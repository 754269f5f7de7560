package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"repacket/internal/run"
	"repacket/internal/syntax"
)

// schema is the version of the JSON objects: it rises when one of their
// members changes its meaning or goes away.
const schema = 1

// output keeps the output contract of this package.
type output struct {
	stdout, stderr io.Writer
	json, quiet    bool
	colorOut       bool // on stdout
	colorErr       bool // on stderr
	live           bool // stderr is a terminal: a line may be refreshed
	now            func() time.Time
	// err is the first error of writing to stdout.
	err error
}

func newOutput(env Env, o *options) *output {
	color := func(w io.Writer) bool {
		switch o.color {
		case "always":
			return true
		case "never":
			return false
		}
		return env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb" && env.IsTerminal(w)
	}
	return &output{
		stdout:   env.Stdout,
		stderr:   env.Stderr,
		json:     o.json,
		quiet:    o.quiet,
		colorOut: color(env.Stdout),
		colorErr: color(env.Stderr),
		live:     env.IsTerminal(env.Stderr) && !o.quiet && !o.json,
		now:      env.Clock.Now,
	}
}

// Write puts what was asked for on stdout.
func (o *output) Write(p []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.stdout.Write(p)
	o.err = err
	return n, err
}

// printf puts what was asked for on stdout; an error of writing is kept in o.err.
func (o *output) printf(format string, args ...any) { _, _ = fmt.Fprintf(o, format, args...) }

// status tells a person what goes on, in a line on stderr.
func (o *output) status(format string, args ...any) {
	if !o.quiet && !o.json {
		_, _ = io.WriteString(o.stderr, strings.Map(visible, fmt.Sprintf(format+"\n", args...)))
	}
}

// event is what every JSON object begins with.
type event struct {
	Version int       `json:"version"`
	Event   string    `json:"event"`
	Time    time.Time `json:"time"`
}

func (o *output) event(name string) event { return event{schema, name, o.now()} }

// object puts one JSON object on stdout, in a line of its own.
func (o *output) object(v any) { _, _ = o.Write(jsonLine(v)) }

// jsonLine is an object in a line of its own.
func jsonLine(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("cli: %T as JSON: %v", v, err)) // all are ours
	}
	return b.Bytes()
}

// problem is an error, a warning or a note as JSON.
type problem struct {
	event
	Status  *int   `json:"status,omitempty"` // errors: the exit status
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// File, Line and Column, both from 1: where in a file of rules.
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	// Source, Start and End: where in the rules, in bytes, End excluded. The
	// text of a file is left out.
	Source string `json:"source,omitempty"`
	Start  *int   `json:"start,omitempty"`
	End    *int   `json:"end,omitempty"`
}

// fail reports why the command ends with another status than 0.
func (o *output) fail(err error) {
	code := status(err)
	o.trouble(problem{event: o.event("error"), Status: &code}, err)
}

// refuse reports an error that does not end the command.
func (o *output) refuse(err error) { o.trouble(problem{event: o.event("refused")}, err) }

// trouble reports an error, as JSON with what p says already.
func (o *output) trouble(p problem, err error) {
	p.Message = err.Error()
	text := "error: " + err.Error() + "\n"
	var diagnostic *syntax.Diagnostic
	if errors.As(err, &diagnostic) {
		p.place(diagnostic)
		text = diagnostic.Format()
	} else if _, p.Hint = explain(err); p.Hint != "" {
		text += "  hint: " + p.Hint + "\n"
	}
	if o.json && o.err == nil {
		o.object(p)
	}
	if !o.json || o.err != nil { // stdout takes nothing: somebody has to know
		o.diagnostic(text)
	}
}

// warn passes on what the checker has to say about rules that will run.
func (o *output) warn(d *syntax.Diagnostic) {
	switch {
	case o.json:
		p := problem{event: o.event(d.Severity.String()), Message: d.Msg}
		p.place(d)
		o.object(p)
	case !o.quiet:
		o.diagnostic(d.Format())
	}
}

// advise passes on what should be known about rules where they are attached.
func (o *output) advise(all []run.Advice) {
	for _, w := range all {
		kind := syntax.Warning
		if w.Note {
			kind = syntax.Note
		}
		if o.json {
			o.object(problem{event: o.event(kind.String()), Message: w.Message, Hint: w.Hint})
			continue
		}
		text := kind.String() + ": " + w.Message + "\n"
		if w.Hint != "" {
			text += "  hint: " + w.Hint + "\n"
		}
		if !o.quiet {
			o.diagnostic(text)
		}
	}
}

func (p *problem) place(d *syntax.Diagnostic) {
	p.Hint, p.Source, p.Start, p.End = d.Hint, d.Source, &d.At.Start, &d.At.End
	if d.File != "" {
		p.File, p.Source = d.File, ""
		p.Line, p.Column = d.Position()
	}
}

// colors of the words that begin a line of a message.
var colors = map[string]string{
	"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "note": "\x1b[1;36m", "hint": "\x1b[36m",
}

// diagnostic writes a message whose text is complete to stderr.
func (o *output) diagnostic(text string) {
	_, _ = io.WriteString(o.stderr, "repacket: ")
	for line := range strings.Lines(strings.Map(visible, text)) {
		if o.colorErr {
			line = colored(line)
		}
		_, _ = io.WriteString(o.stderr, line)
	}
}

// visible shows what a terminal would act on, such as an escape in a name
// that was given, as a mark.
func visible(r rune) rune {
	if r != '\n' && !unicode.IsPrint(r) {
		return '\ufffd'
	}
	return r
}

// colored colours the word that says what kind of line it is.
func colored(line string) string {
	head, rest, found := strings.Cut(line, ": ")
	word := strings.TrimLeft(head, " ")
	if color, ok := colors[word]; ok && found {
		return strings.TrimSuffix(head, word) + color + word + ":\x1b[0m " + rest
	}
	return line
}

// heading makes a heading stand out on stdout.
func (o *output) heading(text string) string {
	if o.colorOut {
		return "\x1b[1m" + text + "\x1b[0m"
	}
	return text
}
