package bpf_test

import (
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/test/needs"
)

// TestProveWhy: what programs count of rules that do not act is what the reference says, and
// counting changes nothing else. The rules take every way through the compiler.
func TestProveWhy(t *testing.T) {
	for i, test := range proved {
		if needs.Few() && i%4 > 0 {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			p := checked(t, test.text)
			for _, o := range []engine.LoadOptions{{Why: true}, {Why: true, Hook: bpf.TC}, {Why: true, Fragments: true, Timed: true}}[i/4%2:][:2] {
				proves(t, p, o, 60)
			}
		})
	}
}

// TestCountsNothingUnasked: a plan that does not ask why has no step for it, and its program neither
// the function that counts nor a call of it; one that asks has both.
func TestCountsNothingUnasked(t *testing.T) {
	for _, test := range proved {
		p := checked(t, test.text)
		for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
			for _, asked := range []bool{false, true} {
				build := plan.BuildTables
				if asked {
					build = plan.BuildWhy
				}
				made, err := build(p, field.Ethernet)
				if err != nil {
					t.Fatal(err)
				}
				ins, err := bpf.Compile(made, bpf.Options{Hook: h})
				if err != nil {
					t.Fatal(err)
				}
				calls := 0
				for _, i := range ins {
					if i.IsFunctionCall() && i.Reference() == "why_not" {
						calls++
					}
				}
				steps := 0
				for _, c := range made.Chains() {
					for _, s := range c.Steps {
						if s.Why != nil {
							steps++
						}
					}
				}
				if asked != (calls > 0) && test.text != "if all" || !asked && steps > 0 {
					t.Errorf("%s at %v: asked %t, %d steps, %d calls", test.text, h, asked, steps, calls)
				}
			}
		}
	}
}

// TestWhyOfNoRule: rules that no packet of a link can meet are examined too; then nothing is counted
// of rules that act.
func TestWhyOfNoRule(t *testing.T) {
	p := checked(t, "if ip_ver 1 then ip_ttl 5") // without Ethernet the version is 4
	for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
		tested, err := engine.SelfTest(p, engine.LoadOptions{Hook: h, Link: field.RawIP, Why: true}, 50)
		if err != nil || tested.Acted > 0 {
			t.Errorf("at %v: %d acted, %v", h, tested.Acted, err)
		}
	}
}
