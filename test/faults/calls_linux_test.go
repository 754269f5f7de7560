package faults

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// call is a system call that can be made to fail.
type call struct {
	what   string // as in "bpf PROG_LOAD"
	errnos []unix.Errno
}

// The errors that each kind of calls can meet. Those of files are not there where
// the name is not, those of netlink are also what becomes of an answer that is lost:
// the request was carried out when it was sent.
var (
	bpfErrors    = []unix.Errno{unix.ENOMEM, unix.EPERM, unix.EINTR, unix.EAGAIN}
	socketErrors = []unix.Errno{unix.ENOBUFS, unix.EMFILE}
	sendErrors   = []unix.Errno{unix.ENOBUFS, unix.ENOMEM, unix.EINTR}
	recvErrors   = []unix.Errno{unix.ENOBUFS, unix.ENOMEM, unix.EINTR}
	openErrors   = []unix.Errno{unix.EIO, unix.EMFILE, unix.ENOENT}
	readErrors   = []unix.Errno{unix.EIO}
	linkErrors   = []unix.Errno{unix.EIO, unix.ENOENT}
)

// bpfCommands are the first commands of bpf(2).
var bpfCommands = strings.Fields(`MAP_CREATE MAP_LOOKUP_ELEM MAP_UPDATE_ELEM MAP_DELETE_ELEM
	MAP_GET_NEXT_KEY PROG_LOAD OBJ_PIN OBJ_GET PROG_ATTACH PROG_DETACH PROG_TEST_RUN PROG_GET_NEXT_ID
	MAP_GET_NEXT_ID PROG_GET_FD_BY_ID MAP_GET_FD_BY_ID OBJ_GET_INFO_BY_FD PROG_QUERY RAW_TRACEPOINT_OPEN
	BTF_LOAD BTF_GET_FD_BY_ID TASK_FD_QUERY MAP_LOOKUP_AND_DELETE_ELEM MAP_FREEZE BTF_GET_NEXT_ID
	MAP_LOOKUP_BATCH MAP_LOOKUP_AND_DELETE_BATCH MAP_UPDATE_BATCH MAP_DELETE_BATCH LINK_CREATE LINK_UPDATE
	LINK_GET_FD_BY_ID LINK_GET_NEXT_ID ENABLE_STATS ITER_CREATE LINK_DETACH PROG_BIND_MAP`)

// process is the child of which a call is. To an old one the kernel seems to be
// one before 6.6, which has no tcx.
type process struct {
	pid, pidfd int
	old        bool
}

// classify says what a system call is, and whether it is one that is to fail: what
// Go's runtime reads and opens for itself is not.
func (p process) classify(n notification) (call, bool) {
	switch uint32(n.nr) {
	case unix.SYS_BPF:
		name := fmt.Sprint(n.args[0])
		if int(n.args[0]) < len(bpfCommands) {
			name = bpfCommands[n.args[0]]
		}
		return call{"bpf " + name, bpfErrors}, true
	case unix.SYS_SOCKET:
		return call{"socket", socketErrors}, n.args[0] == unix.AF_NETLINK
	case unix.SYS_SENDTO:
		return call{fmt.Sprintf("sendto of a message %d", word(n.tid, n.args[1]+4)&0xffff), sendErrors}, p.isNetlink(n.args[0])
	case unix.SYS_SENDMSG:
		return call{"sendmsg", sendErrors}, p.isNetlink(n.args[0])
	case unix.SYS_RECVFROM:
		return call{"recvfrom", recvErrors}, p.isNetlink(n.args[0])
	case unix.SYS_RECVMSG:
		return call{"recvmsg", recvErrors}, p.isNetlink(n.args[0])
	case unix.SYS_OPENAT:
		return call{"open " + text(n.tid, n.args[1]), openErrors}, true
	case unix.SYS_READ:
		name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, n.args[0]))
		return call{"read " + name, readErrors}, err == nil && strings.HasPrefix(name, "/")
	case unix.SYS_READLINKAT:
		return call{"readlink " + text(n.tid, n.args[1]), linkErrors}, true
	}
	return call{}, false
}

// isNetlink reports whether a descriptor of the child is a netlink socket.
func (p process) isNetlink(fd uint64) bool {
	own, err := unix.PidfdGetfd(p.pidfd, int(fd), 0)
	if err != nil {
		return false
	}
	defer unix.Close(own)
	domain, err := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && domain == unix.AF_NETLINK
}

// fault is what is to happen: the call of this number fails in one of the ways that it
// can. Number 0 is none. The calls of two runs need not be the same, so the call that
// is met says what its errors are.
type fault struct{ number, way int }

func (f fault) errno(c call) unix.Errno { return c.errnos[f.way%len(c.errnos)] }

// asksTCX reports whether a call asks what is at a hook of tcx.
func asksTCX(n notification) bool {
	if uint32(n.nr) != unix.SYS_BPF || n.args[0] != unix.BPF_PROG_QUERY {
		return false
	}
	attach := ebpf.AttachType(word(n.tid, n.args[1]+4)) // behind target_ifindex
	return attach == ebpf.AttachTCXIngress || attach == ebpf.AttachTCXEgress
}

// supervise decides how the system calls of a child end until it is gone, and says
// which there were, in their order.
func (p process) supervise(listener int, f fault) (calls []call, err error) {
	for {
		n, ok, err := receive(listener)
		if !ok || err != nil {
			return calls, err
		}
		with := unix.Errno(0)
		c, counts := p.classify(n)
		if p.old && asksTCX(n) {
			with, counts = unix.EINVAL, false
		}
		if counts && len(calls)+1 == f.number {
			with = f.errno(c)
		}
		delivered, err := reply(listener, n, with)
		if err != nil {
			return calls, err
		}
		if counts && delivered {
			calls = append(calls, c)
		}
	}
}
