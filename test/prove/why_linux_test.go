package prove

import (
	"errors"
	"math/rand/v2"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/test/needs"
	"repacket/test/rulegen"
)

// TestWhyAgrees: why random rules do not act is in the kernel what the reference says, at XDP and at tc,
// with and without Ethernet, also where rules take rows from files.
func TestWhyAgrees(t *testing.T) {
	needs.Kernel(t)
	const sets, packets = 40, 50
	acted := 0
	for n := range uint64(sets) {
		r := rand.New(rand.NewPCG(17, n))
		style := rulegen.Style{Redirect: []string{elsewhere}, Operands: n%2 == 0, Chance: n%3 == 0}
		if n%8 == 1 {
			style.Link = field.RawIP
		}
		s := rulegen.Source{Text: style.Program(r)}
		if n%4 == 0 {
			s = style.Source(r)
		}
		p, err := s.Check()
		if err != nil {
			continue
		}
		o := engine.LoadOptions{Why: true, Link: style.Link, Redirect: interfaces, Hook: []bpf.Hook{bpf.XDP, bpf.TC}[n%2]}
		tested, err := engine.SelfTest(p, o, packets)
		var d *engine.DifferenceError
		switch {
		case errors.As(err, &d):
			t.Fatalf("%s\n%v\n%s", s.Text, s.Files, d.Report())
		case tooMuch(err):
			continue
		case err != nil:
			t.Fatalf("%s: %v", s.Text, err)
		}
		acted += tested.Acted
	}
	if acted < sets*packets/4 {
		t.Errorf("rules acted on %d packets: that proves little", acted)
	}
}
