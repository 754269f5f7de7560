package assembler

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFrameSharesBytes: slots share bytes if and only if their lives do not meet,
// are aligned, and take no more room than those that live at one time need.
func TestFrameSharesBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Slot {
			first := rapid.IntRange(0, 5).Draw(t, "first")
			return Slot{
				Size:  rapid.SampledFrom([]int{4, 8, 16, 64}).Draw(t, "size"),
				First: Phase(first), Last: Phase(rapid.IntRange(first, 5).Draw(t, "last")),
			}
		}), 1, 30).Draw(t, "slots")
		f := NewFrame(slots)
		at := func(i int) (from, to int) {
			f.Phase = slots[i].First
			off := int(f.At(i))
			return off, off + slots[i].Size
		}
		for i, a := range slots {
			from, to := at(i)
			if to > 0 || from < -f.Size() || from%min(8, a.Size) != 0 {
				t.Fatalf("slot %+v lies from %d to %d in a frame of %d", a, from, to, f.Size())
			}
			for j, b := range slots[:i] {
				bFrom, bTo := at(j)
				if a.First <= b.Last && b.First <= a.Last && from < bTo && bFrom < to {
					t.Fatalf("%+v at %d and %+v at %d live at one time", a, from, b, bFrom)
				}
			}
		}
	})
}

// TestFrameIsSmall: what lives at different times takes no room of its own.
func TestFrameIsSmall(t *testing.T) {
	f := NewFrame([]Slot{{"a", 8, 0, 1}, {"b", 64, 2, 3}, {"c", 4, 0, 3}, {"d", 4, 1, 3}, {"e", 16, 0, 0}})
	if want := 8 + 64; f.Size() > want {
		t.Errorf("the frame takes %d bytes, and %d are enough", f.Size(), want)
	}
}

// TestSlotOutsideItsLife: a slot is used in its life, or the compiler stops.
func TestSlotOutsideItsLife(t *testing.T) {
	f := NewFrame([]Slot{{"early", 8, 0, 1}, {"late", 8, 2, 2}})
	for phase, lives := range []bool{true, true, false} {
		f.Phase = Phase(phase)
		said := func() (said any) {
			defer func() { said = recover() }()
			f.At(0)
			return nil
		}()
		if text, _ := said.(string); (said == nil) != lives || !lives && !strings.Contains(text, `"early"`) {
			t.Errorf("phase %d: %v, want that it lives: %v", phase, said, lives)
		}
	}
}
