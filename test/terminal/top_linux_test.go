package terminal

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"repacket/internal/cli"
	"repacket/internal/lab"
	"repacket/test/needs"
)

// commandWord makes the test binary the command.
const commandWord = "repacket"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == commandWord {
		env := cli.System()
		env.Args, env.NoSession = os.Args[2:], true
		os.Exit(cli.Run(env))
	}
	needs.KernelMain()
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// terminal is one of tmux, in the second namespace of a pair.
type terminal struct {
	t      *testing.T
	pair   *lab.Pair
	self   string
	folder string
}

func newTerminal(t *testing.T, columns, lines int) *terminal {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "top") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t, pair, self, folder}
	t.Cleanup(func() {
		_, _ = x.try("kill-server") // there may be none any more
		_ = os.RemoveAll(folder)
		if err := pair.Close(); err != nil {
			t.Error(err)
		}
	})
	x.tmux("new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(lines), "exec sleep 1000")
	x.tmux("set-option", "-g", "remain-on-exit", "on")
	return x
}

// try calls tmux in the namespace.
func (x *terminal) try(args ...string) (out string, err error) {
	err = x.pair.B.Do(func() error {
		c := exec.Command("tmux", append([]string{"-S", filepath.Join(x.folder, "s"), "-f", "/dev/null"}, args...)...)
		c.Env = append(os.Environ(), "TERM=xterm-256color", "TMUX=", "LANG=C.UTF-8")
		text, err := c.CombinedOutput()
		out = string(text)
		return err
	})
	return out, err
}

