package chaos

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"repacket/internal/cli"
	"repacket/test/needs"
)

// commandWord makes the test binary the command.
const commandWord = "repacket-chaos"

// The variables that tell the command under which conditions it is to work.
const (
	markVariable = "REPACKET_CHAOS_MARK" // any: by it what is left of a test is found
	oldVariable  = "REPACKET_CHAOS_OLD"  // set: the kernel seems to have no tcx
	diskVariable = "REPACKET_CHAOS_DISK" // a folder, where a file system is full
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == commandWord {
		os.Exit(command(os.Args[2:]))
	}
	needs.KernelMain()
	hearSignals()
	os.Exit(m.Run())
}

// hearSignals ends the tests on signals as usual, but has commands begin with none that is ignored,
// as it would be for what a script starts in the background: what is caught here is not ignored there.
func hearSignals() {
	heard := make(chan os.Signal, 1)
	ignored := map[os.Signal]bool{}
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTERM} {
		ignored[s] = signal.Ignored(s)
		signal.Notify(heard, s)
	}
	go func() {
		for s := range heard {
			if !ignored[s] {
				os.Exit(1)
			}
		}
	}()
}

// command is the command, under the conditions that the environment tells.
func command(args []string) int {
	if err := conditions(); err != nil {
		fmt.Fprintln(os.Stderr, "no conditions:", err)
		return -1
	}
	env := cli.System()
	env.NoSession = true // whoever runs the tests may have come by ssh
	env.Args = args
	status := cli.Run(env)
	if folder := os.Getenv(diskVariable); folder != "" {
		left, err := os.ReadDir(folder) // hidden files too
		fmt.Fprintln(os.Stderr, "left on the disk:", len(left), err)
	}
	return status
}

func conditions() error {
	if folder := os.Getenv(diskVariable); folder != "" {
		if err := smallDisk(folder); err != nil {
			return err
		}
	}
	if os.Getenv(oldVariable) != "" {
		if err := hideTCX(); err != nil {
			return err
		}
	}
	return nil
}

// smallDisk mounts a file system of 64 KiB, which only this process sees.
func smallDisk(folder string) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("small", folder, "tmpfs", 0, "size=64k")
}

// hideTCX has the kernel refuse to say what is at a hook, as one before 6.6 does for tcx, on all
// threads.
func hideTCX() error {
	const nrOffset, commandOffset = 0, 16 // of struct seccomp_data: the number, the first argument
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: nrOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_BPF, SkipTrue: 3},
		bpf.LoadAbsolute{Off: commandOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.BPF_PROG_QUERY, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// amount is how much of something is done: all of it where REPACKET_CHAOS is all, or a part: in
// make test, and a small one in the virtual machines of make kernels.
func amount(all, some, few int) int {
	switch {
	case os.Getenv("REPACKET_CHAOS") == "all":
		return all
	case needs.Few():
		return few
	}
	return some
}

// seed is SEED, or a new one.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	return n
}
