package reference_test

import (
	"bytes"
	"testing"

	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/pseudoheader"
)

// TestPseudoHeaders: the checksums of all protocols that cover addresses follow.
func TestPseudoHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range pseudoheader.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p, err := rule.Check(c.Rule)
			if err != nil {
				t.Fatal(err)
			}
			in, want := c.Frames()
			if got := reference.Run(p, in); !got.Rewritten || !bytes.Equal(got.Frame, want) {
				t.Errorf("%s\nin   %x\nwant %x\ngot  %x", c.Rule, in, want, got.Frame)
			}
		})
	}
}
