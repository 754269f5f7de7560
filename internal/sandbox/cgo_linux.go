//go:build cgo

package sandbox

// hasCgo: the C library may have threads of its own (syscall.AllThreadsSyscall).
const hasCgo = true
