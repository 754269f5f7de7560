package bpf

import (
	"slices"
	"testing"

	"repacket/internal/bpf/assembler"
)

// TestFrameFits: all slots lie above what values are worked out in.
func TestFrameFits(t *testing.T) {
	if size := assembler.NewFrame(slots).Size(); size > slotsSize {
		t.Errorf("the slots take %d bytes of the stack, and may take %d", size, slotsSize)
	}
}

// TestRecordRooms: there is room for as many bytes as are asked for, in words of 8.
func TestRecordRooms(t *testing.T) {
	for bytes, want := range map[int][]int{
		0: {128}, 128: {128}, 129: {128, 136}, 1504: {128, 1504}, 1512: {128, 1512}, 1518: {128, 1520},
		2048: {128, 2048}, 2049: {128, 2048, 2056}, 1 << 20: {128, 2048, 65536 + 256},
	} {
		if got := (Recording{Bytes: bytes}).rooms(); !slices.Equal(got, want) {
			t.Errorf("of %d bytes: %v, want %v", bytes, got, want)
		}
	}
}
