package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/syntax"
)

// program checks the rules that the words are, or those of -f, and passes on
// what the checker has to say about them.
func (a *app) program(words []string) (*rule.Program, error) {
	p, err := a.checked(words, a.openOnce)
	if err == nil {
		a.out.warnings(p)
	}
	return p, err
}

// checked checks the rules that the words are, or those of -f. All that takes
// rules reads them here.
func (a *app) checked(words []string, open opener) (*rule.Program, error) {
	s, err := a.source(words, open)
	if err != nil {
		return nil, err
	}
	p, err := rule.CheckWith(s.text, rule.Options{File: s.file, Open: s.open})
	if err != nil {
		for _, meant := range []error{a.misplaced(words), a.mistyped(words)} {
			if meant != nil && a.opt.file == "" {
				return nil, meant
			}
		}
		return nil, err
	}
	return p, nil
}

// warnings passes on what the checker has to say about rules.
func (o *output) warnings(p *rule.Program) {
	for _, w := range p.Warnings[:min(maxWarnings, len(p.Warnings))] {
		o.warn(w)
	}
	if more := len(p.Warnings) - maxWarnings; more > 0 {
		o.advise([]run.Advice{{Note: true, Message: fmt.Sprintf("%d more like these are not shown", more)}})
	}
}

// maxWarnings is how many warnings of one program are shown.
const maxWarnings = 100

// source is the text of rules.
type source struct {
	text string
	// file is where it is from, for messages; "" is the command line.
	file string
	// folder is what the files behind from are relative to: the folder of the
	// rule file, or "", where the command runs.
	folder string
	// opener opens them.
	opener opener
}

// source finds the rules: on the line, or in the file of -f.
func (a *app) source(words []string, open opener) (source, error) {
	name := a.opt.file
	switch {
	case name != "" && len(words) > 0:
		if command := a.mistyped(words); command != nil {
			return source{}, command
		}
		return source{}, usage("put them into "+name+" too, or leave out -f", "both -f and rules on the line")
	case name == "-":
		text, err := readRules("stdin", a.asCaller(a.env.Stdin))
		return source{text: text, file: "stdin", opener: open}, err
	case name != "":
		return rulesOf(name, open)
	case len(words) == 0:
		return source{}, usage("for example: if udp_dest 443 then udp_dest 8080 (repacket --help tells more)", "no rules given")
	}
	if sign := a.env.TakenByShell(); sign != "" {
		return source{}, usage("write ge or le, or the rules in quotes", "the shell has taken %s for a file named =, so a part of the rules is missing", sign)
	}
	return source{text: strings.Join(words, " "), opener: open}, nil
}

// rulesOf reads a file of rules.
func rulesOf(name string, open opener) (source, error) {
	f, err := open(name, syntax.MaxSource)
	if err != nil {
		return source{}, unreadable(name, err)
	}
	defer f.Close()
	text, err := readRules(name, f)
	return source{text, name, filepath.Dir(name), open}, err
}

// readRules reads rules as far as it takes to know that they are too long. A
// byte order mark before them, which some editors write, is left out.
func readRules(name string, from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, syntax.MaxSource+1))
	switch {
	case err != nil:
		return "", &Failure{Status: exitFailed, Err: fmt.Errorf("%s: %w", name, reason(err))}
	case len(text) > syntax.MaxSource:
		return "", unreadable(name, errTooLong)
	}
	return strings.TrimPrefix(string(text), "\ufeff"), nil
}

// open opens a file of rows.
func (s source) open(name string) (io.ReadCloser, error) {
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(s.folder, name)
	}
	f, err := s.opener(path, rule.MaxFile)
	if errors.Is(err, errTooLong) {
		return nil, errors.New("the file is larger than 1 GiB")
	}
	return f, err
}

// unreadable is the failure of a command whose rules cannot be read.
func unreadable(name string, err error) *Failure {
	hint := ""
	switch {
	case errors.Is(err, errTooLong):
		err = fmt.Errorf("the rules are longer than the %d bytes that are read", syntax.MaxSource)
		hint = "rules that differ in values only are one rule with columns, @NAME, and from FILE"
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("there is no such file")
	}
	return usage(hint, "%s: %w", name, reason(err))
}

// reason is an error without the path that it is about.
func reason(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}
