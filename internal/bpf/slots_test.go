package bpf

import (
	"testing"

	"repacket/internal/bpf/assembler"
)

// TestFrameFits: all slots lie above what values are worked out in.
func TestFrameFits(t *testing.T) {
	if size := assembler.NewFrame(slots).Size(); size > slotsSize {
		t.Errorf("the slots take %d bytes of the stack, and may take %d", size, slotsSize)
	}
}
