package plan

import (
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/field"
)

// anyPattern draws a pattern with any bits of any bytes, such as fields that
// are yet to come may make.
func anyPattern(t *rapid.T) *pattern {
	p := &pattern{header: field.TCP}
	for range rapid.IntRange(0, 8).Draw(t, "parts") {
		i := rapid.IntRange(0, headerBytes-1).Draw(t, "byte")
		p.mask[i] = rapid.SampledFrom([]byte{0xff, 0xff, 0xff, 0x80, 0x01, 0x3c}).Draw(t, "mask")
		p.val[i] = rapid.Byte().Draw(t, "value") & p.mask[i]
	}
	return p
}

// covered reads windows back into a pattern; they have to be aligned, to lie
// apart and to have something to do.
func covered(t *rapid.T, windows []Write) (out pattern) {
	var taken [headerBytes]bool
	for _, w := range windows {
		if w.Off%w.Size != 0 || w.Mask == 0 || w.Value&^w.Mask != 0 {
			t.Fatalf("%s=%x", windowText(w.Window), w.Value)
		}
		for i := range w.Size {
			at, shift := w.Off+i, 8*(w.Size-1-i)
			if taken[at] {
				t.Fatalf("byte %d twice: %v", at, windows)
			}
			taken[at] = true
			out.mask[at], out.val[at] = byte(w.Mask>>shift), byte(w.Value>>shift)
		}
	}
	return out
}

// TestLoadsAndStoresCoverPatterns: what is loaded and what is stored is the
// pattern, all of it and no bit more.
func TestLoadsAndStoresCoverPatterns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := anyPattern(t)
		for what, windows := range map[string][]Write{"loads": p.loads(), "stores": p.stores()} {
			if got := covered(t, windows); got.mask != p.mask || got.val != p.val {
				t.Fatalf("%s %v\nare  %x %x\nwant %x %x", what, windows, got.mask, got.val, p.mask, p.val)
			}
		}
	})
}

// TestFewLoads: no two loads could have been one, and no load is longer than
// it has to be.
func TestFewLoads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := anyPattern(t)
		words := map[int]int{}
		for _, l := range p.loads() {
			words[l.Off/4]++
			if half := uint(4 * l.Size); l.Size > 1 && (l.Mask>>half == 0 || l.Mask&(1<<half-1) == 0) {
				t.Fatalf("%s: one half has no part in it", windowText(l.Window))
			}
		}
		for word, n := range words {
			if n > 1 {
				t.Fatalf("%d loads of the word at byte %d", n, 4*word)
			}
		}
	})
}

// TestWholeWordsAreStoredAtOnce: four whole bytes are one store; beside bits
// that stay, whole bytes are stored without a load where that is possible.
func TestWholeWordsAreStoredAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		mask []byte
		want string
	}{
		{[]byte{0xff, 0xff, 0xff, 0xff}, "tcp[0:4]"},
		{[]byte{0xff, 0xff, 0xff, 0x00}, "tcp[0:2] tcp[2:3]"},
		{[]byte{0x00, 0xff, 0xff, 0xff}, "tcp[1:2] tcp[2:4]"},
		{[]byte{0xff, 0xff, 0x00, 0xff}, "tcp[0:2] tcp[3:4]"},
		{[]byte{0xf0, 0x00, 0xff, 0xff, 0xff}, "tcp[0:1]&f0 tcp[2:4] tcp[4:5]"},
	} {
		p := &pattern{header: field.TCP}
		copy(p.mask[:], test.mask)
		got := ""
		for _, w := range p.stores() {
			got += windowText(w.Window) + " "
		}
		if got != test.want+" " {
			t.Errorf("%x: %swant %s", test.mask, got, test.want)
		}
	}
}
