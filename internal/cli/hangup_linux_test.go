package cli

import (
	"bufio"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/lab"
	"repacket/test/needs"
	"repacket/test/testnet"
)

// A run ends when its terminal is closed, as when a shell's window is; the
// kernel sends SIGHUP then. Else SIGHUP ends nothing, see TestSIGHUPWithoutFile.
func TestRunEndsWithItsTerminal(t *testing.T) {
	t.Parallel()
	needs.Kernel(t)
	master, slave := openTerminal(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	errs, told, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer errs.Close()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	// A test that runs under nohup would hand that on, and the run outlive its
	// terminal; what is caught here is not ignored there.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, unix.SIGHUP)
	defer signal.Stop(hangup)
	cmd := testnet.Command(ns, exe, "-i", "lo", "if", "udp")
	cmd.Args[0], cmd.Stdin, cmd.Stderr = "repacket", slave, told // see TestMain
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
	slave.Close()
	told.Close()
	lines := bufio.NewReader(errs)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "lo: tc") {
		t.Fatalf("the run says %q, %v", line, err)
	}
	if err := cmd.Process.Signal(unix.SIGHUP); err != nil { // the terminal is there
		t.Fatal(err)
	}
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "no file to read again") {
		t.Fatalf("the run says %q, %v", line, err)
	}
	master.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
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
