//go:build unix

package cli

import (
	"os"
	"syscall"
)

// stopSignals end a run: it detaches, prints its summary and exits with 0.
// SIGHUP is a closed terminal.
func stopSignals() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
}

// summarySignals ask a run for its summary; it goes on.
func summarySignals() []os.Signal { return []os.Signal{syscall.SIGUSR1} }
