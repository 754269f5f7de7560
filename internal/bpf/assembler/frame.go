package assembler

import (
	"fmt"
)

// Phase is a part of the run of a program. On every way through the program the
// phases follow each other in their order.
type Phase uint8

// Slot is a named place on the stack, which holds a value from one phase to
// another. Slots whose lives do not meet share their bytes.
type Slot struct {
	Name        string
	Size        int // in bytes
	First, Last Phase
}

// Frame is the stack frame of a program.
type Frame struct {
	// Phase is that of the instructions to come.
	Phase Phase

	slots   []Slot
	offsets []int16 // from the frame pointer
	size    int
}

// NewFrame lays slots out, each as near to the frame pointer as those before it
// in the list allow, aligned to 8 bytes, or to 4 if it is no larger.
func NewFrame(slots []Slot) *Frame {
	f := &Frame{slots: slots}
	for _, s := range slots {
		align := min(8, s.Size)
		end := (s.Size + align - 1) / align * align
		for f.taken(s, end) {
			end += align
		}
		f.offsets = append(f.offsets, int16(-end))
		f.size = max(f.size, (end+7)&^7)
	}
	return f
}

// taken reports whether a slot that ends so many bytes below the frame pointer
// would meet one that has been laid out.
func (f *Frame) taken(s Slot, end int) bool {
	for i, off := range f.offsets {
		o := f.slots[i]
		if s.First <= o.Last && o.First <= s.Last && end-s.Size < -int(off) && -int(off)-o.Size < end {
			return true
		}
	}
	return false
}

// Size is how many bytes all slots take.
func (f *Frame) Size() int { return f.size }

// At is where a slot is, from the frame pointer. It panics in a phase in which
// the slot does not live: another may have its bytes.
func (f *Frame) At(slot int) int16 {
	if s := f.slots[slot]; f.Phase < s.First || f.Phase > s.Last {
		panic(fmt.Sprintf("bpf: slot %q is used in phase %d and lives from %d to %d", s.Name, f.Phase, s.First, s.Last))
	}
	return f.offsets[slot]
}
