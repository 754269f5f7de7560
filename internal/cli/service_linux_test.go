package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// unit is the text of repacket@.service.
func unit(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/systemd/repacket@.service")
	must(t, err)
	return string(text)
}

// setting is the one value of a setting of the unit.
func setting(t *testing.T, name string) string {
	t.Helper()
	all := regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllStringSubmatch(unit(t), -1)
	if len(all) != 1 {
		t.Fatalf("the unit has %d settings %s", len(all), name)
	}
	return all[0][1]
}

// analyze runs systemd-analyze on a unit for eth1, whose program is this one.
func analyze(t *testing.T, text string, args ...string) (said string, ok bool) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	file := filepath.Join(t.TempDir(), "repacket@eth1.service")
	must(t, os.WriteFile(file, []byte(strings.Replace(text, "/usr/bin/repacket", exe, 1)), 0o644))
	out, err := exec.Command("systemd-analyze", append(args, file)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("systemd-analyze (make deps installs it): %v", err)
	}
	return string(out), err == nil
}

// TestUnit: systemd finds nothing wrong with the unit, and its sandbox is scored below 2; of a
// unit with a word that it does not know, and one without the sandbox, it says so.
func TestUnit(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	if said, ok := analyze(t, unit(t), "verify", "--man=no"); !ok || said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
	if said, _ := analyze(t, strings.Replace(unit(t), "BindsTo=", "BoundTo=", 1), "verify", "--man=no"); !strings.Contains(said, "BoundTo") {
		t.Errorf("systemd-analyze verify has not found a wrong word: %s", said)
	}
	const below = "--threshold=19" // tenths
	if said, ok := analyze(t, unit(t), "security", "--no-pager", "--offline=true", below); !ok || !strings.Contains(said, "Overall exposure level") {
		t.Errorf("systemd-analyze security: %s", said)
	}
	if said, ok := analyze(t, strings.Replace(unit(t), "ProtectSystem=strict\n", "PrivateDevices=no\nProtectProc=default\nRestrictNamespaces=no\nNoNewPrivileges=no\nSystemCallFilter=\n", 1)+"\n[Service]\nDynamicUser=no\n", "security", "--no-pager", "--offline=true", below); ok {
		t.Errorf("systemd-analyze security is content with a unit without a sandbox: %s", said)
	}
}

// service is the command of the unit, run as systemd does: by a user of its own with the
// capabilities of the unit, and with a socket to tell how it fares.
type service struct {
	t      *testing.T
	ns     *lab.Namespace
	cmd    *testnet.Cmd
	socket *net.UnixConn
	rules  string // the file
	stderr bytes.Buffer
}

// newService prepares the command for eth1, an end of a veth pair. The socket is a file or, as
// systemd's own can be, abstract.
func newService(t *testing.T, rules string, abstract bool) *service {
	t.Helper()
	folder := openFolder(t)
	s := &service{t: t, rules: filepath.Join(folder, "eth1.rules")}
	if rules != "" {
		s.write(rules)
	}
	var err error
	s.ns, err = lab.NewNamespace()
	must(t, err)
	t.Cleanup(func() { must(t, s.ns.Close()) })
	s.addInterface()
	name := filepath.Join(folder, "notify")
	if abstract {
		name = "@" + name
	}
	must(t, s.ns.Do(func() (err error) { // an abstract name is one of the network namespace
		s.socket, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		return err
	}))
	t.Cleanup(func() { s.socket.Close() })
	if !abstract {
		must(t, os.Chmod(name, 0o777)) //nolint:gosec // systemd's own is like that
	}
	binary := filepath.Join(folder, "repacket")
	copyExecutable(t, binary)
	line := strings.NewReplacer("/etc/repacket/%I.rules", s.rules, "%I", "eth1", " $OPTIONS", "").Replace(setting(t, "ExecStart"))
	words := strings.Fields(line)
	if words[0] != "/usr/bin/repacket" {
		t.Fatalf("the unit starts %s", words[0])
	}
	s.cmd = testnet.Command(s.ns, binary, words[1:]...)
	s.cmd.Args[0], s.cmd.Dir, s.cmd.Stderr = "repacket", "/", &s.stderr
	s.cmd.Env = []string{"PATH=/usr/bin", "NOTIFY_SOCKET=" + name}
	s.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: stranger, Gid: stranger}
	s.cmd.SysProcAttr.AmbientCaps = capabilitiesOf(t, setting(t, "AmbientCapabilities"))
	return s
}

