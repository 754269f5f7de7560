//go:build !linux

package cli

// reloadingState says that the rules are being read again.
func reloadingState() string { return "RELOADING=1" }
