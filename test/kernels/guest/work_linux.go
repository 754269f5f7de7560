package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/kernels/job"
)

// line is the serial line to the machine outside.
type line struct {
	sync.Mutex // one writer at a time
	file       *os.File
	in         *bufio.Reader
}

func (l *line) Write(b []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.file.Write(b)
}

// work does the job.
func work() {
	l, err := openLine()
	if err != nil {
		complain(err)
		return
	}
	defer l.file.Close()
	if err := workOn(l); err != nil {
		fmt.Fprintln(l, job.Broken, err)
	}
}

// openLine opens the serial line and makes it carry bytes as they are, both
// ways.
func openLine() (*line, error) {
	f, err := os.OpenFile(job.Line, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", job.Line, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: %w", job.Line, err)
	}
	return &line{file: f, in: bufio.NewReader(f)}, nil
}

func workOn(l *line) error {
	text, err := os.ReadFile(job.Path)
	if err != nil {
		return err
	}
	var j job.Job
	if err := json.Unmarshal(text, &j); err != nil {
		return fmt.Errorf("%s: %w", job.Path, err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	fmt.Fprintln(l, job.Release, unix.ByteSliceToString(name.Release[:]))
	for _, path := range j.Modules {
		if err := load(path); err != nil {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	if err := serveCompiler(l); err != nil {
		return err
	}
	for _, t := range j.Tests {
		run(l, t)
	}
	fmt.Fprintln(l, job.Done)
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// run runs one package's tests. Their output is a pipe, as under go test, and
// not a terminal. What they leave running may hold it open; it is cut off then.
func run(l io.Writer, t job.Test) {
	fmt.Fprintln(l, job.Begin, t.Package)
	cmd := exec.Command(t.Binary, t.Args...)
	cmd.Dir = t.Dir
	cmd.Env = append(os.Environ(), t.Env...)
	cmd.Stdout, cmd.Stderr = l, l
	cmd.WaitDelay = 30 * time.Second
	result := "ok"
	if err := cmd.Run(); err != nil {
		result = err.Error()
	}
	// The output may lack its last newline.
	fmt.Fprintf(l, "\n%s %s\n", job.End, result)
}
