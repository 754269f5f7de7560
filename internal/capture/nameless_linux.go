package capture

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openNameless makes a file without a name in the folder of a path, or is nil where the file system
// has no such files, or they could not be named. It is gone once it is closed (O_TMPFILE, open(2)).
func openNameless(path string) *os.File {
	fd, err := unix.Open(filepath.Dir(path), unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), path)
	if _, err := os.Stat(descriptorPath(f)); err != nil {
		_ = f.Close() // nothing is in it
		return nil
	}
	return f
}

// linkNameless gives such a file a name that is not taken. By its path in /proc that needs no
// capability.
func linkNameless(f *os.File, path string) error {
	if err := unix.Linkat(unix.AT_FDCWD, descriptorPath(f), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: path, Err: err}
	}
	return nil
}

func descriptorPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