// addInterface makes eth1.
func (s *service) addInterface() {
	s.t.Helper()
	must(s.t, s.ns.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "peer1"})
	}))
}

// write writes the rules, which the service's user may read.
func (s *service) write(rules string) {
	s.t.Helper()
	must(s.t, os.WriteFile(s.rules, []byte(rules), 0o644)) //nolint:gosec // for the service's user
}

// capabilitiesOf are those that a setting names, by their numbers (linux/capability.h).
func capabilitiesOf(t *testing.T, setting string) (all []uintptr) {
	t.Helper()
	numbers := map[string]uintptr{"CAP_BPF": unix.CAP_BPF, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_PERFMON": unix.CAP_PERFMON}
	for _, name := range strings.Fields(setting) {
		number, ok := numbers[name]
		if !ok {
			t.Fatalf("the unit gives %s", name)
		}
		all = append(all, number)
	}
	return all
}

// start starts the command, which is killed if it goes on for too long.
func (s *service) start() {
	s.t.Helper()
	must(s.t, s.cmd.Start())
	giveUp := time.AfterFunc(2*testPatience, func() { _ = s.cmd.Process.Kill() })
	s.t.Cleanup(func() { giveUp.Stop(); _ = s.cmd.Process.Kill() })
}

// told is the next state that the service tells, line by line.
func (s *service) told() []string {
	s.t.Helper()
	must(s.t, s.socket.SetReadDeadline(time.Now().Add(testPatience)))
	state := make([]byte, 4096)
	n, err := s.socket.Read(state)
	if err != nil {
		s.t.Fatalf("the service tells nothing: %v; stderr is:\n%s", err, s.stderr.String())
	}
	return strings.Split(string(state[:n]), "\n")
}

// attached is how many programs are on incoming packets of eth1.
func (s *service) attached() (programs int) {
	s.t.Helper()
	status, stdout, stderr := 0, "", ""
	must(s.t, s.ns.Do(func() error {
		env := System()
		var out, errs bytes.Buffer
		env.Args, env.Stdout, env.Stderr = []string{"list", "-i", "eth1", "--json"}, &out, &errs
		status, stdout, stderr = Run(env), out.String(), errs.String()
		return nil
	}))
	if status != exitDone {
		s.t.Fatalf("list: %d %s", status, stderr)
	}
	return strings.Count(stdout, `"interface":"eth1"`)
}

// wants the words of a state, and those of its status.
func wantState(t *testing.T, got []string, state, status string) {
	t.Helper()
	if got[0] != state || !slices.ContainsFunc(got[1:], func(line string) bool { return strings.HasPrefix(line, "STATUS="+status) }) {
		t.Errorf("the service has told %q, and not %s, STATUS=%s", got, state, status)
	}
}

// TestServiceNotifies: the command of the unit, with the unit's capabilities and a user of its
// own, is ready once its rules are attached; it tells when it reads them again, that they are
// wrong, and that it stops.
func TestServiceNotifies(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	for _, abstract := range []bool{false, true} {
		t.Run(fmt.Sprintf("abstract=%v", abstract), func(t *testing.T) {
			s := newService(t, "if udp_dest 443 then udp_dest 8080\n", abstract)
			s.start()
			wantState(t, s.told(), "READY=1", "rewrites packets of eth1")
			if s.attached() != 1 {
				t.Error("it is ready, and nothing is attached")
			}
			s.write("if nonsense\n")
			s.reload()
			wantState(t, s.told(), "READY=1", "the rules before go on: ")
			s.write("if udp_dest 443 then udp_dest 8081\n")
			s.reload()
			wantState(t, s.told(), "READY=1", "rewrites packets of eth1")
			must(t, s.cmd.Process.Signal(unix.SIGTERM))
			if got := s.told(); got[0] != "STOPPING=1" {
				t.Errorf("the service has told %q", got)
			}
			if err := s.cmd.Wait(); err != nil || s.attached() != 0 {
				t.Errorf("it ends with %v, %s", err, s.stderr.String())
			}
		})
	}
}

// reload does what ExecReload does, and wants to be told so, with the time (sd_notify(3)).
func (s *service) reload() {
	s.t.Helper()
	if got := setting(s.t, "ExecReload"); got != "/bin/kill -HUP $MAINPID" {
		s.t.Fatalf("the unit reloads by %s", got)
	}
	var before unix.Timespec
	must(s.t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &before))
	must(s.t, s.cmd.Process.Signal(unix.SIGHUP))
	got := s.told()
	wantState(s.t, got, "RELOADING=1", "reads the rules again")
	micros, err := strconv.ParseInt(strings.TrimPrefix(got[1], "MONOTONIC_USEC="), 10, 64)
	if err != nil || micros < before.Nano()/1000 {
		s.t.Errorf("it has told the time %q, and it was %d before", got[1], before.Nano()/1000)
	}
}

