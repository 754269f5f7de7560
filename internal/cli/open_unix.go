//go:build unix

package cli

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminalWidth is how many columns a terminal has, or 0 if w is none.
func terminalWidth(w io.Writer) int { return int(terminalSize(w).Col) }

// terminalHeight is how many lines it has, or 0.
func terminalHeight(w io.Writer) int { return int(terminalSize(w).Row) }

func terminalSize(w io.Writer) unix.Winsize {
	f, ok := w.(*os.File)
	if !ok {
		return unix.Winsize{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return unix.Winsize{}
	}
	return *size
}

// openUnpolled opens a file to be read, and with wait waits for the other end of a pipe.
// Package os would ask the file whether it can be polled, in a system call that the
// scheduler does not know to wait: on a mount that does not answer, all goroutines would
// stop, those that hear signals too.
func openUnpolled(path string, wait bool) (*os.File, error) {
	flags := syscall.O_RDONLY | syscall.O_CLOEXEC
	if !wait {
		flags |= syscall.O_NONBLOCK
	}
	fd, err := syscall.Open(path, flags, 0)
	for errors.Is(err, syscall.EINTR) {
		fd, err = syscall.Open(path, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if err := syscall.SetNonblock(fd, false); err != nil { // NewFile polls what does not block
		return nil, errors.Join(os.NewSyscallError("fcntl", err), syscall.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}
