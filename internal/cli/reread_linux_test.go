package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// A CSV file in whose place a pipe has come is not waited for, and a file that takes
// its place in turn is read.
func TestReloadDoesNotWaitForAPipe(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	rows := filepath.Join(filepath.Dir(r.path), "rows.csv")
	writeRows := func() { must(t, os.WriteFile(rows, []byte("old\n192.0.2.1\n"), 0o600)) }
	r.write("if ip_dest @old from rows.csv")
	writeRows()
	r.begin()
	must(t, os.Remove(rows))
	must(t, unix.Mkfifo(rows, 0o600))
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "the rules before go on\n")
	must(t, os.Remove(rows))
	writeRows()
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "as it is now")
	r.end("eth1: native XDP\nrepacket: error: FILE:1:22: rows.csv: only a regular file can be read again\n" +
		"    if ip_dest @old from rows.csv\n" + strings.Repeat(" ", 25) + "^~~~~~~~\n" +
		"eth1: the rules before go on\neth1: replaced by the rules of FILE as it is now\n")
}

// The requests of FUSE that a file system of one file gets (linux/fuse.h).
const (
	fuseLookup  = 1
	fuseGetattr = 3
	fuseOpen    = 14
	fuseRead    = 15
	fuseInit    = 26
)

// deadMount is a file system with the file rules, which can stop to answer one kind
// of request.
type deadMount struct {
	file    string
	fd      int
	mu      sync.Mutex
	dead    uint32   // the request that is not answered, or 0
	waiting []uint64 // the numbers of those that were not
}

func (m *deadMount) die(request uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = request
}

// revive answers again, and to what waits that it has failed.
func (m *deadMount) revive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = 0
	for _, unique := range m.waiting {
		m.answer(unique, unix.EIO, nil)
	}
}

// takes reports whether a request is to be answered.
func (m *deadMount) takes(kind uint32, unique uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kind == m.dead {
		m.waiting = append(m.waiting, unique)
	}
	return kind != m.dead
}

// answer sends an answer, which begins with struct fuse_out_header.
func (m *deadMount) answer(unique uint64, failed unix.Errno, body []byte) {
	out := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	out = binary.NativeEndian.AppendUint32(out, uint32(-int32(failed)))
	out = binary.NativeEndian.AppendUint64(out, unique)
	_, _ = unix.Write(m.fd, append(out, body...)) // a request that was taken back takes none
}

// mountDead mounts the file system until the test ends.
func mountDead(t *testing.T) *deadMount {
	t.Helper()
	needs.Kernel(t)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	folder := t.TempDir()
	must(t, unix.Mount("repacket", folder, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0", fd)))
	m := &deadMount{file: filepath.Join(folder, "rules"), fd: fd}
	served := make(chan struct{})
	go func() {
		defer close(served)
		m.serve()
	}()
	t.Cleanup(func() {
		// The connection ends, and with it what waits for an answer.
		if err := unix.Unmount(folder, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		<-served
		_ = unix.Close(fd)
	})
	return m
}

// serve answers until the file system is unmounted. Each request begins with struct
// fuse_in_header, which is 40 bytes long.
func (m *deadMount) serve() {
	native := binary.NativeEndian
	request := make([]byte, 1<<20)
	for {
		n, err := unix.Read(m.fd, request)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // a request was taken back
			continue
		}
		if err != nil || n < 40 {
			return
		}
		kind, unique, node := native.Uint32(request[4:]), native.Uint64(request[8:]), native.Uint64(request[16:])
		if !m.takes(kind, unique) {
			continue
		}
		switch kind {
		case fuseInit:
			body := make([]byte, 64)
			native.PutUint32(body, 7) // the version, 7.31
			native.PutUint32(body[4:], 31)
			native.PutUint32(body[20:], 4096) // max_write
			m.answer(unique, 0, body)
		case fuseLookup:
			m.answer(unique, 0, append(native.AppendUint64(nil, 2), append(make([]byte, 32), fuseAttributes(2)...)...))
		case fuseGetattr:
			m.answer(unique, 0, append(make([]byte, 16), fuseAttributes(node)...))
		case fuseOpen:
			body := make([]byte, 16)
			native.PutUint32(body[8:], 1) // FOPEN_DIRECT_IO: each read is asked for
			m.answer(unique, 0, body)
		case fuseRead:
			offset := min(native.Uint64(request[40+8:]), uint64(len(oldRules)))
			m.answer(unique, 0, []byte(oldRules[offset:]))
		default: // such as flush and release
			m.answer(unique, unix.ENOSYS, nil)
		}
	}
}

// fuseAttributes is struct fuse_attr of the folder, which is node 1, or of the file.
func fuseAttributes(node uint64) []byte {
	into := make([]byte, 88)
	mode := uint32(unix.S_IFREG | 0o644)
	if node == 1 {
		mode = unix.S_IFDIR | 0o755
	}
	binary.NativeEndian.PutUint64(into, node)
	binary.NativeEndian.PutUint64(into[8:], uint64(len(oldRules)))
	binary.NativeEndian.PutUint32(into[60:], mode)
	binary.NativeEndian.PutUint32(into[64:], 1) // links
	return into
}

// A file on a mount that does not answer any more is given up: the rules go on, the
// next SIGHUP is heeded, and once the mount answers again the file is read.
func TestReloadGivesUpADeadMount(t *testing.T) {
	for name, request := range map[string]uint32{"lookup": fuseLookup, "open": fuseOpen, "read": fuseRead} {
		t.Run(name, func(t *testing.T) {
			m := mountDead(t)
			r := &fileRun{path: m.file}
			r.fake = newFake(t, "-i", "eth1", "-f", m.file)
			r.FilePatience = 100 * time.Millisecond
			r.begin()
			m.die(request)
			for n := range maxStuck + 2 {
				r.send(syscall.SIGHUP)
				r.awaitTimes("the rules before go on\n", n+1)
			}
			if told := r.stderr.String(); strings.Count(told, "it does not answer") != maxStuck || strings.Count(told, "still do not") != 2 {
				t.Errorf("told:\n%s", told)
			}
			m.revive()
			for n := maxStuck + 3; !strings.Contains(r.stderr.String(), "as it is now"); n++ {
				r.send(syscall.SIGHUP) // until what was stuck has come back
				r.awaitTimes("eth1: ", n+1)
			}
			r.send(syscall.SIGINT)
			if got := r.wait(); got != exitDone {
				t.Errorf("exit status %d", got)
			}
		})
	}
}

// awaitTimes waits until a text has been written to stderr so often.
func (r *fileRun) awaitTimes(text string, times int) {
	r.t.Helper()
	deadline := time.After(testPatience)
	for {
		written, more := r.stderr.watch()
		if strings.Count(written, text) >= times {
			return
		}
		select {
		case <-more:
		case <-deadline:
			r.t.Fatalf("%q was not written %d times; there is:\n%s", text, times, written)
		}
	}
}