// TestServiceWithWrongRules: with a wrong file, or none, nothing is attached, and the status is
// one with which the service is not started again.
func TestServiceWithWrongRules(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	for rules, want := range map[string]string{"": "there is no such file", "if nonsense\n": "unknown word nonsense"} {
		s := newService(t, rules, false)
		s.start()
		err := s.cmd.Wait()
		if status := s.cmd.ProcessState.ExitCode(); status != exitUsage || !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%q: %v, %s", rules, err, s.stderr.String())
		}
		if s.attached() != 0 {
			t.Errorf("%q: something is attached", rules)
		}
		must(t, s.socket.SetReadDeadline(time.Now()))
		if n, err := s.socket.Read(make([]byte, 100)); err == nil {
			t.Errorf("%q: it has told %d bytes", rules, n)
		}
	}
	if got := strings.Fields(setting(t, "RestartPreventExitStatus")); !slices.Contains(got, strconv.Itoa(exitUsage)) {
		t.Errorf("the unit starts again after wrong rules: only %v prevent it", got)
	}
}

// TestServiceWithoutManager: a manager that is not there is a warning, and the rules act.
func TestServiceWithoutManager(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "if", "udp")
	f.Notify = func(string) error { return errFake }
	f.start()
	f.await(&f.stderr, "warning: the service manager is not told how the run fares: the kernel is gone\n  hint: NOTIFY_SOCKET names its socket\n")
	f.send(unix.SIGTERM)
	if status := f.wait(); status != exitDone || strings.Count(f.stderr.String(), "manager") != 1 {
		t.Errorf("exit status %d, %s", status, f.stderr.String())
	}
}

// TestServiceEndsWithItsInterface: the run ends when the interface goes, with a status with which
// systemd starts it again; it binds it to the device, which also pulls it in.
func TestServiceEndsWithItsInterface(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	s := newService(t, "if udp\n", false)
	s.start()
	wantState(t, s.told(), "READY=1", "rewrites packets of eth1")
	must(t, s.ns.Do(func() error { return lab.RemoveLink("eth1") }))
	if got := s.told(); got[0] != "STOPPING=1" {
		t.Errorf("the service has told %q", got)
	}
	err := s.cmd.Wait()
	if status := s.cmd.ProcessState.ExitCode(); status != exitFailed || slices.Contains(strings.Fields(setting(t, "RestartPreventExitStatus")), strconv.Itoa(status)) {
		t.Errorf("it ends with %v, %s", err, s.stderr.String())
	}
	const device = "sys-subsystem-net-devices-%i.device" // systemd.device(5), systemd.unit(5)
	for _, name := range []string{"BindsTo", "After", "WantedBy"} {
		if got := setting(t, name); got != device {
			t.Errorf("%s=%s, and not %s", name, got, device)
		}
	}
}
