package testnet

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"repacket/internal/lab"
	"repacket/test/needs"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a child process: see childMain.
const childEnv = "LAB_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		childMain()
		return
	}
	needs.KernelMain()
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-tick.C
	}
}

func newNamespace(t *testing.T) *lab.Namespace {
	t.Helper()
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

func newPair(t *testing.T, cfg lab.PairConfig) *lab.Pair {
	t.Helper()
	p, err := lab.NewPair(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// inode tells network namespaces apart.
func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatalf("stat %s: %v", path, err)
	}
	return st.Ino
}

func interfaceNames(t *testing.T) []string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names
}

func openFDs(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestNamespaceHasOnlyLoopback(t *testing.T) {
	ns := newNamespace(t)
	err := ns.Do(func() error {
		if got := interfaceNames(t); len(got) != 1 || got[0] != "lo" {
			t.Errorf("interfaces %q, want only lo", got)
		}
		lo, err := net.InterfaceByName("lo")
		if err == nil && lo.Flags&net.FlagUp == 0 {
			t.Error("lo is down")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDoEntersAndComesBack(t *testing.T) {
	outer, inner := newNamespace(t), newNamespace(t)
	home := inode(t, "/proc/thread-self/ns/net")
	failure := errors.New("from inside")
	err := outer.Do(func() error {
		if got, want := inode(t, "/proc/thread-self/ns/net"), inode(t, outer.Path()); got != want {
			t.Errorf("in namespace %d, want the outer, %d", got, want)
		}
		err := inner.Do(func() error {
			if got, want := inode(t, "/proc/thread-self/ns/net"), inode(t, inner.Path()); got != want {
				t.Errorf("in namespace %d, want the inner, %d", got, want)
			}
			return failure
		})
		if got, want := inode(t, "/proc/thread-self/ns/net"), inode(t, outer.Path()); got != want {
			t.Errorf("back in namespace %d, want the outer, %d", got, want)
		}
		return err
	})
	if !errors.Is(err, failure) {
		t.Errorf("error %v, want the function's own", err)
	}
	if got := inode(t, "/proc/thread-self/ns/net"); got != home {
		t.Errorf("back in namespace %d, want %d", got, home)
	}
	if inode(t, outer.Path()) == home || inode(t, inner.Path()) == home {
		t.Error("the new namespaces are the process's own")
	}
}

func TestDoComesBackAfterPanic(t *testing.T) {
	ns := newNamespace(t)
	home := inode(t, "/proc/thread-self/ns/net")
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = ns.Do(func() error { panic("inside") })
	}()
	if got := inode(t, "/proc/thread-self/ns/net"); got != home {
		t.Errorf("in namespace %d, want %d", got, home)
	}
}

func TestClosedNamespace(t *testing.T) {
	ns, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ns.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if ns.FD() != -1 {
		t.Errorf("descriptor %d after close", ns.FD())
	}
	if err := ns.Do(func() error { return nil }); !errors.Is(err, unix.EBADF) {
		t.Errorf("do: error %v, want EBADF", err)
	}
	if err := Command(ns, "/proc/self/exe").Run(); err == nil {
		t.Error("a command ran in a closed namespace")
	}
}

func TestCommandRunsInside(t *testing.T) {
	ns := newNamespace(t)
	cmd := Command(ns, "readlink", "/proc/self/ns/net")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("net:[%d]", inode(t, ns.Path()))
	if got := strings.TrimSpace(string(out)); got != want {
		t.Errorf("the child is in %s, want %s", got, want)
	}
	out, err = Command(ns, "sh", "-c", "echo out; echo err >&2; exit 3").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != "out\nerr\n" {
		t.Errorf("output %q, error %v, want both lines and exit status 3", out, err)
	}
}

func TestCloseKillsChildren(t *testing.T) {
	ns := newNamespace(t)
	cmd := Command(ns, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.String() != "signal: killed" {
		t.Errorf("the child ended with %v, want it killed", err)
	}
}

// report tells the parent.
func report(line ...any) {
	fmt.Println(line...)
}

// childMain makes a namespace with a veth whose other end is given to the
// parent's namespace, starts a child inside, and waits to be killed.
func childMain() {
	err := func() error {
		ns, err := lab.NewNamespace()
		if err != nil {
			return err
		}
		parent, err := os.Open(os.Getenv(childEnv))
		if err != nil {
			return err
		}
		err = ns.Do(func() error {
			veth := netlink.NewVeth(netlink.LinkAttrs{Name: "inside"})
			veth.PeerName, veth.PeerNamespace = "outside", netlink.NsFd(parent.Fd())
			return netlink.LinkAdd(veth)
		})
		if err != nil {
			return err
		}
		return Command(ns, "sleep", "1000").Start()
	}()
	report("ready", err)
	select {}
}

func TestKernelCleansUpAfterSIGKILL(t *testing.T) {
	ns := newNamespace(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+ns.Path())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready <nil>\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
	outside := func() bool {
		return ns.Do(func() error { _, err := net.InterfaceByName("outside"); return err }) == nil
	}
	if !outside() {
		t.Error("the child's veth is not there")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the child was not killed")
	}
	eventually(t, "the killed process's namespace goes", func() bool { return !outside() })
}
