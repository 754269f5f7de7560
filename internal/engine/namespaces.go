package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// namespace is a network namespace, by a file that stands for it.
type namespace struct{ name, path string }

// namespaces are the network namespaces that have a name, as by ip netns, or a process that is to be
// seen; first that of this process.
func namespaces() (all []namespace, err error) {
	type number struct{ device, inode uint64 }
	known := map[number]bool{}
	add := func(name, path string) error {
		var s unix.Stat_t
		if err := unix.Stat(path, &s); err != nil {
			return &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		if n := (number{s.Dev, s.Ino}); !known[n] {
			known[n] = true
			all = append(all, namespace{name, path})
		}
		return nil
	}
	if err := add("-", "/proc/thread-self/ns/net"); err != nil {
		return nil, err
	}
	own := all[0]
	named, _ := filepath.Glob("/run/netns/*") // the pattern is right
	slices.Sort(named)
	for _, path := range named {
		_ = add(filepath.Base(path), path) // what has gone meanwhile is none
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	slices.SortFunc(processes, func(a, b string) int { return cmp.Compare(pidOf(a), pidOf(b)) })
	for _, path := range processes {
		_ = add("pid "+strconv.Itoa(pidOf(path)), path)
	}
	all[0] = own
	return all, nil
}

// pidOf is the process of /proc/PID/ns/net.
func pidOf(path string) int {
	pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return pid
}

// ListEverywhere is List of all interfaces in all network namespaces that have a name or a process. It
// takes CAP_SYS_ADMIN.
func ListEverywhere() (all []run.Attached, err error) {
	spaces, err := namespaces()
	if err != nil {
		return nil, err
	}
	for i, ns := range spaces {
		var found []run.Attached
		if i == 0 { // this thread is there
			found, err = List("")
		} else {
			found, err = listIn(ns)
		}
		if errors.Is(err, fs.ErrNotExist) { // its last process is gone
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range found {
			p.Namespace = ns.name
			all = append(all, p)
		}
	}
	return all, nil
}

// listIn is List in a network namespace, by a thread that ends there.
func listIn(ns namespace) (found []run.Attached, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: no other goroutine gets the thread
		fd, openErr := unix.Open(ns.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if openErr != nil {
			err = &fs.PathError{Op: "open", Path: ns.path, Err: openErr}
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter the network namespace %s: %w", ns.name, err)
			return
		}
		found, err = List("")
	}()
	<-done
	return found, err
}

// TimePrograms has the kernel measure how long eBPF programs run, all of the machine, until what it
// gives is closed, or the process ends (BPF_ENABLE_STATS, include/uapi/linux/bpf.h).
func TimePrograms() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("switch the kernel's run-time statistics on: %w", err)
	}
	return c, nil
}

// RunTime is how long a program, by its number, has run while the kernel measured, and how often.
func RunTime(program uint32) (all time.Duration, runs uint64, err error) {
	p, err := ebpf.NewProgramFromID(ebpf.ProgramID(program))
	if err != nil {
		return 0, 0, fmt.Errorf("open program %d: %w", program, err)
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	s, err := p.Stats()
	if err != nil {
		return 0, 0, fmt.Errorf("read how long program %d has run: %w", program, err)
	}
	return s.Runtime, s.RunCount, nil
}
