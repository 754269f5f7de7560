//go:build !unix

package cli

import (
	"io"
	"os"
)

// terminalWidth is not known here.
func terminalWidth(io.Writer) int { return 0 }

// terminalHeight is not known either.
func terminalHeight(io.Writer) int { return 0 }

// openUnpolled opens a file to be read; here none is polled.
func openUnpolled(path string, _ bool) (*os.File, error) { return os.Open(path) }
