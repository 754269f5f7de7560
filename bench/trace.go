package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tracer tells how long calls of bpf(BPF_LINK_CREATE) take, by the kernel's
// own tracing: what it watches runs at its own speed, which it would not
// under strace.
type tracer struct {
	mount int    // a tracefs that is mounted nowhere
	dir   string // a trace buffer of our own in it
}

// newTracer starts tracing.
func newTracer() (_ *tracer, err error) {
	t := &tracer{mount: -1}
	defer func() {
		if err != nil {
			err = fmt.Errorf("trace system calls: %w", err)
			t.close()
		}
	}()
	fs, err := unix.Fsopen("tracefs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	if t.mount, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0); err != nil {
		return nil, err
	}
	root := fmt.Sprintf("/proc/self/fd/%d", t.mount)
	t.dir = filepath.Join(root, "instances", fmt.Sprintf("repacket-bench-%d", os.Getpid()))
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return nil, err
	}
	for _, set := range [][2]string{
		{"events/syscalls/sys_enter_bpf/filter", fmt.Sprintf("cmd == %d", unix.BPF_LINK_CREATE)},
		{"events/syscalls/sys_enter_bpf/enable", "1"},
		{"events/syscalls/sys_exit_bpf/enable", "1"},
	} {
		if err := t.write(set[0], set[1]); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tracer) write(file, text string) error {
	return os.WriteFile(filepath.Join(t.dir, file), []byte(text), 0)
}

func (t *tracer) close() {
	if t.dir != "" {
		_ = t.write("events/enable", "0") // a buffer in use cannot be removed
		_ = os.Remove(t.dir)
	}
	if t.mount >= 0 {
		_ = unix.Close(t.mount)
	}
}

// forget empties the buffer.
func (t *tracer) forget() error { return t.write("trace", "") }

// A line of the trace: who, when, and the call or what it returned.
var traceLine = regexp.MustCompile(`-(\d+) +\[\d+\] +\S+ +(\d+)\.(\d{6}): sys_bpf(\(| ->)`)

// longest is the longest call of a running process since forget. Before the
// call that attaches, the library tries one that fails at once.
func (t *tracer) longest(pid int) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return 0, err
	}
	entered := map[string]time.Duration{} // by thread
	var most time.Duration
	for line := range strings.Lines(string(text)) {
		m := traceLine.FindStringSubmatch(line)
		if m == nil || !hasThread(pid, m[1]) {
			continue
		}
		seconds, _ := strconv.ParseInt(m[2], 10, 64)
		micro, _ := strconv.ParseInt(m[3], 10, 64)
		at := time.Duration(seconds)*time.Second + time.Duration(micro)*time.Microsecond
		if m[4] == "(" {
			entered[m[1]] = at
		} else if from, ok := entered[m[1]]; ok {
			most = max(most, at-from)
			delete(entered, m[1])
		}
	}
	if most == 0 {
		return 0, errors.New("the trace shows no call that attaches")
	}
	return most, nil
}

func hasThread(pid int, thread string) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%s", pid, thread))
	return err == nil
}
