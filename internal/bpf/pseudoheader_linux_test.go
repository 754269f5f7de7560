package bpf_test

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/test/pseudoheader"
)

// TestPseudoHeaders: the checksums of all protocols that cover addresses follow, in
// the kernel at both hooks.
func TestPseudoHeaders(t *testing.T) {
	for _, c := range pseudoheader.Cases {
		for _, o := range []engine.LoadOptions{{}, {Hook: bpf.TC}} {
			in, want := c.Frames()
			loaded := load(t, c.Rule, o)
			run := ebpf.RunOptions{Data: in, DataOut: make([]byte, len(in)+256)}
			if _, err := loaded.loaded.Program.Run(&run); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(run.DataOut, want) {
				t.Errorf("%s, hook %d: %s\nin   %x\nwant %x\ngot  %x", c.Name, o.Hook, c.Rule, in, want, run.DataOut)
			}
		}
	}
}
