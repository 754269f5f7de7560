package csource

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Stderr.WriteString("these tests load programs into the kernel and need root: sudo make test\n")
		os.Exit(1)
	}
	os.Exit(m.Run())
}
