package cli

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// TestRunIsConfined looks from outside, by proc(5), at what a run has once its rules act.
func TestRunIsConfined(t *testing.T) {
	needs.Kernel(t)
	rules := writeTest(t, "rules", []byte("if udp then ip_dscp af31\n"))
	must(t, os.Chmod(rules, 0o644))
	for _, test := range []struct {
		name   string
		args   []string
		sudo   bool
		filter bool // a clsact filter holds the rules where the kernel has no tcx
	}{
		{"native", []string{"--hook", "xdp", "if", "udp", "then", "ip_dscp", "af31"}, false, false},
		{"generic", []string{"--hook", "xdp-generic", "if", "udp", "then", "ip_dscp", "af31"}, true, false},
		{"tc", []string{"--hook", "tc", "if", "udp", "then", "ip_dscp", "af31"}, true, true},
		{"out", []string{"-Q", "out", "-v", "if", "udp", "then", "ip_dscp", "af31"}, false, true},
		{"replies", []string{"-c", "5", "if", "udp_dest", "443", "then", "udp_dest", "8080", "replies", "tracked"}, true, true},
		{"a file, once", []string{"--hook", "xdp", "--once", "-f", rules}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := startConfined(t, test.sudo, test.args...)
			uid := 0
			if test.sudo {
				uid = stranger
			}
			caps := uint64(0)
			if test.filter && !hasTCX(t) {
				caps = 1 << unix.CAP_NET_ADMIN
			}
			c.hasNoMoreThan(t, caps, uid)
			c.holdsNoProgram(t)
			c.stop(t)
		})
	}
}

// TestReloadKeepsPrivileges: what SIGHUP may ask for takes them, which -v says, and no others.
func TestReloadKeepsPrivileges(t *testing.T) {
	needs.Kernel(t)
	rules := writeTest(t, "rules", []byte("if udp then ip_dscp af31\n"))
	c := startConfined(t, true, "-v", "--hook", "xdp", "-f", rules)
	c.said(t, "the run keeps the privileges to attach rules again; --once gives them up")
	for _, s := range c.statuses(t) {
		if s["NoNewPrivs"] != "1" {
			t.Errorf("no_new_privs is %s", s["NoNewPrivs"])
		}
		for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
			has := capabilitySet(t, s[set])
			if has&(1<<unix.CAP_BPF) == 0 || has&(1<<unix.CAP_SYS_MODULE|1<<unix.CAP_SYS_PTRACE|1<<unix.CAP_SYS_RAWIO|1<<unix.CAP_CHOWN) != 0 {
				t.Errorf("%s is %s", set, s[set])
			}
		}
	}
	must(t, os.WriteFile(rules, []byte("if udp then ip_dscp ef\n"), 0o600))
	must(t, c.cmd.Process.Signal(unix.SIGHUP))
	c.said(t, "replaced by the rules of")
	c.stop(t)
}

// confined is a run on an interface of its own.
type confined struct {
	cmd   *testnet.Cmd
	lines *bufio.Reader // of its stderr
	heard []string      // of these so far
}

// startConfined starts a run and waits until its rules act.
func startConfined(t *testing.T, sudo bool, args ...string) *confined {
	t.Helper()
	pair, err := lab.NewPair(lab.PairConfig{})
	must(t, err)
	t.Cleanup(func() { pair.Close() })
	exe, err := os.Executable()
	must(t, err)
	errs, told, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { errs.Close() })
	cmd := testnet.Command(pair.B, exe, append([]string{"-i", pair.Config.B.Name}, args...)...)
	cmd.Args[0], cmd.Stderr, cmd.Env = "repacket", told, os.Environ()
	if sudo {
		cmd.Env = append(cmd.Env, fmt.Sprintf("SUDO_UID=%d", stranger), fmt.Sprintf("SUDO_GID=%d", stranger))
	}
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, told.Close())
	c := &confined{cmd: cmd, lines: bufio.NewReader(errs)}
	c.said(t, pair.Config.B.Name+": ")
	return c
}

// said waits for a line on stderr with a text in it, if there was none.
func (c *confined) said(t *testing.T, text string) {
	t.Helper()
	is := func(line string) bool { return strings.Contains(line, text) && !strings.Contains(line, "warning") }
	for !slices.ContainsFunc(c.heard, is) {
		line, err := c.lines.ReadString('\n')
		if c.heard = append(c.heard, line); err != nil {
			t.Fatalf("the run has not said %q, but %q: %v", text, c.heard, err)
		}
	}
}

// stop ends the run, which detaches its rules and sums up.
func (c *confined) stop(t *testing.T) {
	t.Helper()
	must(t, c.cmd.Process.Signal(unix.SIGTERM))
	c.said(t, " 0 pkts")
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// statuses are the lines of /proc/PID/task/TID/status of all threads.
func (c *confined) statuses(t *testing.T) (all []map[string]string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", c.cmd.Process.Pid))
	must(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		s := map[string]string{}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			s[key] = strings.TrimSpace(value)
		}
		all = append(all, s)
	}
	if len(all) < 2 {
		t.Fatalf("the run has %d threads, so this says little", len(all))
	}
	return all
}

// hasNoMoreThan checks that all threads have those capabilities alone, belong to a user, and gain nothing.
func (c *confined) hasNoMoreThan(t *testing.T, caps uint64, uid int) {
	t.Helper()
	for _, s := range c.statuses(t) {
		for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
			if capabilitySet(t, s[set]) != caps {
				t.Errorf("%s is %s, not %x", set, s[set], caps)
			}
		}
		for key, want := range map[string]string{"CapInh": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
			if s[key] != want {
				t.Errorf("%s is %s, not %s", key, s[key], want)
			}
		}
		for _, key := range []string{"Uid", "Gid"} {
			if id := fmt.Sprint(uid); slices.ContainsFunc(strings.Fields(s[key]), func(is string) bool { return is != id }) {
				t.Errorf("%s is %s, not %s", key, s[key], id)
			}
		}
	}
}

func capabilitySet(t *testing.T, hex string) (set uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(hex, "%x", &set); err != nil {
		t.Fatalf("capabilities %q: %v", hex, err)
	}
	return set
}

// holdsNoProgram checks that no descriptor is one of a program, which could be attached elsewhere. That
// of a link is another thing.
func (c *confined) holdsNoProgram(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", c.cmd.Process.Pid))
	must(t, err)
	maps := 0
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(t, err)
		if strings.Contains(string(text), "prog_type:") {
			t.Errorf("%s is a program:\n%s", f, text)
		}
		if strings.Contains(string(text), "map_type:") {
			maps++
		}
	}
	if maps == 0 {
		t.Error("no descriptor is one of a map, so this looks in the wrong place")
	}
}

// hasTCX reports whether the kernel has tcx: since 6.6.
func hasTCX(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	must(t, unix.Uname(&name))
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 6
}
