package csource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
)

// NoClangError is returned when what it takes to compile is not installed.
type NoClangError struct {
	// Missing is "clang", or the header that was not found.
	Missing string
	Err     error
}

func (e *NoClangError) Error() string {
	return fmt.Sprintf("compile the program with clang: %s is not here", e.Missing)
}

// Hint says how to get it.
func (e *NoClangError) Hint() string {
	return "apt install clang libbpf-dev, or use the built-in compiler, which needs neither"
}

func (e *NoClangError) Unwrap() error { return e.Err }

// CompileError is returned when clang rejects the program. It must never be
// seen for a program that Print wrote.
type CompileError struct {
	Output string // what clang said
	Err    error
}

func (e *CompileError) Error() string {
	return fmt.Sprintf("compile the program with clang: %v: %s", e.Err, firstError(e.Output))
}

func (e *CompileError) Unwrap() error { return e.Err }

// flags are those that every program is compiled with. Debian and Ubuntu keep
// asm/types.h in a folder of the architecture, where clang does not look for
// it when it compiles for BPF.
func flags() []string {
	architecture := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return []string{"-O2", "-g", "-Wall", "-Wextra", "-target", "bpf", "-idirafter", "/usr/include/" + architecture + "-linux-gnu"}
}

// Build compiles a program that Print wrote to an ELF object, without any
// file. The error is a *NoClangError or a *CompileError, or that of the context.
func Build(ctx context.Context, source string) (elf []byte, err error) {
	return compile(ctx, source)
}

func compile(ctx context.Context, source string, more ...string) ([]byte, error) {
	clang, err := exec.LookPath("clang")
	if err != nil {
		return nil, &NoClangError{"clang", err}
	}
	args := append(flags(), more...)
	cmd := exec.CommandContext(ctx, clang, append(args, "-x", "c", "-c", "-o", "-", "-")...)
	var object, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(source), &object, &said
	if err := cmd.Run(); err != nil {
		return nil, explain(ctx, err, said.String())
	}
	return object.Bytes(), nil
}

// explain finds out what was wrong when clang failed.
func explain(ctx context.Context, err error, said string) error {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("compile the program with clang: %w", ctx.Err())
	case !errors.As(err, &exit):
		return fmt.Errorf("run clang: %w", err)
	}
	if before, _, found := strings.Cut(said, "' file not found"); found {
		return &NoClangError{before[strings.LastIndex(before, "'")+1:], err}
	}
	return &CompileError{said, err}
}

// firstError is the first line that says what is wrong.
func firstError(said string) string {
	for _, line := range strings.Split(said, "\n") {
		if strings.Contains(line, "error:") {
			return line
		}
	}
	return strings.TrimSpace(said)
}
