package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// childVariable makes this test's program a process that tries everything: "free" before it enters the
// sandbox, "confined" behind that, "without files" behind the step that takes them.
const childVariable = "REPACKET_TEST_SANDBOX"

func TestMain(m *testing.M) {
	if how := os.Getenv(childVariable); how != "" {
		tryAll(how)
		return
	}
	os.Exit(m.Run())
}

// TestRefused: what a process can do before, it cannot do in the sandbox, from any of its threads; what a run
// needs it can.
func TestRefused(t *testing.T) {
	needs.Kernel(t)
	free, confined := child(t, "free"), child(t, "confined")
	if len(free) < 20 || len(free) != len(confined) {
		t.Fatalf("%d and %d things were tried", len(free), len(confined))
	}
	for what, errno := range free {
		got := confined[what]
		switch {
		case errno != 0:
			t.Errorf("%s fails outside of the sandbox too: %v", what, errno)
		case needed(what) && got != 0:
			t.Errorf("%s is needed, and fails: %v", what, got)
		case !needed(what) && got != unix.EPERM && got != unix.EACCES:
			t.Errorf("%s is not refused: %v", what, got)
		}
	}
}

// TestFilesAreClosed: Landlock alone refuses files, whatever system call asks for them.
func TestFilesAreClosed(t *testing.T) {
	needs.Kernel(t)
	without := child(t, "without files")
	for _, what := range []string{"open a file", "open a directory", "make a file", "execute"} {
		if got, tried := without[what]; !tried || got != unix.EACCES {
			t.Errorf("%s: %v, tried: %v", what, got, tried)
		}
	}
	if got := without["+write to an open file"]; got != 0 {
		t.Errorf("an open file cannot be written: %v", got)
	}
}

// needed reports whether a run needs what is tried.
func needed(what string) bool { return len(what) > 0 && what[0] == '+' }

// child tries everything in a process, and a network namespace, of its own.
func child(t *testing.T, how string) map[string]syscall.Errno {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+how)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", how, err, out)
	}
	var got map[string]syscall.Errno
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v\n%s", how, err, out)
	}
	return got
}

// tried is one thing to try.
type tried struct {
	what string
	do   func() error
}

// tryAll prints what came of everything, by errno.
func tryAll(how string) {
	everything := prepareAll()
	switch how {
	case "confined":
		if kept, err := Enter(Need{}); err != nil || len(kept) > 0 {
			panic(fmt.Sprint(kept, err))
		}
	case "without files":
		must(0, all(unix.PR_SET_NO_NEW_PRIVS, 1))
		if without, err := closeFiles(); err != nil || without != "" {
			panic(fmt.Sprint(without, err))
		}
	}
	out := map[string]syscall.Errno{}
	for _, try := range everything {
		out[try.what] = errnoOf(onAnotherThread(try.do))
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		panic(err)
	}
}

// onAnotherThread does something on a thread that it alone has, and that ends behind it.
func onAnotherThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- do()
	}()
	return <-done
}

func errnoOf(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	}
	return unix.ENOTRECOVERABLE // no errno at all
}

