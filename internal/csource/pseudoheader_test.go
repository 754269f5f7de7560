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
	byRule := map[string][]pseudoheader.Case{}
	for _, c := range pseudoheader.Cases {
		byRule[c.Rule] = append(byRule[c.Rule], c)
	}
	for rule, cases := range byRule {
		for _, hook := range []Hook{XDP, TC} {
			l := load(t, field.Ethernet, checked(t, rule), Options{Hook: hook})
			for _, c := range cases {
				in, want := c.Frames()
				if _, got := l.run(t, in, reference.Zeros); !bytes.Equal(got, want) {
					t.Errorf("%s, hook %d: %s\nin   %x\nwant %x\ngot  %x", c.Name, hook, c.Rule, in, want, got)
				}
			}
			l.close()
		}
	}
}
