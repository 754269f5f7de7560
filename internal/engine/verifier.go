package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// newProgram is ebpf.NewProgramWithOptions, but for tests that count its calls.
var newProgram = ebpf.NewProgramWithOptions

// loadProgram hands a program to the verifier. What is too complex takes it seconds
// each time, so it is asked at once for the little of its log that tells this, and
// again for all of it only where it found the program wrong. The error is a *TooComplexError, or what the kernel said, wrapped.
func loadProgram(spec *ebpf.ProgramSpec) (*ebpf.Program, error) {
	p, err := newProgram(spec, ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats})
	if err == nil {
		return p, nil
	}
	if !tooComplex(err) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOMEM) {
		p, err = newProgram(spec, ebpf.ProgramOptions{LogLevel: ebpf.LogLevelBranch})
	}
	switch {
	case err == nil: // what was in the way is gone
		return p, nil
	case tooComplex(err):
		return nil, &TooComplexError{err}
	}
	return nil, fmt.Errorf("load the program: %w", err)
}

// tooComplex reports whether the verifier gave up, or the kernel could not lay the
// program out.
func tooComplex(err error) bool {
	return errors.Is(err, unix.E2BIG) || errors.Is(err, unix.EFAULT) || jumpsTooFar(err)
}

// jumpsTooFar reports whether the kernel, which makes some instructions longer, can
// not make a jump over them as far as it has to be.
func jumpsTooFar(err error) bool {
	var refusal *ebpf.VerifierError
	return errors.Is(err, unix.ENOMEM) && errors.As(err, &refusal) &&
		strings.Contains(strings.Join(refusal.Log, "\n"), "16-bit range")
}

// TooComplexError says that a program exceeds the complexity limit of the verifier (it
// gives up behind a million steps, E2BIG, or 8,192 jumps in a row, EFAULT), or that
// the kernel could not lay it out (ENOMEM).
type TooComplexError struct{ Err error }

func (*TooComplexError) Error() string {
	return "the rules exceed the complexity limit of the kernel's verifier"
}

func (e *TooComplexError) Unwrap() error { return e.Err }

// Class is that of what the kernel cannot do.
func (*TooComplexError) Class() run.Class { return run.Unsupported }

// Hint says what to do instead.
func (*TooComplexError) Hint() string { return run.TooLargeHint }
