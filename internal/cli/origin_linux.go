package cli

import (
	"fmt"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"repacket/internal/run"
)

// callerOrigin is who calls this process. Who called sudo is taken from SUDO_UID only where the
// process is root's own and sudo is among its ancestors, as root: all else can be made up by
// whoever sets the variable. Who logged in the kernel keeps across sudo and su, where PAM told it.
func callerOrigin() run.Origin {
	o := run.Origin{UID: os.Getuid()}
	if login, ok := number(readFirst("/proc/self/loginuid")); ok && login != math.MaxUint32 {
		o.LoginUID = &login
	}
	if by, ok := number(os.Getenv("SUDO_UID")); ok && o.UID == 0 && calledBySudo() {
		o.SudoUID = &by
	}
	return o
}

// number reads the number of a user.
func number(text string) (int, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	return int(n), err == nil
}

// readFirst is the beginning of a file of /proc, or "".
func readFirst(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

// farthest is how far up ancestors are looked at: sudo, its monitor, a shell, a script.
const farthest = 16

// calledBySudo reports whether sudo, run by root, is an ancestor. A process that only has its name
// is not: it is the file that counts.
func calledBySudo() bool {
	pid := os.Getppid()
	for range farthest {
		uid, parent, ok := parentOf(readFirst(fmt.Sprintf("/proc/%d/status", pid)))
		if !ok {
			return false
		}
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		name := strings.TrimSuffix(path.Base(file), " (deleted)")
		if err == nil && uid == 0 && (name == "sudo" || name == "sudo-rs") {
			return true
		}
		pid = parent
	}
	return false
}

// parentOf reads the effective user and the parent of a process from its status (proc_pid_status(5)).
func parentOf(status string) (uid, parent int, ok bool) {
	uid, parent = -1, -1
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		switch {
		case name == "PPid" && len(fields) == 1:
			parent, _ = number(fields[0])
		case name == "Uid" && len(fields) == 4: // real, effective, saved, of the file system
			uid, _ = number(fields[1])
		}
	}
	return uid, parent, uid >= 0 && parent > 0
}
