//go:build !unix

package cli

import "os"

// stopSignals end a run: it detaches, prints its summary and exits with 0.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }

// summarySignals ask a run for its summary; here there are none.
func summarySignals() []os.Signal { return nil }
