//go:build !linux

package cli

import (
	"errors"
	"os"
)

// elevated reports whether the process has privileges that are not its caller's own.
func elevated() bool { return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() }

// distrust keeps an elevated process from its caller's environment.
func distrust() error {
	os.Clearenv()
	return nil
}

// asCaller does nothing: here nothing takes a privilege, so none is given to it.
func asCaller(func() error) error {
	return errors.New("no file is opened in a set-uid or set-gid process")
}
