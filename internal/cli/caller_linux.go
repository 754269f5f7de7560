package cli

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// atSecure is AT_SECURE of the auxiliary vector (getauxval(3)): the kernel has given
// the process more than its caller has, by set-uid, set-gid or file capabilities.
const atSecure = 23

// elevated reports whether the process has privileges that are not its caller's own.
// Capabilities without root count, wherever they are from.
func elevated() bool {
	return secureExec() || os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() || os.Getuid() != 0 && hasCapabilities()
}

// secureExec is AT_SECURE. If it is unknown, the answer is yes.
func secureExec() bool {
	vector, err := unix.Auxv()
	if err != nil {
		return true
	}
	for _, entry := range vector {
		if entry[0] == atSecure {
			return entry[1] != 0
		}
	}
	return false
}

// hasCapabilities reports whether the process may have any capability.
func hasCapabilities() bool {
	_, data, err := threadCapabilities()
	return err != nil || data[0].Permitted != 0 || data[1].Permitted != 0
}

// threadCapabilities are the capabilities of the calling thread: 64 bits in two words.
func threadCapabilities() (header unix.CapUserHeader, data [2]unix.CapUserData, err error) {
	header.Version = unix.LINUX_CAPABILITY_VERSION_3
	err = unix.Capget(&header, &data[0])
	return header, data, err
}

// distrust keeps an elevated process from its caller. Of the environment the libraries
// read what names files to write (cobra: BASH_COMP_DEBUG_FILE) and places to make them
// (TMPDIR). Without dumps, no thread can be traced while it has the caller's rights.
func distrust() error {
	trusted := map[string]string{}
	for _, name := range []string{"TERM", "NO_COLOR"} { // both only say how messages look
		if value, ok := os.LookupEnv(name); ok {
			trusted[name] = value
		}
	}
	os.Clearenv()
	for name, value := range trusted {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// asCaller does something, such as to open a file, with the caller's rights alone, on
// a thread that ends with it.
func asCaller(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()              // and never unlocked: so the thread ends
		if unix.Gettid() == unix.Getpid() { // but the main thread cannot; another one has to
			err := asCaller(do)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		if err := becomeCaller(); err != nil {
			done <- fmt.Errorf("take on the caller's rights: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// becomeCaller gives the calling thread the caller's user and group and no capability.
// The groups of the caller are there already. It is the effective ids that are set and
// not those of the file system alone: /proc/sys asks for the former. The saved ids and the
// permitted capabilities stay, so that the caller cannot trace the thread.
func becomeCaller() error {
	const same = ^uintptr(0)
	uid, gid := os.Getuid(), os.Getgid()
	// The functions of package unix change all threads.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, same, uintptr(gid), same); errno != 0 {
		return os.NewSyscallError("setresgid", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return os.NewSyscallError("setresuid", errno)
	}
	header, data, err := threadCapabilities()
	if err != nil {
		return os.NewSyscallError("capget", err)
	}
	data[0].Effective, data[1].Effective = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	if os.Geteuid() != uid || os.Getegid() != gid {
		return fmt.Errorf("the kernel has left user %d and group %d", os.Geteuid(), os.Getegid())
	}
	return nil
}
