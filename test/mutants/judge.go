package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The tests of a package take seconds: a fault that makes them hang is noticed.
// An endless loop shows by the CPU time it takes, which a machine that does
// other work too does not stretch; waiting for ever shows by patience alone.
const (
	cpuTime  = 60 * time.Second
	patience = 10 * time.Minute
)

// outcome is what became of a fault.
type outcome int

const (
	survived outcome = iota
	killed
	senseless // does not compile: no fault that anyone could make
)

// verdict is the outcome, who noticed and after how long.
type verdict struct {
	outcome
	by   string
	took time.Duration
	err  error
}

// bench is where faults are tried.
type bench struct {
	root string // of the module
	tmp  string
	exec []string // what runs the tests
}

func newBench(ctx context.Context, with string) (*bench, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	tmp, err := os.MkdirTemp("", "mutants")
	return &bench{root: filepath.Dir(strings.TrimSpace(string(out))), tmp: tmp, exec: strings.Fields(with)}, err
}

// slot is a package's name as a file name.
func slot(pkg string) string { return strings.ReplaceAll(pkg, "/", "_") }

// sound makes sure that without a fault the tests pass.
func (b *bench) sound(ctx context.Context, t target) error {
	for _, j := range t.judges {
		failure, err := b.tests(ctx, j, "", "sound-"+slot(j.pkg))
		if err == nil && failure != "" {
			err = errors.New(failure)
		}
		if err != nil {
			return fmt.Errorf("%s, without any fault: %w", j.pkg, err)
		}
	}
	return nil
}

// judge tries one fault.
func (b *bench) judge(ctx context.Context, t target, m mutant, name string) verdict {
	start := time.Now()
	overlay, err := b.overlay(m, name)
	if err != nil {
		return verdict{err: err}
	}
	for _, j := range t.judges {
		failure, err := b.tests(ctx, j, overlay, name)
		var broken *buildError
		switch {
		case errors.As(err, &broken) && strings.Contains(broken.output, "/"+t.pkg):
			return verdict{outcome: senseless}
		case err != nil:
			return verdict{err: fmt.Errorf("%s\n%w", m, err)}
		case failure != "":
			return verdict{outcome: killed, by: j.pkg, took: time.Since(start)}
		}
	}
	return verdict{outcome: survived, took: time.Since(start)}
}

// overlay writes the file with the fault, and what tells the compiler to take
// it for the one in the tree.
func (b *bench) overlay(m mutant, name string) (string, error) {
	original := filepath.Join(b.root, filepath.FromSlash(m.file))
	src, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	faulty := filepath.Join(b.tmp, name+".go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {original: faulty}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(b.tmp, name+".json")
	return overlay, errors.Join(os.WriteFile(faulty, m.apply(src), 0o600), os.WriteFile(overlay, text, 0o600))
}

// buildError says that the tests could not be built.
type buildError struct{ output string }

func (e *buildError) Error() string { return "the tests do not build:\n" + e.output }

// tests builds and runs the tests of a package; failure is what they printed
// if they failed. The error is a *buildError, or that of the run as a whole.
func (b *bench) tests(ctx context.Context, j judge, overlay, name string) (failure string, err error) {
	binary := filepath.Join(b.tmp, name+".test")
	defer os.Remove(binary)
	build := exec.CommandContext(ctx, "go", "test", "-c", "-p", "1", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./"+j.pkg)
	build.Dir = b.root
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.Join(ctx.Err(), &buildError{string(out)})
	}
	args := append(slices.Clone(b.exec), within(cpuTime, binary, "-test.failfast", "-test.timeout="+patience.String(), "-test.run="+j.run)...)
	if b.uses(j.pkg, "pgregory.net/rapid") {
		args = append(args, "-rapid.seed=1", "-rapid.nofailfile")
	}
	return b.execute(ctx, j.pkg, args)
}

// within is a command that is killed when it has taken so much CPU time.
func within(cpu time.Duration, command ...string) []string {
	limit := fmt.Sprintf(`ulimit -t %.0f && exec "$0" "$@"`, cpu.Seconds())
	return append([]string{"sh", "-c", limit}, command...)
}

// execute runs tests where they can do no harm, and ends them, with all that
// they started, when they take too long.
func (b *bench) execute(ctx context.Context, pkg string, args []string) (failure string, err error) {
	dir, err := b.workplace(pkg)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	limited, cancel := context.WithTimeout(ctx, patience+10*time.Second)
	defer cancel()
	test := exec.CommandContext(limited, args[0], args[1:]...)
	test.Dir = dir
	test.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	test.Cancel = func() error { return syscall.Kill(-test.Process.Pid, syscall.SIGKILL) }
	test.WaitDelay = time.Second
	out, err := test.CombinedOutput()
	if err != nil && ctx.Err() == nil {
		return fmt.Sprintf("%v\n%s", err, out), nil
	}
	return "", err
}

// workplace is a new directory with the package's test data, where tests can
// write what they like.
func (b *bench) workplace(pkg string) (string, error) {
	dir, err := os.MkdirTemp(b.tmp, "work")
	if err != nil {
		return "", err
	}
	err = os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(filepath.Join(b.root, pkg, "testdata")))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return dir, err
}

// uses reports whether a package's tests import another package.
func (b *bench) uses(pkg, other string) bool {
	names, _ := filepath.Glob(filepath.Join(b.root, pkg, "*_test.go")) // the pattern is well-formed
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err == nil && bytes.Contains(src, []byte(`"`+other+`"`)) {
			return true
		}
	}
	return false
}
