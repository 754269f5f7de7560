//go:build !linux

package cli

func (noKernel) Doctor(string) ([]Finding, error) { return nil, errNeedsLinux }
