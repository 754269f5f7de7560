package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"repacket/internal/bpf"
	"repacket/internal/csource"
	"repacket/internal/plan"
	"repacket/internal/run"
	"repacket/internal/syntax"
)

// The exit statuses.
const (
	exitDone        = 0 // done, whatever signal asked for it
	exitFailed      = 1 // failed while running
	exitUsage       = 2 // the command or the rule is wrong
	exitPrivilege   = 3 // a privilege is missing
	exitUnsupported = 4 // the kernel or the interface cannot
	exitTaken       = 5 // another program is there
)

// Failure is an error that knows the exit status it means and, where
// something helps, what to do about it.
type Failure struct {
	Status int
	Err    error
	Hint   string
	// Fixed are the command lines that the hint leads to: accepted, and what was meant. Hints
	// that are prose have none.
	Fixed []string
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap is the error without status and hint.
func (f *Failure) Unwrap() error { return f.Err }

// usage is the failure of a command line that cannot be carried out.
func usage(hint, format string, args ...any) *Failure {
	return &Failure{Status: exitUsage, Err: fmt.Errorf(format, args...), Hint: hint}
}

// statuses are the exit statuses of the classes of errors.
var statuses = [...]int{
	run.Failed: exitFailed, run.Usage: exitUsage, run.Privilege: exitPrivilege, run.Unsupported: exitUnsupported, run.Taken: exitTaken,
}

// explain is what an error means for the command that ends with it: its exit status and
// what to do about it, or "". It is the one place where errors get an exit status.
func explain(err error) (status int, hint string) {
	var (
		failure     *Failure
		rules       *syntax.Diagnostic
		noClang     *csource.NoClangError
		tooMany     *bpf.TooLargeError
		together    *bpf.TogetherError
		tableSize   *bpf.TableSizeError
		tooManyRows *plan.RowsError
		tooLong     *plan.TooLargeError
		hinted      interface{ Hint() string }
		path        *fs.PathError
	)
	switch {
	case err == nil:
		return exitDone, ""
	case errors.As(err, &failure):
		return failure.Status, failure.Hint
	case errors.As(err, &rules):
		return exitUsage, ""
	case errors.As(err, &tooMany), errors.As(err, &tableSize), errors.As(err, &tooManyRows), errors.As(err, &tooLong):
		return exitUnsupported, run.TooLargeHint
	}
	if errors.As(err, &together) {
		return exitUnsupported, "fewer rules, or replace them for good: leave out --revert-after"
	}
	status = statuses[run.ClassOf(err)]
	if errors.As(err, &noClang) {
		status = exitUnsupported
	}
	if errors.As(err, &hinted) {
		return status, hinted.Hint()
	}
	if errors.As(err, &path) && errors.Is(path, fs.ErrNotExist) {
		switch root, _, _ := strings.Cut(strings.TrimPrefix(path.Path, "/"), "/"); root {
		case "proc", "sys":
			return exitUnsupported, fmt.Sprintf("the kernel's files are looked for in /%[1]s: mount -t %[2]s %[1]s /%[1]s", root, map[string]string{"proc": "proc", "sys": "sysfs"}[root])
		}
	}
	return status, ""
}

// status is the exit status that err means.
func status(err error) int {
	status, _ := explain(err)
	return status
}

// reported is an error that comes with more to report than a line: it is written to a
// file, for whoever can mend it.
func (a *app) reported(err error) error {
	var difference interface {
		error
		Report() string
	}
	if !errors.As(err, &difference) {
		return err
	}
	f := &Failure{Status: exitFailed, Err: difference, Hint: "this is a bug; please report it with the rules"}
	var file *os.File
	create := func() (err error) {
		file, err = os.CreateTemp("", "repacket-difference-*.txt")
		return err
	}
	if a.env.AsCaller(create) != nil {
		return f
	}
	defer file.Close()
	release, commit := buildVersion()
	if _, err := fmt.Fprintf(file, "repacket %s %s\n%s", release, commit, difference.Report()); err == nil {
		f.Hint = "this is a bug; please report it with " + file.Name()
	}
	return f
}