// prepareAll makes what is tried with, while that is possible.
func prepareAll() []tried {
	program := must(ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, License: "MIT"}))
	other := must(program.Clone())
	m := must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}))
	info := must(program.Info())
	id, _ := info.ID()
	raise("lo")
	lo := must(net.InterfaceByName("lo"))
	attached := must(link.AttachXDP(link.XDPOptions{Program: program, Interface: lo.Index, Flags: link.XDPGenericMode}))
	server := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	memory := must(unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE))
	parent := os.Getppid()
	file := must(os.CreateTemp("", "repacket-sandbox-"))
	_ = os.Remove(file.Name())
	descriptor := file.Fd()
	shared := must(ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}))
	return []tried{
		{"+look a map up", func() error { return m.Lookup(uint32(0), new(uint32)) }},
		{"+ask for a link", func() error { _, err := attached.Info(); return err }},
		{"+write to an open file", func() error { _, err := file.WriteString("counts\n"); return err }},
		{"+map a map to read", func() error { return mapMap(shared, unix.PROT_READ) }},
		{"map a map to write", func() error { return mapMap(shared, unix.PROT_READ|unix.PROT_WRITE) }},
		{"have another process signalled", func() error {
			_, err := unix.FcntlInt(descriptor, unix.F_SETOWN, parent)
			return err
		}},
		{"+ask for interfaces", func() error { _, err := net.Interfaces(); return err }},
		{"+threads and memory", manyThreads},
		{"open a file", func() error { _, err := os.Open("/etc/passwd"); return err }},
		{"open a directory", func() error { _, err := os.ReadDir("/"); return err }},
		{"make a file", func() error {
			f, err := os.CreateTemp("", "repacket-sandbox-")
			if err == nil {
				_ = os.Remove(f.Name())
			}
			return err
		}},
		{"ask for a file", func() error { _, err := os.Stat("/etc/passwd"); return err }},
		{"execute", func() error { return exec.Command("/bin/true").Run() }},
		{"fork", fork},
		{"load a program", func() error {
			_, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}, License: "MIT"})
			return err
		}},
		{"make a map", func() error {
			_, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
			return err
		}},
		{"update a map", func() error { return m.Put(uint32(0), uint32(1)) }},
		{"find a program", func() error { _, err := ebpf.NewProgramFromID(id); return err }},
		{"run a program", func() error { _, err := other.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); return err }},
		{"update a link", func() error { return attached.Update(other) }},
		{"attach", func() error {
			// On an interface that has a program already, or has none: the kernel is not even asked.
			_, err := link.AttachXDP(link.XDPOptions{Program: other, Interface: lo.Index, Flags: link.XDPGenericMode})
			if errors.Is(err, unix.EBUSY) {
				return nil // outside of the sandbox it is
			}
			return err
		}},
		{"connect", func() error {
			c, err := net.Dial("udp4", server.LocalAddr().String())
			if err == nil {
				_ = c.Close()
			}
			return err
		}},
		{"a socket of IP", func() error { return socket(unix.AF_INET, unix.SOCK_STREAM, 0) }},
		{"a Unix socket", func() error { return socket(unix.AF_UNIX, unix.SOCK_STREAM, 0) }},
		{"a packet socket", func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) }},
		{"another netlink", func() error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC) }},
		{"trace", func() error { return unix.PtraceSeize(parent) }},
		{"signal another process", func() error { return unix.Kill(parent, 0) }},
		{"leave a namespace", func() error { return unix.Unshare(unix.CLONE_NEWUTS) }},
		{"mount", func() error { return unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"execute memory", func() error { return unix.Mprotect(memory, unix.PROT_READ|unix.PROT_EXEC) }},
		{"become another user", func() error { _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 1, 1, 1); return errnoOr(e) }},
		{"take an interface down", func() error { return setFlags("lo", 0) }},
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func errnoOr(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// mapMap maps the values of a map, which may be shared, and unmaps them.
func mapMap(m *ebpf.Map, protection int) error {
	memory, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), protection, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	return unix.Munmap(memory)
}

// fork makes a process that ends at once.
func fork() error {
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		return e
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

func socket(domain, kind, protocol int) error {
	fd, err := unix.Socket(domain, kind, protocol)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func raise(name string) {
	if err := setFlags(name, unix.IFF_UP); err != nil {
		panic(err)
	}
}

// setFlags changes an interface by a socket of the kind that stays allowed, but for who asks.
func setFlags(name string, flags uint32) error {
	index, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	return requestFlags(index.Index, flags)
}

// manyThreads has the runtime make threads and collect garbage.
func manyThreads() error {
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			runtime.LockOSThread()
			_ = make([]byte, 1<<20)
		})
	}
	wait.Wait()
	runtime.GC()
	return nil
}
