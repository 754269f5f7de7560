package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"repacket/test/kernels/job"
)

// compile runs clang for a test in the virtual machine, and answers with one
// line.
func compile(ctx context.Context, request string, to io.Writer) error {
	var want job.Compilation
	if err := json.Unmarshal([]byte(request), &want); err != nil {
		return fmt.Errorf("what is to be compiled: %w", err)
	}
	got, err := runCompiler(ctx, want)
	if err != nil {
		return fmt.Errorf("compile for the virtual machine: %w", err)
	}
	return json.NewEncoder(to).Encode(got)
}

// runCompiler runs clang in a folder of its own, which holds the source files
// and, afterwards, what clang wrote. Only names inside that folder will do.
func runCompiler(ctx context.Context, want job.Compilation) (got job.Compiled, err error) {
	dir, err := os.MkdirTemp("", "kernels")
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return got, err
	}
	defer root.Close()
	for name, data := range want.Files {
		if err := root.WriteFile(name, data, 0o600); err != nil {
			return got, err
		}
	}
	cmd := exec.CommandContext(ctx, job.Compiler, want.Args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(want.Stdin), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return got, err
	}
	got = job.Compiled{Status: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	got.Files, err = written(root, want.Files)
	return got, err
}

// written reads the files that were not there before.
func written(root *os.Root, before map[string][]byte) (map[string][]byte, error) {
	entries, err := os.ReadDir(root.Name())
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if _, known := before[e.Name()]; known {
			continue
		}
		if files[e.Name()], err = root.ReadFile(e.Name()); err != nil {
			return nil, err
		}
	}
	return files, nil
}
