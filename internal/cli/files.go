package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// opener opens a file to be read that is not longer than limit in bytes, as far as that
// can be known before. The errors are errTooLong, errNotRegular and those of package os.
type opener func(path string, limit int64) (io.ReadCloser, error)

var (
	errTooLong    = errors.New("too long")
	errNotRegular = errors.New("only a regular file can be read again")
)

// openOnce opens a file of rules or of rows, which may be a pipe, with the rights of
// the caller.
func (a *app) openOnce(path string, limit int64) (io.ReadCloser, error) {
	f, err := a.openFile(path, limit, false)
	if err != nil { // not a nil file in an interface
		return nil, err
	}
	return callersFile{a.asCaller(f), f}, nil
}

// callersFile is a file that is read with the rights of the caller.
type callersFile struct {
	io.Reader
	io.Closer
}

// asCaller reads with the rights of the caller. Files of /proc tell more to whoever may
// trace a process (proc(5)), and some ask for that when they are read, not when they are
// opened, which for stdin even the caller has done.
func (a *app) asCaller(r io.Reader) io.Reader {
	if !a.env.Elevated {
		return r
	}
	return readerFunc(func(p []byte) (n int, err error) {
		done := a.env.AsCaller(func() error {
			n, err = r.Read(p)
			return nil
		})
		return n, cmp.Or(done, err)
	})
}

// readerFunc is a function that reads.
type readerFunc func(p []byte) (int, error)

func (read readerFunc) Read(p []byte) (int, error) { return read(p) }

// openFile is openOnce. With again it does not wait for the other end of a pipe, and
// the error for what is no regular file is errNotRegular.
func (a *app) openFile(path string, limit int64, again bool) (f *os.File, err error) {
	err = a.env.AsCaller(func() (err error) {
		f, err = openUnpolled(path, !again)
		return err
	})
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = errors.New("it is a folder")
	case again && !info.Mode().IsRegular():
		err = errNotRegular
	case info.Size() > limit:
		err = errTooLong
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

// writeFile creates or empties a file and writes to it, with the rights of the caller.
func (a *app) writeFile(path string, content []byte) error {
	return a.env.AsCaller(func() error { return os.WriteFile(path, content, 0o644) })
}

// maxStuck is how many operations on files of dead mounts may wait at the same time.
const maxStuck = 8

// rereader opens files that are read again while rules run. A file on a mount that does
// not answer is given up, so that the next signal finds somebody who heeds it.
type rereader struct {
	open     func(path string, limit int64) (*os.File, error)
	asCaller func(io.Reader) io.Reader // of app
	// patience is how long one operation may take.
	patience time.Duration
	// stuck are the operations that were given up and have not come back: nothing
	// but the kernel can end them.
	stuck atomic.Int32
}

func (r *rereader) reopen(path string, limit int64) (io.ReadCloser, error) {
	f, err := within(r, func() (*os.File, error) { return r.open(path, limit) }, func(f *os.File) {
		if f != nil {
			_ = f.Close()
		}
	})
	if err != nil {
		return nil, err
	}
	return &reread{r: r, f: f, from: r.asCaller(f)}, nil
}

// within does something that may take for ever. If it is given up, late gets what it
// comes back with, which may be nothing.
func within[T any](r *rereader, do func() (T, error), late func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var none T
	if r.stuck.Load() >= maxStuck {
		return none, fmt.Errorf("files that were to be read again have not answered %d times, and still do not", maxStuck)
	}
	done := make(chan result, 1)
	go func() {
		value, err := do()
		done <- result{value, err}
	}()
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	select {
	case got := <-done:
		return got.value, got.err
	case <-timer.C:
	}
	r.stuck.Add(1)
	go func() {
		got := <-done
		r.stuck.Add(-1)
		late(got.value)
	}()
	return none, fmt.Errorf("it does not answer: %w", os.ErrDeadlineExceeded)
}

// reread is a file that is read again. It is dead when an operation was given up.
type reread struct {
	r    *rereader
	f    *os.File
	from io.Reader // f, with the rights of the caller
	rest []byte    // what was read and not yet asked for
	dead error
}

// rereadSize is how many bytes are read at once: it takes a goroutine each time.
const rereadSize = 256 << 10

func (f *reread) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		if f.dead != nil {
			return 0, f.dead
		}
		// The buffer is not used again: what was given up may write to it yet.
		f.rest, f.dead = within(f.r, func() ([]byte, error) {
			chunk := make([]byte, rereadSize)
			n, err := f.from.Read(chunk)
			return chunk[:n], err
		}, func([]byte) { _ = f.f.Close() })
		if len(f.rest) == 0 {
			return 0, f.dead
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// Close closes the file, or leaves that to the operation that was given up.
func (f *reread) Close() error {
	if errors.Is(f.dead, os.ErrDeadlineExceeded) {
		return nil
	}
	_, err := within(f.r, func() (struct{}, error) { return struct{}{}, f.f.Close() }, func(struct{}) {})
	return err
}
