//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// stopSignals end a run: it detaches, prints its summary and exits with 0.
func stopSignals() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT}
}

// reloadSignals ask a run to read its rules again; it goes on. SIGHUP is also
// what a process gets whose terminal is closed, see hungUp.
func reloadSignals() []os.Signal { return []os.Signal{syscall.SIGHUP} }

// summarySignals ask a run for its summary; it goes on.
func summarySignals() []os.Signal { return []os.Signal{syscall.SIGUSR1} }

// hungUp tells, whenever it is asked, whether the terminal is gone that the
// process has now. What runs without one, or is to outlive it (nohup), never
// loses it.
func hungUp() func() bool {
	if signal.Ignored(syscall.SIGHUP) || !hasTerminal() {
		return func() bool { return false }
	}
	return func() bool { return !hasTerminal() }
}

// hasTerminal: /dev/tty is the terminal of whoever opens it.
func hasTerminal() bool {
	return withCallersRights(func() error {
		f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		return f.Close()
	}) == nil
}

// ignoreBrokenPipes: a write to stdout or stderr that nobody reads brings SIGPIPE, which
// ends a process; where that is ignored the write fails with EPIPE.
func ignoreBrokenPipes() { signal.Ignore(syscall.SIGPIPE) }
