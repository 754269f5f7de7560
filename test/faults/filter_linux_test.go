package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"repacket/internal/cli"
)

// childArgs makes the test binary the command: its arguments, one a line.
const childArgs = "REPACKET_FAULTS_ARGS"

// listenerPipe is the child's descriptor to which it writes the number of its
// seccomp listener.
const listenerPipe = 3

// notified are the system calls of which the parent decides how they end.
var notified = []uint32{
	unix.SYS_BPF, unix.SYS_SOCKET, unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_RECVFROM, unix.SYS_RECVMSG,
	unix.SYS_OPENAT, unix.SYS_READ, unix.SYS_READLINKAT,
}

// child is the command, every thread of it behind the filter.
func child(args []string) int {
	listener, err := install()
	if err == nil {
		_, err = fmt.Fprintln(os.NewFile(listenerPipe, "listener"), listener)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no filter:", err)
		return -1
	}
	env := cli.System()
	env.NoSession = true // whoever runs the tests may have come by ssh
	env.Args = args
	return cli.Run(env)
}

// auditArch is the AUDIT_ARCH of this machine, of linux/audit.h.
var auditArch = map[string]uint32{"amd64": 0xc000003e, "arm64": 0xc00000b7}[runtime.GOARCH]

// install puts the filter on all threads of the process. The descriptor is that of
// the one who is asked, see seccomp_unotify(2).
func install() (int, error) {
	const nrOffset, archOffset = 0, 4 // of struct seccomp_data
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		bpf.LoadAbsolute{Off: nrOffset, Size: 4},
	}
	for i, nr := range notified {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: nr, SkipTrue: uint8(len(notified) - i)})
	}
	program = append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}, bpf.RetConstant{Val: unix.SECCOMP_RET_USER_NOTIF})
	raw, err := bpf.Assemble(program)
	if err != nil {
		return 0, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// Without WAIT_KILLABLE_RECV (Linux 5.19) a signal of Go's scheduler makes a
	// call be notified twice.
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC |
		unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return 0, fmt.Errorf("seccomp: %w", errno)
	}
	return int(fd), nil
}

// notification is struct seccomp_notif, answer is struct seccomp_notif_resp.
type (
	notification struct {
		id    uint64
		tid   uint32
		flags uint32
		nr    int32
		arch  uint32
		ip    uint64
		args  [6]uint64
	}
	answer struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
)

// receive waits for a system call; ok is false when the child is gone.
func receive(listener int) (n notification, ok bool, err error) {
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return n, false, err
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return n, false, nil
		}
		n = notification{} // the kernel wants it empty
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
		switch errno {
		case 0:
			return n, true, nil
		case unix.ENOENT, unix.EINTR: // it is gone already
			continue
		}
		return n, false, errno
	}
}

// reply lets a system call go on, or fail with an error. delivered is false where the
// thread does not wait any more.
func reply(listener int, n notification, with unix.Errno) (delivered bool, err error) {
	a := answer{id: n.id, errno: -int32(with)}
	if with == 0 {
		a.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&a)))
	switch errno {
	case 0:
		return true, nil
	case unix.ENOENT:
		return false, nil
	}
	return false, errno
}

// word reads 4 bytes of another process's memory, or is 0.
func word(pid uint32, at uint64) uint32 {
	return binary.NativeEndian.Uint32(memory(pid, at, 4))
}

// text reads a string of another process's memory, or a part of a long one.
func text(pid uint32, at uint64) string {
	const page = 4096 // what lies behind it may not be there
	return unix.ByteSliceToString(memory(pid, at, min(256, page-int(at%page))))
}

func memory(pid uint32, at uint64, size int) []byte {
	out := make([]byte, size)
	local := []unix.Iovec{{Base: &out[0], Len: uint64(size)}}
	_, _ = unix.ProcessVMReadv(int(pid), local, []unix.RemoteIovec{{Base: uintptr(at), Len: size}}, 0)
	return out
}
