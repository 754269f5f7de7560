package capture

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// Output is a file that appears whole or not at all: it is written beside its place, and takes
// it when it is complete. Where the file system can, it has no name until then, so that a process
// that is killed leaves none. What is no regular file, as a pipe or /dev/null, is written to as it
// is.
type Output struct {
	file *os.File
	// path is the place, temporary where the file is until then, "" if it is in place or has no name.
	path, temporary string
	// nameless: it has no name until it is complete, and goes with its process.
	nameless bool
	// was is the file whose place is taken, or nil.
	was fs.FileInfo
	z   *gzip.Writer
}

// Create begins a file. If its name ends with .gz it is compressed by gzip. The errors are
// those of package os.
func Create(path string) (*Output, error) {
	o := &Output{path: path}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "write", Path: path, Err: errors.New("it is a folder")}
	case err == nil && (!info.Mode().IsRegular() || isDescriptor(path)):
		o.file, err = os.OpenFile(path, os.O_WRONLY, 0)
	case err == nil:
		o.was = info
		err = o.beside()
	case errors.Is(err, fs.ErrNotExist):
		err = o.beside()
	}
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(path, ".gz") {
		o.z = gzip.NewWriter(o.file)
	}
	return o, nil
}

// isDescriptor reports whether a path is that of something that a process has open.
func isDescriptor(path string) bool {
	for _, folder := range []string{"/dev/fd/", "/proc/", "/dev/std"} {
		if strings.HasPrefix(path, folder) {
			return true
		}
	}
	return false
}

// beside begins a file beside the place, in the folder where a symbolic link leads to.
func (o *Output) beside() (err error) {
	if o.path, err = target(o.path); err != nil {
		return err
	}
	if o.file = openNameless(o.path); o.file != nil {
		o.nameless = true
	} else if err = o.named(func(path string) (err error) {
		// Readable too: what is written is a place where nothing is read, but may be again.
		o.file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		return err
	}); err != nil {
		return err
	}
	if o.was != nil {
		if err := keepOwner(o.file, o.was); err != nil {
			return errors.Join(err, o.Abort())
		}
	}
	return nil
}

// named makes the file beside its place, by a name that nobody has.
func (o *Output) named(make func(path string) error) (err error) {
	for range 100 {
		path := filepath.Join(filepath.Dir(o.path), fmt.Sprintf(".%s.%08x", filepath.Base(o.path), rand.Uint32()))
		if err = make(path); err == nil {
			o.temporary = path
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return err
}

// mostLinks is how many symbolic links lead to a file at most, as on Linux.
const mostLinks = 40

// target is where symbolic links lead to, whether there is a file or not.
func target(path string) (string, error) {
	for range mostLinks {
		to, err := os.Readlink(path)
		if err != nil { // it is none, or not there
			return path, nil
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", &fs.PathError{Op: "write", Path: path, Err: errors.New("too many symbolic links")}
}

// Write writes to the file.
func (o *Output) Write(p []byte) (int, error) {
	if o.z != nil {
		return o.z.Write(p)
	}
	return o.file.Write(p)
}

// Seekable is the file, if what was written can be written again, else what only writes.
func (o *Output) Seekable() io.Writer {
	if o.z == nil && (o.nameless || o.temporary != "") {
		return o.file
	}
	return o
}

// Commit puts the file, which is complete, in its place.
func (o *Output) Commit() error {
	var err error
	if o.z != nil {
		err = o.z.Close()
	}
	if err == nil && o.was != nil {
		err = o.file.Chmod(o.was.Mode())
	}
	if err == nil && o.nameless {
		err = o.name()
	}
	if err != nil {
		return errors.Join(err, o.Abort())
	}
	if err := o.file.Close(); err != nil {
		return errors.Join(err, o.remove())
	}
	if o.temporary == "" {
		return nil
	}
	if err := os.Rename(o.temporary, o.path); err != nil {
		return errors.Join(err, o.remove())
	}
	return nil
}

// name gives a nameless file its place where nothing is there, or a name beside it: a link takes no
// other file's place.
func (o *Output) name() error {
	err := linkNameless(o.file, o.path)
	if err == nil {
		o.temporary = o.path
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.named(func(path string) error { return linkNameless(o.file, path) })
}

// Abort leaves everything as it was, as far as the file is not in place.
func (o *Output) Abort() error { return errors.Join(o.file.Close(), o.remove()) }

func (o *Output) remove() error {
	if o.temporary == "" {
		return nil
	}
	return os.Remove(o.temporary)
}
