//go:build !unix

package cli

import "os"

// openUnpolled opens a file to be read; here none is polled.
func openUnpolled(path string, _ bool) (*os.File, error) { return os.Open(path) }
