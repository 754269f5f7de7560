package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that no file names. It goes when Close is
// called or when the process dies.
type Namespace struct {
	ns *os.File
	// starts carries work to the one thread from which children are started.
	starts chan func()
	closed chan struct{}
	close  sync.Once
}

// NewNamespace makes a network namespace with nothing in it but the loopback
// interface, which is up.
func NewNamespace() (*Namespace, error) {
	n := &Namespace{starts: make(chan func()), closed: make(chan struct{})}
	ready := make(chan error)
	go n.serve(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	if err := n.Do(loopbackUp); err != nil {
		return nil, errors.Join(fmt.Errorf("set up a network namespace: %w", err), n.Close())
	}
	return n, nil
}

// serve makes the namespace on a thread of its own and then starts children
// from it. The thread is never unlocked, so it ends with this function, and
// with it go the children that asked for it (see Cmd).
func (n *Namespace) serve(ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		// The runtime never ends the process's first thread. This goroutine
		// keeps it busy until the next one stands on another thread.
		defer runtime.UnlockOSThread()
		moved := make(chan error)
		go n.serve(moved)
		ready <- <-moved
		return
	}
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		n.ns, err = os.Open(threadNamespace)
	}
	ready <- err
	if err != nil {
		return
	}
	for {
		select {
		case start := <-n.starts:
			start()
		case <-n.closed:
			return
		}
	}
}

// threadNamespace is the network namespace of the thread that opens it.
const threadNamespace = "/proc/thread-self/ns/net"

// OnThread runs f on the namespace's own thread, which lives as long as the
// namespace: the parent-death signal of a child follows the thread that started it.
func (n *Namespace) OnThread(f func() error) error {
	done := make(chan error)
	select {
	case n.starts <- func() { done <- f() }:
		return <-done
	case <-n.closed:
		return errors.New("the network namespace is closed")
	}
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// Do calls f inside the namespace and returns f's error. f runs in the calling
// goroutine, so a test may fail in it, and calls of Do may be nested. What f
// opens (sockets, links) stays in the namespace after Do; a goroutine that f
// starts is not inside. f must not unlock the thread or drop privileges.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(threadNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			// Going on would change the interfaces of the wrong namespace.
			panic(fmt.Sprintf("lab: the way back from a network namespace is lost: %v", err))
		}
		_ = home.Close()
		runtime.UnlockOSThread()
	}()
	if err := unix.Setns(n.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return f()
}

// FD is the namespace's file descriptor, for setns(2) and netlink. It is -1
// after Close.
func (n *Namespace) FD() int { return int(n.ns.Fd()) }

// Path names the namespace for other processes, as in nsenter --net=PATH. It
// holds until Close or until this process ends.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.FD()) }

// Close gives the namespace up and kills the children that Command started and
// that still run. The kernel removes the namespace and all in it once its last
// process and socket are gone. Closing again does nothing.
func (n *Namespace) Close() error {
	var err error
	n.close.Do(func() {
		close(n.closed)
		err = n.ns.Close()
	})
	return err
}
