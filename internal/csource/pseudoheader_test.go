package csource

import (
	"bytes"
	"testing"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/test/pseudoheader"
)

// TestPseudoHeaders: the checksums of all protocols that cover addresses follow, as
// clang builds the C for both hooks.
func TestPseudoHeaders(t *testing.T) {
	for _, c := range pseudoheader.Cases {
		for _, hook := range []Hook{XDP, TC} {
			in, want := c.Frames()
			l := load(t, field.Ethernet, checked(t, c.Rule), Options{Hook: hook})
			if _, got := l.run(t, in, reference.Zeros); !bytes.Equal(got, want) {
				t.Errorf("%s, hook %d: %s\nin   %x\nwant %x\ngot  %x", c.Name, hook, c.Rule, in, want, got)
			}
			l.close()
		}
	}
}
