//go:build !linux

package sandbox

// Enter does nothing: rules run on Linux alone.
func Enter(Need) (kept []string, err error) { return nil, nil }
