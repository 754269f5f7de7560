//go:build !unix

package cli

import "os"

// stopSignals end a run: it detaches, prints its summary and exits with 0.
func stopSignals() []os.Signal { return []os.Signal{os.Interrupt} }

// reloadSignals ask a run to read its rules again; here there are none.
func reloadSignals() []os.Signal { return nil }

// hungUp: no signal tells of it here.
func hungUp() func() bool { return func() bool { return false } }

// summarySignals ask a run for its summary; here there are none.
func summarySignals() []os.Signal { return nil }

// ignoreBrokenPipes: no signal comes of them here.
func ignoreBrokenPipes() {}
