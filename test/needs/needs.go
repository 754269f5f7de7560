// Package needs says what a test cannot do without. make check runs the tests
// with -short and leaves out those that need a kernel to load programs into; in
// make test they run, and fail where they cannot.
package needs

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// Kernel says that a test loads programs or makes interfaces. It is skipped with
// -short, and otherwise fails unless it runs as root.
func Kernel(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the kernel: run by make test")
	}
	if os.Geteuid() != 0 {
		t.Fatal("loads programs into the kernel and needs root: sudo make test")
	}
}

// FewVariable is set where tests that try many things at random, or in turn, are to try
// few of them: in a virtual machine of make kernels.
const FewVariable = "REPACKET_FEW"

// Few reports whether FewVariable is set.
func Few() bool { return os.Getenv(FewVariable) != "" }

// KernelMain is Kernel for all tests of a package. It is called first in its
// TestMain.
func KernelMain() {
	flag.Parse()
	if testing.Short() {
		os.Exit(0)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests load programs into the kernel and need root: sudo make test")
		os.Exit(1)
	}
}
