//go:build !linux

package capture

import (
	"errors"
	"os"
)

// openNameless is nil: files have names here.
func openNameless(string) *os.File { return nil }

func linkNameless(*os.File, string) error { return errors.ErrUnsupported }