func (x *terminal) tmux(args ...string) string {
	x.t.Helper()
	out, err := x.try(args...)
	if err != nil {
		x.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return out
}

// repacket runs a command in the namespace that ends by itself.
func (x *terminal) repacket(args ...string) {
	x.t.Helper()
	if err := x.pair.B.Do(func() error {
		out, err := exec.Command(x.self, append([]string{commandWord}, args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("repacket %q: %w: %s", args, err, out)
		}
		return nil
	}); err != nil {
		x.t.Fatal(err)
	}
}

// start starts a command in the terminal, and tells its status and the terminal's state behind it.
func (x *terminal) start(line string) {
	x.t.Helper()
	x.tmux("respawn-pane", "-k", "stty -a > "+x.folder+"/before; "+x.self+" "+commandWord+" "+line+
		"; echo exit $?; stty -a > "+x.folder+"/behind; echo that was all; exec sleep 1000")
}

func (x *terminal) keys(names ...string) {
	x.t.Helper()
	for _, k := range names {
		x.tmux("send-keys", k)
	}
}

// await waits until the screen has what the expressions match, and returns it.
func (x *terminal) await(expressions ...string) string {
	x.t.Helper()
	screen := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		screen = x.tmux("capture-pane", "-p")
		all := true
		for _, e := range expressions {
			all = all && regexp.MustCompile(e).MatchString(screen)
		}
		if all {
			return screen
		}
	}
	x.t.Fatalf("the screen does not have %q:\n%s", expressions, screen)
	return ""
}

// wantClean expects the terminal as it was before: the other screen is gone, the cursor is there, and
// the line discipline is as it was.
func (x *terminal) wantClean(status int) {
	x.t.Helper()
	x.await(fmt.Sprintf(`(?m)^exit %d$`, status), `that was all`)
	if got := strings.TrimSpace(x.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{wrap_flag}")); got != "0 1 0 1" {
		x.t.Errorf("alternate screen, cursor, mouse and wrapping are %s", got)
	}
	before, err := os.ReadFile(filepath.Join(x.folder, "before"))
	if err != nil {
		x.t.Fatal(err)
	}
	behind, err := os.ReadFile(filepath.Join(x.folder, "behind"))
	if err != nil || string(behind) != string(before) || len(before) == 0 {
		x.t.Errorf("stty says\n%s\nand said\n%s\n%v", behind, before, err)
	}
}

// send sends UDP packets from the other end.
func (x *terminal) send(packets int, port uint16) {
	x.t.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), port)
	if err := x.pair.A.Do(func() error {
		c, err := net.ListenUDP("udp4", nil) // not connected: nobody listens there
		if err != nil {
			return err
		}
		defer c.Close()
		for range packets {
			if _, err := c.WriteToUDPAddrPort([]byte("x"), to); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		x.t.Fatal(err)
	}
}

// TestTop: rules are seen while they work, a rule has a page, the filter holds as it is typed, and q
// leaves the terminal clean.
func TestTop(t *testing.T) {
	x := newTerminal(t, 80, 24)
	x.repacket("attach", "-q", "-i", "right", "web: if udp_dest 443 then ip_dscp ef else if udp_dest 53")
	x.start("top")
	x.await(`(?m)^repacket top: 2 rules on 1 interface, `, `(?m)^right +in  web +0 `, `(?m)^right +in  2 +0 .* if udp_dest 53$`)
	x.send(40, 53)
	x.await(`(?m)^right +in  2 .* 100% .*█ if udp_dest 53\n(.*\n)?right +in  web `) // the busiest first
	x.keys("/", "w", "e", "b")
	x.await(`filter: web_`, `INTERFACE.*\nright +in  web .*\n\n`)
	x.keys("Enter", "Enter")
	x.await(`(?m)^rule +web$`, `(?m)^hook +tc, packets that arrive$`, `(?m)^owner +attached.*stays until detach$`,
		`(?m)^rule 1: if udp_dest 443 then ip_dscp ef$`, `(?m)^  inverse, which is not attached: `)
	x.keys("Escape")
	x.await(`enter rule`) // Escape and a letter at once would be Alt and the letter
	x.keys("q")
	x.wantClean(0)
}

// TestTopSmall: a terminal of 20 columns has a message of its own, from the start and later.
func TestTopSmall(t *testing.T) {
	x := newTerminal(t, 20, 24)
	x.start("top")
	x.wantClean(2)
	screen := strings.Join(strings.Fields(x.await("that was all")), "") // lines are broken within words
	if !strings.Contains(screen, "theterminalhas20columnsand24lines,andtopneeds80and24") {
		t.Error(screen)
	}
	x.tmux("resize-window", "-x", "100", "-y", "30")
	x.start("top")
	x.await(`nothing of Repacket is attached`)
	x.tmux("resize-window", "-x", "20", "-y", "30")
	x.await(`the terminal has 20\ncolumns and 30`)
	x.tmux("resize-window", "-x", "100", "-y", "30")
	x.await(`nothing of Repacket is attached`)
	x.keys("q")
	x.wantClean(0)
}

// TestTopSignals: SIGINT and SIGTERM leave the terminal clean, too.
func TestTopSignals(t *testing.T) {
	x := newTerminal(t, 80, 24)
	for _, signal := range []string{"INT", "TERM"} {
		x.start("top")
		x.await(`nothing of Repacket is attached`)
		pid := strings.TrimSpace(x.tmux("display-message", "-p", "#{pane_pid}"))
		out, err := exec.Command("sh", "-c", "kill -"+signal+" $(cat /proc/"+pid+"/task/"+pid+"/children)").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		x.wantClean(0)
	}
}

// TestTopNanoseconds: the kernel measures only between the two keys, and when top is killed no more.
func TestTopNanoseconds(t *testing.T) {
	x := newTerminal(t, 80, 24)
	x.repacket("attach", "-q", "-i", "right", "if udp_dest 443")
	x.start("top")
	x.await(`if udp_dest 443`)
	x.keys("n")
	x.await(`every eBPF program of this machine`)
	x.keys("n")
	x.await(`nanoseconds are on`)
	x.keys("Enter")
	for deadline := time.Now().Add(patience); ; {
		x.send(100, 443)
		if regexp.MustCompile(`program +\d+ ns a packet`).MatchString(x.tmux("capture-pane", "-p")) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(x.tmux("capture-pane", "-p"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	x.keys("n")
	x.await(`program +not measured`)
	x.keys("q")
	x.wantClean(0)
}

// TestTopEverywhere: the rules of both namespaces are there, and the namespace that has no name is
// that of a process.
func TestTopEverywhere(t *testing.T) {
	x := newTerminal(t, 100, 24)
	x.repacket("attach", "-q", "-i", "right", "here: if udp_dest 443")
	if err := x.pair.A.Do(func() error {
		return exec.Command(x.self, commandWord, "attach", "-q", "-i", "left", "there: if udp_dest 443").Run()
	}); err != nil {
		t.Fatal(err)
	}
	var sleeper *exec.Cmd
	if err := x.pair.A.Do(func() error {
		sleeper = exec.Command("sleep", "1000")
		return sleeper.Start()
	}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	x.start("top --all-namespaces")
	x.await(`(?m)^- +right +in  here `)
	x.keys("/", "t", "h", "e", "r", "e")
	x.await(fmt.Sprintf(`(?m)^(pid %d|\S+) +left +in  there `, sleeper.Process.Pid), `repacket top everywhere`)
	x.keys("Enter", "q")
	x.wantClean(0)
}
