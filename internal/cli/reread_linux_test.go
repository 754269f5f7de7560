package cli

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
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
	fusePoll    = 40
)

// deadMount is a file system with the file rules, which can stop to answer one kind
// of request. It is served by a process of its own: one that waits for its own answer
// could not even be killed.
type deadMount struct {
	file string
	in   io.Writer // takes the number of a request to stop to answer, 0 for none
	done *bufio.Reader
	t    *testing.T
}

// die stops to answer a kind of request. With 0 all are answered again, and to what
// waits, so many requests, that it has failed.
func (m *deadMount) die(request uint32) (waited int) {
	m.t.Helper()
	_, err := fmt.Fprintln(m.in, request)
	must(m.t, err)
	_, err = fmt.Fscanln(m.done, &waited)
	must(m.t, err)
	return waited
}

// mountDead mounts the file system until the test ends.
func mountDead(t *testing.T) *deadMount {
	t.Helper()
	needs.Kernel(t)
	folder := t.TempDir()
	exe, err := os.Executable()
	must(t, err)
	ns, err := lab.NewNamespace() // whose end is that of the process, whatever happens
	must(t, err)
	cmd := testnet.Command(ns, exe, folder)
	cmd.Args[0], cmd.Stderr = "dead-mount", os.Stderr // see TestMain
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	m := &deadMount{filepath.Join(folder, "rules"), in, bufio.NewReader(out), t}
	t.Cleanup(func() {
		must(t, in.Close()) // then it ends the connection, and with it what waits for an answer
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(folder, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		must(t, ns.Close())
	})
	_, err = m.done.ReadString('\n')
	must(t, err)
	return m
}

// server is the process of a deadMount.
type server struct {
	fd      int
	mu      sync.Mutex
	dead    uint32   // the request that is not answered, or 0
	waiting []uint64 // the numbers of those that were not
}

// serveDeadMount mounts the file system in a folder and serves it until stdin ends.
func serveDeadMount() int {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Mount("repacket", os.Args[1], "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0", fd))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mount a file system of FUSE:", err)
		return 1
	}
	s := &server{fd: fd}
	go s.serve()
	fmt.Println("mounted")
	for {
		var request uint32
		if _, err := fmt.Scanln(&request); err != nil {
			return 0 // which closes the connection
		}
		fmt.Println(s.die(request))
	}
}

func (s *server) die(request uint32) (waited int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited = len(s.waiting)
	if s.dead = request; request == 0 {
		for _, unique := range s.waiting {
			s.answer(unique, unix.EIO, nil)
		}
		s.waiting = nil
	}
	return waited
}

// takes reports whether a request is to be answered.
func (s *server) takes(kind uint32, unique uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == s.dead {
		s.waiting = append(s.waiting, unique)
	}
	return kind != s.dead
}

// answer sends an answer, which begins with struct fuse_out_header.
func (s *server) answer(unique uint64, failed unix.Errno, body []byte) {
	out := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	out = binary.NativeEndian.AppendUint32(out, uint32(-int32(failed)))
	out = binary.NativeEndian.AppendUint64(out, unique)
	_, _ = unix.Write(s.fd, append(out, body...)) // a request that was taken back takes none
}

// serve answers until the file system is unmounted. Each request begins with struct
// fuse_in_header, which is 40 bytes long.
func (s *server) serve() {
	native := binary.NativeEndian
	request := make([]byte, 1<<20)
	for {
		n, err := unix.Read(s.fd, request)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) { // a request was taken back
			continue
		}
		if err != nil || n < 40 {
			return
		}
		kind, unique, node := native.Uint32(request[4:]), native.Uint64(request[8:]), native.Uint64(request[16:])
		if !s.takes(kind, unique) {
			continue
		}
		switch kind {
		case fuseInit:
			body := make([]byte, 64)
			native.PutUint32(body, 7) // the version, 7.31
			native.PutUint32(body[4:], 31)
			native.PutUint32(body[20:], 4096) // max_write
			s.answer(unique, 0, body)
		case fuseLookup:
			s.answer(unique, 0, append(native.AppendUint64(nil, 2), append(make([]byte, 32), fuseAttributes(2)...)...))
		case fuseGetattr:
			s.answer(unique, 0, append(make([]byte, 16), fuseAttributes(node)...))
		case fuseOpen:
			body := make([]byte, 16)
			native.PutUint32(body[8:], 1) // FOPEN_DIRECT_IO: each read is asked for
			s.answer(unique, 0, body)
		case fuseRead:
			offset := min(native.Uint64(request[40+8:]), uint64(len(oldRules)))
			s.answer(unique, 0, []byte(oldRules[offset:]))
		default: // such as flush and release
			s.answer(unique, unix.ENOSYS, nil)
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
			m.die(0)
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

// What a mount does not answer is not asked for where it is not needed: package os
// would poll the file, and all goroutines would wait.
func TestReloadDoesNotPoll(t *testing.T) {
	m := mountDead(t)
	m.die(fusePoll)
	r := &fileRun{path: m.file}
	r.fake = newFake(t, "-i", "eth1", "-f", m.file)
	r.begin()
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "as it is now")
	r.send(syscall.SIGINT)
	if got := r.wait(); got != exitDone {
		t.Errorf("exit status %d", got)
	}
	if asked := m.die(0); asked != 0 {
		t.Errorf("polled %d times", asked)
	}
}
