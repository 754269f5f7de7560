package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// terminalRun is a run whose terminal, and session, is one of the test's own.
type terminalRun struct {
	t      *testing.T
	master *os.File // closes the terminal
	cmd    *testnet.Cmd
	errs   *os.File
	lines  *bufio.Reader // of its stderr
}

// onTerminal starts a program of TestMain, which runs rules on lo, on a terminal of
// its own. More files are its descriptors from 3 on.
func onTerminal(t *testing.T, program string, more []*os.File, args ...string) *terminalRun {
	t.Helper()
	needs.Kernel(t)
	master, slave := openTerminal(t)
	exe, err := os.Executable()
	must(t, err)
	errs, told, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { errs.Close() })
	ns, err := lab.NewNamespace()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	// A test that runs under nohup would hand that on, and the run outlive its
	// terminal; what is caught here is not ignored there.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, unix.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangup) })
	cmd := testnet.Command(ns, exe, args...)
	cmd.Args[0], cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = program, slave, told, more
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	must(t, cmd.Start())
	// A run that goes on is not read to its end.
	giveUp := time.AfterFunc(2*testPatience, func() { _ = cmd.Process.Kill(); _ = errs.Close() })
	t.Cleanup(func() { giveUp.Stop() })
	must(t, slave.Close())
	must(t, told.Close())
	return &terminalRun{t, master, cmd, errs, bufio.NewReader(errs)}
}

// says waits for a line on stderr with a text in it.
func (r *terminalRun) says(text string) {
	r.t.Helper()
	if line, err := r.lines.ReadString('\n'); err != nil || !strings.Contains(line, text) {
		r.t.Fatalf("the run says %q, %v, and not %q", line, err, text)
	}
}

// ends waits until all that has the run's stderr is gone: it has taken its rules off.
func (r *terminalRun) ends() {
	r.t.Helper()
	rest, err := io.ReadAll(r.lines)
	if err != nil || !strings.HasPrefix(string(rest), "match 0 pkts in ") {
		r.t.Fatalf("the run says %q, %v", rest, err)
	}
	if err := r.cmd.Wait(); err != nil {
		r.t.Error(err)
	}
}

func rulesFile(t *testing.T) string { return writeTest(t, "rules", []byte("if udp\n")) }

// A run ends when its terminal is closed, as when a shell's window is; the
// kernel sends SIGHUP then. With -f it else reads the file again.
func TestRunEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	r := onTerminal(t, "repacket", nil, "-i", "lo", "-f", rulesFile(t))
	r.says("lo: tc")
	must(t, r.cmd.Process.Signal(unix.SIGHUP)) // the terminal is there
	r.says("replaced by the rules of")
	must(t, r.master.Close())
	r.ends()
}

// Without -f it ends on SIGHUP though the terminal is there yet.
func TestRunEndsOnSIGHUP(t *testing.T) {
	t.Parallel()
	r := onTerminal(t, "repacket", nil, "-i", "lo", "if", "udp")
	r.says("lo: tc")
	must(t, r.cmd.Process.Signal(unix.SIGHUP))
	r.ends()
}

// A run behind an interactive shell gets SIGHUP while the terminal is there; that goes
// when the shell ends, and the kernel sends no other signal to what is in the
// background. Here the shell waits until the run has read its rules again.
func TestRunEndsWithItsShell(t *testing.T) {
	t.Parallel()
	told, tell, err := os.Pipe()
	must(t, err)
	defer tell.Close()
	r := onTerminal(t, "session-leader", []*os.File{told}, "-i", "lo", "-f", rulesFile(t))
	must(t, told.Close())
	job := 0
	_, err = fmt.Fscanf(r.lines, "job %d\n", &job)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() { // then it may go on
			_ = unix.Kill(job, unix.SIGKILL)
		}
	})
	r.says("lo: tc")
	must(t, r.cmd.Process.Signal(unix.SIGHUP))
	r.says("replaced by the rules of")
	must(t, tell.Close())
	r.ends()
}

// leadSession is an interactive shell as far as it matters here: it runs the command in
// the background, in a process group of its own, passes SIGHUP on to it, and ends, once
// descriptor 3 is closed.
func leadSession() int {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, unix.SIGHUP)
	exe, err := os.Executable()
	if err != nil {
		return 1
	}
	job := exec.Command(exe, os.Args[1:]...)
	job.Args[0], job.Stdin, job.Stderr = "repacket", os.Stdin, os.Stderr
	job.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := job.Start(); err != nil {
		return 1
	}
	fmt.Fprintf(os.Stderr, "job %d\n", job.Process.Pid)
	<-hangup
	if err := unix.Kill(-job.Process.Pid, unix.SIGHUP); err != nil {
		return 1
	}
	if _, err := io.ReadAll(os.NewFile(3, "told")); err != nil {
		return 1
	}
	return 0
}

// openTerminal makes a terminal; it is closed when master is.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, err := unix.IoctlRetInt(int(master.Fd()), unix.TIOCGPTPEER)
	if err != nil {
		t.Fatal(err)
	}
	return master, os.NewFile(uintptr(peer), "terminal")
}
