package cli

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// stranger is the user, and the group, who calls the command of elevated tests, and
// friends is another group that he is in.
const stranger, friends = 54321, 54322

// elevation is a way to have more privileges than the caller.
type elevation struct {
	name string
	give func(t *testing.T, binary string)
	// ambient are the capabilities that the process has without help of the file.
	ambient []uintptr
}

// elevations are all ways. With the capabilities of a file are those that open every
// file.
var elevations = []elevation{
	{"set-uid", func(t *testing.T, binary string) { must(t, os.Chmod(binary, 0o755|os.ModeSetuid)) }, nil},
	{"set-gid", func(t *testing.T, binary string) { must(t, os.Chmod(binary, 0o755|os.ModeSetgid)) }, nil},
	{"file capabilities", func(t *testing.T, binary string) {
		setCapabilities(t, binary, unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN,
			unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_SYS_PTRACE)
	}, nil},
	{"ambient capabilities", func(*testing.T, string) {}, []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_PTRACE}},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setCapabilities gives a file capabilities, as setcap(8) does with +ep: struct
// vfs_cap_data of linux/capability.h, revision 2, in little endian.
func setCapabilities(t *testing.T, file string, all ...int) {
	t.Helper()
	var set uint64
	for _, c := range all {
		set |= 1 << c
	}
	const revision2, effective = 0x02000000, 1
	data := binary.LittleEndian.AppendUint32(nil, revision2|effective)
	for _, word := range []uint32{uint32(set), 0, uint32(set >> 32), 0} { // permitted, inheritable, twice
		data = binary.LittleEndian.AppendUint32(data, word)
	}
	must(t, unix.Setxattr(file, "security.capability", data, 0))
}

// openFolder is a folder that strangers may read, where set-uid and file capabilities
// count.
func openFolder(t *testing.T) string {
	t.Helper()
	for _, place := range []string{os.TempDir(), "/var/tmp", "."} {
		var fs unix.Statfs_t
		if unix.Statfs(place, &fs) != nil || fs.Flags&unix.ST_NOSUID != 0 {
			continue
		}
		folder, err := os.MkdirTemp(place, "repacket-elevated-")
		must(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		must(t, os.Chmod(folder, 0o755))
		folder, err = filepath.Abs(folder)
		must(t, err)
		return folder
	}
	t.Fatal("no folder is on a file system that honours set-uid")
	return ""
}

// elevatedCommand is the command with more privileges than its caller, who is a stranger, in
// a network namespace of its own.
type elevatedCommand struct {
	t      *testing.T
	how    elevation
	ns     *lab.Namespace
	folder string // the stranger may read in it
	own    string // a folder in it that is the stranger's own
	binary string
}

// eachElevation runs a test for each way to have more privileges.
func eachElevation(t *testing.T, test func(t *testing.T, c *elevatedCommand)) {
	needs.Kernel(t)
	t.Parallel()
	for _, how := range elevations {
		t.Run(how.name, func(t *testing.T) {
			c := &elevatedCommand{t: t, how: how, folder: openFolder(t)}
			c.binary, c.own = filepath.Join(c.folder, "repacket"), filepath.Join(c.folder, "own")
			copyExecutable(t, c.binary)
			var err error
			how.give(t, c.binary)
			must(t, os.Mkdir(c.own, 0o700))
			must(t, os.Chown(c.own, stranger, stranger))
			c.ns, err = lab.NewNamespace()
			must(t, err)
			defer c.ns.Close()
			test(t, c)
		})
	}
}

// copyExecutable makes a copy of this program that others may execute.
func copyExecutable(t *testing.T, to string) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	in, err := os.Open(exe)
	must(t, err)
	defer in.Close()
	// A child that another test starts while the file is open for writing has it too
	// until it executes, and then this file cannot be executed (golang/go#22315).
	syscall.ForkLock.RLock()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(out, in)
		err = errors.Join(err, out.Close())
	}
	syscall.ForkLock.RUnlock()
	must(t, err)
	must(t, os.Chmod(to, 0o755))
}

// run runs the command as the stranger, with variables added to the environment.
func (c *elevatedCommand) run(variables []string, args ...string) (status int, stdout, stderr string) {
	c.t.Helper()
	return c.runOn(nil, variables, args...)
}

