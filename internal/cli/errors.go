package cli

import (
	"errors"
	"fmt"

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
}

func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap is the error without status and hint.
func (f *Failure) Unwrap() error { return f.Err }

// usage is the failure of a command line that cannot be carried out.
func usage(hint, format string, args ...any) *Failure {
	return &Failure{Status: exitUsage, Err: fmt.Errorf(format, args...), Hint: hint}
}

// status is the exit status that err means.
func status(err error) int {
	var failure *Failure
	var diagnostic *syntax.Diagnostic
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &failure):
		return failure.Status
	case errors.As(err, &diagnostic):
		return exitUsage
	}
	return exitFailed
}
