package bpf_test

import (
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
)

// TestProveWhy: what programs count of rules that do not act is what the reference says, and
// counting changes nothing else. The rules take every way through the compiler.
func TestProveWhy(t *testing.T) {
	for i, test := range proved {
		t.Run(test.name, func(t *testing.T) {
			p := checked(t, test.text)
			for _, o := range []engine.LoadOptions{{Why: true}, {Why: true, Hook: bpf.TC}, {Why: true, Fragments: true, Timed: true}}[i%2:][:2] {
				proves(t, p, o, 60)
			}
		})
	}
}
