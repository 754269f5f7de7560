// Command guest is the first process of the virtual machine, and the only
// program there apart from the tests and the few that they call. It mounts
// what a Linux system has mounted, loads modules, runs the tests one after the
// other and switches the machine off. Called as clang it has clang run
// outside.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"repacket/test/kernels/job"
)

func main() {
	switch {
	case filepath.Base(os.Args[0]) == job.Compiler:
		os.Exit(callCompiler())
	case os.Getpid() != 1:
		work()
	default:
		beFirst()
	}
}

// beFirst is the first process's life.
func beFirst() {
	err := mount()
	if err == nil {
		err = supervise()
	}
	if err != nil {
		complain(err)
	}
	unix.Sync()
	// If this fails the process ends, the kernel panics, and that ends the
	// machine too.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// complain writes to the console.
func complain(err error) {
	fmt.Fprintln(os.Stderr, "guest:", err)
}

// mounts are the file systems of every Linux system.
var mounts = []struct{ kind, at string }{
	{"proc", "/proc"},
	{"sysfs", "/sys"},
	{"devtmpfs", "/dev"},
	{"devpts", "/dev/pts"},
	{"tmpfs", "/dev/shm"},
	{"tmpfs", "/run"},
	{"tmpfs", "/tmp"},
	{"bpf", "/sys/fs/bpf"},
}

func mount() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return os.Chmod("/tmp", os.ModeSticky|0o777)
}

// supervise starts the worker and reaps whatever dies, as a first process
// must: a test that waits for an orphan's end waits for its corpse to go. The
// worker is a process of its own because it waits for its children by itself.
func supervise() error {
	worker, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Env:   []string{"PATH=/bin", "HOME=/root", "TMPDIR=/tmp"},
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == worker.Pid:
			return nil
		}
	}
}