// runOn is run with something on stdin.
func (c *elevatedCommand) runOn(stdin io.Reader, variables []string, args ...string) (status int, stdout, stderr string) {
	c.t.Helper()
	var out, errs bytes.Buffer
	cmd := testnet.Command(c.ns, c.binary, args...)
	cmd.Args[0], cmd.Dir, cmd.Env = "repacket", c.own, append(os.Environ(), variables...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: stranger, Gid: stranger, Groups: []uint32{friends}}
	cmd.SysProcAttr.AmbientCaps = c.how.ambient
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// write writes a file in the folder that a user and a group own.
func (c *elevatedCommand) write(name, content string, user, group int, mode os.FileMode) string {
	c.t.Helper()
	path := filepath.Join(c.folder, name)
	must(c.t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(c.t, os.WriteFile(path, []byte(content), 0o600))
	must(c.t, os.Chown(path, user, group))
	must(c.t, os.Chmod(path, mode))
	return path
}

// TestElevatedExecutesNothing: with privileges that are not the caller's own, no
// program of the caller is executed.
func TestElevatedExecutesNothing(t *testing.T) {
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		executed := filepath.Join(c.own, "executed")
		c.write("bin/clang", "#!/bin/sh\n: >"+executed+"\n", 0, 0, 0o755)
		must(t, os.Chmod(filepath.Join(c.folder, "bin"), 0o755))
		for _, command := range []string{"verify", "attach -i lo", "replace -i lo", "-i lo", "check"} {
			status, stdout, stderr := c.run([]string{"PATH=" + filepath.Join(c.folder, "bin")},
				append(strings.Fields(command), "--backend", "clang", "if", "udp")...)
			if status != exitUsage || stdout != "" || !strings.Contains(stderr, "--backend clang executes a program") {
				t.Errorf("%s: exit status %d, %q, %q", command, status, stdout, stderr)
			}
		}
		if _, err := os.Stat(executed); err == nil {
			t.Error("the caller's program was executed")
		}
	})
}

// TestElevatedReadsAsCaller: what the caller may not read is not read, and not even
// seen; what the caller may read by a group is.
func TestElevatedReadsAsCaller(t *testing.T) {
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		secret := c.write("secret", "if hunter2\n", 0, 0, 0o640)
		hidden := c.write("hidden/secret.csv", "hunter2\n", 0, 0, 0o644)
		shared := c.write("shared", "if udp", 0, friends, 0o640)
		own := c.write("own/rules", "if ip_dest @old from rows.csv", stranger, stranger, 0o600)
		c.write("own/rows.csv", "old\n192.0.2.1\n", stranger, stranger, 0o600)
		denied := []string{
			"-f " + secret, "if ip_dest @old from " + secret, "-f " + hidden, "if ip_dest @old from " + hidden,
			"-f " + filepath.Join(c.folder, "hidden", "absent"), "-f /proc/1/environ",
		}
		for _, args := range denied {
			status, stdout, stderr := c.run(nil, append([]string{"check"}, strings.Fields(args)...)...)
			if status != exitUsage || !strings.Contains(stderr, "permission denied") || strings.Contains(stdout+stderr, "hunter2") {
				t.Errorf("%s: exit status %d, %q, %q", args, status, stdout, stderr)
			}
		}
		for _, path := range []string{shared, own} {
			if status, _, stderr := c.run(nil, "check", "-f", path); status != exitDone {
				t.Errorf("%s: exit status %d, %q", path, status, stderr)
			}
		}
	})
}

// TestElevatedTracesNobody: where root's process waits in the kernel is told to whoever
// may trace it (proc(5)), which is asked when the file is read, not when it is opened.
func TestElevatedTracesNobody(t *testing.T) {
	waiting := exec.Command("cat")
	stdin, err := waiting.StdinPipe()
	must(t, err)
	must(t, waiting.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = waiting.Wait()
	})
	path := fmt.Sprintf("/proc/%d/wchan", waiting.Process.Pid)
	var secret string
	for deadline := time.Now().Add(testPatience); !strings.Contains(secret, "read"); {
		content, err := os.ReadFile(path)
		must(t, err)
		if secret = string(content); time.Now().After(deadline) {
			t.Fatalf("cat waits in %q", secret)
		}
	}
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		for _, args := range []string{"-f " + path, "if ip_dest @old from " + path, "-f -"} {
			f, err := os.Open(path)
			must(t, err)
			status, stdout, stderr := c.runOn(f, nil, append([]string{"check"}, strings.Fields(args)...)...)
			must(t, f.Close())
			if status != exitUsage || strings.Contains(stdout+stderr, secret) {
				t.Errorf("%s: exit status %d, %q, %q", args, status, stdout, stderr)
			}
		}
	})
}

