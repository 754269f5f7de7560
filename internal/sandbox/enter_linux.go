package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reloads are the capabilities that reading rules again and attaching them takes: BPF_PROG_LOAD and
// links, programs by their numbers, locked memory before Linux 5.11, and the files of the caller.
var reloads = []int{
	unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SYS_RESOURCE,
	unix.CAP_DAC_READ_SEARCH, unix.CAP_SETUID, unix.CAP_SETGID,
}

// Enter gives up, on all threads and for good, what is not needed. It returns what it could not give
// up, as a phrase for each, because the kernel lacks the means. After an error, part may be given up.
//
// The bounding set goes first, which takes CAP_SETPCAP; a filter of system calls goes last, since it
// would refuse the rest (capabilities(7), no_new_privs: Documentation/userspace-api/no_new_privs.rst).
func Enter(n Need) (kept []string, err error) {
	if hasCgo {
		return []string{"all its privileges: built with cgo, whose threads are not the runtime's; make build makes it without"}, nil
	}
	steps := []func() (without string, err error){
		func() (string, error) { return "", dropBounds(n.capabilities()) },
		func() (string, error) { return "", become(n.Caller) },
		func() (string, error) { return "", keepOnly(n.capabilities()) },
		func() (string, error) { return "", all(unix.PR_SET_NO_NEW_PRIVS, 1) },
		closeFiles,
		filterCalls,
	}
	if n.Reload {
		steps = slices.Delete(steps, 1, 2)
		steps = steps[:len(steps)-2]
	}
	for _, step := range steps {
		without, err := step()
		if err != nil {
			return nil, err
		}
		if without != "" {
			kept = append(kept, without)
		}
	}
	return kept, nil
}

// capabilities are what stays of those that the process has.
func (n Need) capabilities() []int {
	switch {
	case n.Reload:
		return reloads
	case n.NetAdmin:
		return []int{unix.CAP_NET_ADMIN}
	}
	return nil
}

// all is prctl(2) on all threads. The libraries that do this for libcap and for Landlock end the process where
// they cannot read /proc; the runtime needs nothing but its own list of threads.
func all(option, value uintptr) error {
	if _, _, e := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, option, value, 0, 0, 0, 0); e != 0 {
		return fmt.Errorf("give up privileges by prctl %d: %w", option, e)
	}
	return nil
}

// dropBounds removes all capabilities but those to keep from the bounding set. Without CAP_SETPCAP
// it stays, which no_new_privs makes harmless: nothing that is executed gains any.
func dropBounds(keep []int) error {
	has, err := own()
	if err != nil {
		return err
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		there, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		switch {
		case errors.Is(err, unix.EINVAL): // an older kernel, which has fewer
			return nil
		case err != nil:
			return fmt.Errorf("read the bounding set of capabilities: %w", err)
		case there == 0 || slices.Contains(keep, c):
			continue // each one stops all threads once, so those that are gone are spared
		case !has.effective(unix.CAP_SETPCAP):
			return nil
		}
		if err := all(unix.PR_CAPBSET_DROP, uintptr(c)); err != nil {
			return err
		}
	}
	return nil
}

// become makes the process one of the caller's. The capabilities that are to be kept outlive it.
func become(c Caller) error {
	if c.UID == 0 {
		return nil
	}
	if err := all(unix.PR_SET_KEEPCAPS, 1); err != nil {
		return err
	}
	// The functions of package syscall change all threads.
	if err := syscall.Setgroups([]int{}); err != nil {
		return fmt.Errorf("leave the groups: %w", err)
	}
	if err := syscall.Setresgid(c.GID, c.GID, c.GID); err != nil {
		return fmt.Errorf("become group %d: %w", c.GID, err)
	}
	if err := syscall.Setresuid(c.UID, c.UID, c.UID); err != nil {
		return fmt.Errorf("become user %d: %w", c.UID, err)
	}
	return nil
}

// sets are the capabilities of a thread, as capget(2) and capset(2) have them: 64 bits in two words.
type sets [2]unix.CapUserData

func own() (s sets, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &s[0]); err != nil {
		return s, fmt.Errorf("read the capabilities: %w", err)
	}
	return s, nil
}

func (s sets) effective(c int) bool { return s[c/32].Effective&(1<<(c%32)) != 0 }

// keepOnly leaves the process those capabilities of its own that are to be kept, for itself alone:
// what is not inheritable is not ambient either.
func keepOnly(keep []int) error {
	has, err := own()
	if err != nil {
		return err
	}
	var want sets
	for _, c := range keep {
		bit := has[c/32].Permitted & (1 << (c % 32))
		want[c/32].Permitted |= bit
		want[c/32].Effective |= bit
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0); e != 0 {
		return fmt.Errorf("drop capabilities: %w", e)
	}
	return nil
}

// closeFiles leaves no file to open, make, change or execute, and no TCP port to connect to or bind (landlock(7)).
func closeFiles() (without string, err error) {
	const none = "the files that its user may open: this kernel has no Landlock"
	abi, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errors.Is(e, unix.ENOSYS) || errors.Is(e, unix.EOPNOTSUPP) {
		return none, nil
	}
	if e != 0 {
		return "", fmt.Errorf("ask for Landlock: %w", e)
	}
	handled, size := handledBy(int(abi))
	rules, _, e := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&handled)), size, 0)
	if e != 0 {
		return "", fmt.Errorf("make a Landlock ruleset: %w", e)
	}
	defer func() { _ = unix.Close(int(rules)) }()
	if _, _, e := syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); e != 0 {
		return "", fmt.Errorf("restrict it by Landlock: %w", e)
	}
	return "", nil
}

// handledBy is all that a version of Landlock's interface can refuse, and the size of the structure that says
// so (include/uapi/linux/landlock.h): each right has the next bit.
func handledBy(abi int) (a unix.LandlockRulesetAttr, size uintptr) {
	const first, truncate, ioctl = unix.LANDLOCK_ACCESS_FS_MAKE_SYM, unix.LANDLOCK_ACCESS_FS_TRUNCATE, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	last := uint64(first)
	for since, right := range map[int]uint64{2: unix.LANDLOCK_ACCESS_FS_REFER, 3: truncate, 5: ioctl} {
		if abi >= since {
			last = max(last, right)
		}
	}
	a.Handled_access_fs, size = 2*last-1, unsafe.Sizeof(a.Handled_access_fs)
	if abi >= 4 {
		a.Handled_access_net, size = unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, size+unsafe.Sizeof(a.Handled_access_net)
	}
	if abi >= 6 {
		a.Scoped, size = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|unix.LANDLOCK_SCOPE_SIGNAL, size+unsafe.Sizeof(a.Scoped)
	}
	return a, size
}
