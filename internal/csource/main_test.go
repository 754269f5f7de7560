package csource

import (
	"os"
	"testing"

	"repacket/test/needs"
)

func TestMain(m *testing.M) {
	needs.KernelMain()
	os.Exit(m.Run())
}