// TestElevatedWritesAsCaller: what the caller may not write is as it was, and what is
// written is the caller's.
func TestElevatedWritesAsCaller(t *testing.T) {
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		precious := c.write("precious", "precious", 0, 0, 0o644)
		beside := filepath.Join(c.folder, "beside")
		link := filepath.Join(c.own, "link")
		must(t, os.Symlink(precious, link))
		// The kernel asks for the effective user there, and for CAP_NET_ADMIN.
		for _, path := range []string{precious, beside, link, "/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/net/ipv4/conf/lo/forwarding"} {
			status, _, stderr := c.run(nil, "compile", "-o", path, "if", "udp")
			if status != exitFailed || !strings.Contains(stderr, "permission denied") {
				t.Errorf("%s: exit status %d, %q", path, status, stderr)
			}
		}
		if content, err := os.ReadFile(precious); err != nil || string(content) != "precious" {
			t.Errorf("there is %q, %v", content, err)
		}
		if _, err := os.Stat(beside); err == nil {
			t.Error("a file was made where the caller may make none")
		}
		written := filepath.Join(c.own, "written")
		if status, _, stderr := c.run(nil, "compile", "-o", written, "if", "udp"); status != exitDone {
			t.Errorf("exit status %d, %q", status, stderr)
		}
		var info unix.Stat_t
		if err := unix.Stat(written, &info); err != nil || info.Uid != stranger || info.Gid != stranger || info.Size == 0 {
			t.Errorf("what was written is %+v, %v", info, err)
		}
	})
}

// TestElevatedTrustsNoEnvironment: cobra writes to the file that a variable names.
func TestElevatedTrustsNoEnvironment(t *testing.T) {
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		for _, folder := range []string{c.folder, c.own} { // not even where the caller may write
			path := filepath.Join(folder, "debug")
			_, _, stderr := c.run([]string{"BASH_COMP_DEBUG_FILE=" + path}, "__complete", "--unknown", "")
			if !strings.Contains(stderr, "unknown flag") { // which is what cobra writes there
				t.Errorf("stderr is %q", stderr)
			}
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s was written", path)
			}
		}
	})
}

// TestElevatedStillWorks: what set-uid and file capabilities are given for.
func TestElevatedStillWorks(t *testing.T) {
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		if c.how.name == "set-gid" || c.how.ambient != nil {
			return // these are not enough to attach
		}
		rules := c.write("own/rules", "if udp then ip_ttl 9", stranger, stranger, 0o600)
		for _, step := range []struct{ command, stdout, stderr string }{
			{"attach -i lo -f " + rules, "", "attached until: repacket detach -i lo"},
			{"list", "if udp then ip_ttl 9", ""},
			{"detach -i lo", "", "lo: detached"},
		} {
			status, stdout, stderr := c.run(nil, strings.Fields(step.command)...)
			if status != exitDone || !strings.Contains(stdout, step.stdout) || !strings.Contains(stderr, step.stderr) {
				t.Errorf("%s: exit status %d, %q, %q", step.command, status, stdout, stderr)
			}
		}
	})
}

// TestElevatedIsNotTraced: the caller cannot trace the process, whose files in /proc are
// root's then (proc(5)), and least of all a thread that has the caller's rights.
func TestElevatedIsNotTraced(t *testing.T) {
	eachElevation(t, func(t *testing.T, c *elevatedCommand) {
		pipe := filepath.Join(c.own, "pipe")
		must(t, unix.Mkfifo(pipe, 0o600))
		must(t, os.Chown(pipe, stranger, stranger))
		cmd := testnet.Command(c.ns, c.binary, "check", "-f", pipe)
		cmd.Args[0] = "repacket"
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: stranger, Gid: stranger}
		cmd.SysProcAttr.AmbientCaps = c.how.ambient
		must(t, cmd.Start())
		writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits until the command reads
		must(t, err)
		var info unix.Stat_t
		must(t, unix.Stat(fmt.Sprintf("/proc/%d/mem", cmd.Process.Pid), &info))
		_, err = writer.WriteString("if udp")
		must(t, err)
		must(t, writer.Close())
		must(t, cmd.Wait())
		if info.Uid != 0 {
			t.Errorf("user %d owns the memory", info.Uid)
		}
	})
}
