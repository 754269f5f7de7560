package csource

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoClang: what is missing is told, and how to get it.
func TestNoClang(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Build(t.Context(), "int x;")
	var absent *NoClangError
	if !errors.As(err, &absent) {
		t.Fatalf("got %v", err)
	}
	if want := "compile the program with clang: clang is not here"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if !strings.Contains(absent.Hint(), "apt install clang libbpf-dev") {
		t.Errorf("hint: %s", absent.Hint())
	}
}

// TestNoHeaders: clang without libbpf's headers is not enough.
func TestNoHeaders(t *testing.T) {
	_, err := Build(t.Context(), "#include <bpf/no_such_header.h>\n")
	var absent *NoClangError
	if !errors.As(err, &absent) || absent.Missing != "bpf/no_such_header.h" {
		t.Errorf("got %v", err)
	}
}

// TestClangRejects: what clang says is kept, its first error told.
func TestClangRejects(t *testing.T) {
	_, err := Build(t.Context(), "int x\nint y;\n")
	var rejected *CompileError
	if !errors.As(err, &rejected) {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "expected ';'") || !strings.Contains(rejected.Output, "1 error generated") {
		t.Errorf("%q says %q", err, rejected.Output)
	}
}

// TestStopped: a context ends clang.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, "int x;"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestNothingLeft: no file stays behind, neither where the program runs nor
// among the temporary ones.
func TestNothingLeft(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("TMPDIR", dir)
	if elf, err := Build(t.Context(), "int x;"); err != nil || len(elf) == 0 {
		t.Fatalf("%d bytes, %v", len(elf), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "-")); err == nil {
		t.Error("a file named - was written")
	}
}
