package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// runtimeCalls are what the Go runtime does as long as it runs: memory, threads, time, signals, and
// waiting for descriptors. Where an architecture lacks one, it has another of them.
var runtimeCalls = []string{
	"brk", "clock_gettime", "clock_nanosleep", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2",
	"exit", "exit_group", "futex", "getpid", "getrandom", "gettid", "gettimeofday", "madvise", "mincore", "munmap", "nanosleep",
	"pipe2", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield",
	"setitimer", "sigaltstack", "timer_create", "timer_delete", "timer_settime",
}

// ownCalls are what a run does with descriptors that are open: counts, packets and summaries are
// read and written, and what is attached goes with its link.
var ownCalls = []string{
	"accept4", "bind", "close", "fstat", "fsync", "ftruncate", "getpeername", "getsockname", "getsockopt", "listen", "lseek",
	"poll", "ppoll", "pread64", "pwrite64", "read", "readv", "recvfrom", "recvmsg", "sendmsg", "sendto", "setsockopt", "shutdown", "write", "writev",
}

// mapCommands are the commands of bpf(2) that read by a descriptor. All others make, load, attach,
// change or look up by number.
var mapCommands = []uint64{unix.BPF_MAP_LOOKUP_ELEM, unix.BPF_MAP_GET_NEXT_KEY, unix.BPF_OBJ_GET_INFO_BY_FD, unix.BPF_MAP_LOOKUP_BATCH}

// fileCommands are the commands of fcntl(2) that the Go runtime uses. Others have the kernel send signals to
// whom one names (F_SETOWN), which neither kill(2) nor, before Linux 6.12, Landlock would refuse.
var fileCommands = []uint64{unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL, unix.F_DUPFD_CLOEXEC}

// filterCalls has the kernel refuse all other system calls, by EPERM, on all threads (seccomp(2)): a
// call that is missing here is an error and does not end the run.
func filterCalls() (without string, err error) {
	info, err := arch.GetInfo("")
	if err != nil || !seccomp.Supported() {
		return "the system calls that its user may make: this kernel has no seccomp filters", nil
	}
	there := func(name string) bool { _, ok := info.SyscallNames[name]; return ok }
	plain := slices.DeleteFunc(slices.Concat(runtimeCalls, ownCalls), func(name string) bool { return !there(name) })
	err = seccomp.LoadFilter(seccomp.Filter{
		Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionErrno,
			Syscalls: []seccomp.SyscallGroup{
				{Action: seccomp.ActionAllow, Names: plain},
				{Action: seccomp.ActionAllow, NamesWithCondtions: narrowed()},
			},
		},
	})
	if errors.Is(err, unix.ENOSYS) {
		return "the system calls that its user may make: this kernel has no seccomp filters", nil
	}
	if err != nil {
		return "", fmt.Errorf("filter its system calls: %w", err)
	}
	return "", nil
}

// narrowed are calls that are allowed with some arguments alone: memory that is never executed and is no map's to
// write, threads and no processes, sockets that ask the kernel about interfaces, signals to the process itself, the
// size of the terminal, and names for memory, which the Go runtime gives.
func narrowed() (calls []seccomp.NameWithConditions) {
	allow := func(name string, conditions ...seccomp.Condition) {
		calls = append(calls, seccomp.NameWithConditions{Name: name, Conditions: conditions})
	}
	is := func(argument uint32, value uint64) seccomp.Condition {
		return seccomp.Condition{Argument: argument, Operation: seccomp.Equal, Value: value}
	}
	for _, command := range mapCommands {
		allow("bpf", is(0, command))
	}
	without := func(protection uint64) seccomp.Condition {
		return seccomp.Condition{Argument: 2, Operation: seccomp.BitsNotSet, Value: protection}
	}
	allow("mprotect", without(unix.PROT_EXEC))
	// The memory of a map is its values: what maps it for writing needs no BPF_MAP_UPDATE_ELEM.
	allow("mmap", without(unix.PROT_EXEC), without(unix.PROT_WRITE))
	allow("mmap", without(unix.PROT_EXEC), seccomp.Condition{Argument: 3, Operation: seccomp.BitsSet, Value: unix.MAP_ANONYMOUS})
	for _, command := range fileCommands {
		allow("fcntl", is(1, command))
	}
	allow("clone", seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD})
	allow("socket", is(0, unix.AF_NETLINK), is(2, unix.NETLINK_ROUTE))
	self := uint64(os.Getpid())
	allow("tgkill", is(0, self))
	allow("kill", is(0, self))
	for _, request := range []uint64{unix.TIOCGWINSZ, unix.TCGETS} {
		allow("ioctl", is(1, request))
	}
	allow("prctl", is(0, unix.PR_SET_VMA))
	return calls
}
