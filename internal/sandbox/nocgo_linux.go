//go:build !cgo

package sandbox

// hasCgo: all threads are the runtime's.
const hasCgo = false
