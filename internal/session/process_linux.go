package session

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procfs is what /proc tells, at any place in the file system.
type procfs string

// process is one of the ancestors of the command.
type process struct {
	pid  int
	name string // as the kernel cuts it off, at 15 bytes
}

func (p procfs) path(pid int, rest string) string {
	return filepath.Join(string(p), strconv.Itoa(pid), rest)
}

// self is the number of this process there, which is another one where /proc is that of another PID
// namespace.
func (p procfs) self() int {
	target, _ := os.Readlink(filepath.Join(string(p), "self"))
	pid, err := strconv.Atoi(target)
	if err != nil { // without ancestors, SSH_CONNECTION is left
		return 0
	}
	return pid
}

// maxAncestors is more than there are, in case that /proc is not what it should be.
const maxAncestors = 1000

// ancestors are the processes from which a process descends, the nearest first, as far as the
// PID namespace shows them.
func (p procfs) ancestors(pid int) []process {
	var out []process
	for range maxAncestors {
		_, parent, ok := p.stat(pid)
		if !ok || parent <= 0 {
			break
		}
		name, _, ok := p.stat(parent)
		if !ok {
			break
		}
		out, pid = append(out, process{parent, name}), parent
	}
	return out
}

// stat is the name of a process and its parent (proc_pid_stat(5)). The name may have blanks and
// brackets in it.
func (p procfs) stat(pid int) (name string, parent int, ok bool) {
	text, err := os.ReadFile(p.path(pid, "stat"))
	if err != nil {
		return "", 0, false
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return "", 0, false
	}
	fields := strings.Fields(string(text[end+1:])) // the state, then the parent
	if len(fields) < 2 {
		return "", 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return string(text[open+1 : end]), parent, err == nil
}

// processes are all processes of the PID namespace that a function picks by name.
func (p procfs) processes(pick func(name string) bool) []process {
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return nil
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		name, err := os.ReadFile(p.path(pid, "comm"))
		if text := strings.TrimSpace(string(name)); err == nil && pick(text) {
			out = append(out, process{pid, text})
		}
	}
	return out
}

// mayTalk reports whether a descriptor of a process may be a socket of TCP or UDP: unless the kernel
// says that it is of another protocol (sockfs_xattr_get in net/socket.c).
func (p procfs) mayTalk(pid int, descriptor string) bool {
	var name [32]byte
	n, err := unix.Getxattr(p.path(pid, filepath.Join("fd", descriptor)), "system.sockprotoname", name[:])
	text := string(name[:max(n, 0)])
	return err != nil || strings.Contains(text, "TCP") || strings.Contains(text, "UDP")
}

// sockets are the inodes of the sockets of TCP and UDP that a process has open. The error is fs.ErrPermission
// where they may not be seen.
func (p procfs) sockets(pid int) ([]uint64, error) {
	entries, err := os.ReadDir(p.path(pid, "fd"))
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		return nil, nil // the process is gone
	}
	var out []uint64
	for _, e := range entries {
		target, err := os.Readlink(p.path(pid, filepath.Join("fd", e.Name())))
		if err != nil {
			continue // it has been closed
		}
		number, ok := strings.CutPrefix(target, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); ok && err == nil && p.mayTalk(pid, e.Name()) {
			out = append(out, inode)
		}
	}
	return out, nil
}

// isSSH reports whether a process is that of a server of ssh, by its name.
func isSSH(name string) bool { return strings.HasPrefix(name, "sshd") || name == "dropbear" }

// isMosh reports whether a process is a server of mosh, which talks UDP.
func isMosh(name string) bool { return name == "mosh-server" }

// multiplexers are the names of programs whose terminals outlive the session in which they were
// started: their server has no ancestor but init.
var multiplexers = []string{"tmux: server", "tmux", "tmate", "screen", "zellij", "dtach", "abduco"}

func isMultiplexer(name string) bool { return slices.Contains(multiplexers, name) }
