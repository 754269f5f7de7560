package lab

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// onFirstThread makes the test binary a child that makes a namespace on the
// process's first thread, where goroutines of a test never are for sure.
const onFirstThread = "LAB_TEST_FIRST_THREAD"

func init() {
	if os.Getenv(onFirstThread) != "" {
		runtime.LockOSThread() // init and TestMain run on the first thread then
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(onFirstThread) != "" {
		firstThreadMain()
		return
	}
	needs.KernelMain()
	os.Exit(m.Run())
}

// firstThreadMain does what NewNamespace does when its goroutine happens to be
// on the first thread.
func firstThreadMain() {
	const self = "/proc/self/ns/net"
	n := &Namespace{starts: make(chan func()), closed: make(chan struct{})}
	before, _ := os.Readlink(self)
	ready := make(chan error, 1)
	n.serve(ready)
	after, _ := os.Readlink(self)
	var inside string
	err := n.OnThread(func() (err error) {
		inside, err = os.Readlink(threadNamespace)
		return err
	})
	fmt.Println(unix.Gettid() == os.Getpid(), <-ready, err, after == before, inside != before, n.Close())
}

// The runtime cannot end the first thread, so it must not be the one that
// belongs to a namespace.
func TestNamespaceAvoidsTheFirstThread(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), onFirstThread+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "true <nil> <nil> true true <nil>\n" {
		t.Errorf("the child says %q, %v", out, err)
	}
}
