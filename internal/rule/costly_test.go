package rule_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"repacket/internal/rule"
	"repacket/test/rulegen"
)

// TestCostlyTextsTakeFewSteps: no text of 64 KiB, however its cases multiply,
// takes more steps than there are.
func TestCostlyTextsTakeFewSteps(t *testing.T) {
	size := 64 << 10
	if testing.Short() {
		size = 16 << 10
	}
	most := rule.MostSteps(size)
	for _, kind := range rulegen.CostlyKinds() {
		t.Run(kind, func(t *testing.T) {
			text := rulegen.Costly(rand.New(rand.NewPCG(1, 1)), kind, size)
			checked, explained := rule.Steps(text)
			t.Logf("%d bytes: %d steps to check, %d to explain", len(text), checked, explained)
			if checked > most || explained > most {
				t.Errorf("more than %d steps", most)
			}
		})
	}
}

// FuzzSteps: no text takes more steps to check and to explain than there are.
func FuzzSteps(f *testing.F) {
	for _, kind := range rulegen.CostlyKinds() {
		f.Add(rulegen.Costly(rand.New(rand.NewPCG(1, 1)), kind, 16<<10))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64<<10 {
			t.Skip()
		}
		most := rule.MostSteps(len(text))
		if checked, explained := rule.Steps(text); checked > most || explained > most {
			t.Errorf("%d steps to check and %d to explain, more than %d", checked, explained, most)
		}
	})
}

// TestHintsOfOneLongLineAreCheap: warnings of rules that all stand in one line take no
// more work than those of the same rules in lines of their own.
func TestHintsOfOneLongLineAreCheap(t *testing.T) {
	var rules []string
	for i := range 1000 {
		rules = append(rules, fmt.Sprintf("if not ip_src 10.0.%d.%d and not udp_dest %d then drop", i/250, i%250, i))
	}
	work := func(text string) float64 {
		return testing.AllocsPerRun(1, func() {
			p, err := rule.Check(text)
			if err != nil || len(p.Warnings) == 0 {
				t.Fatalf("%v, %v", p, err)
			}
		})
	}
	if lines, line := work(strings.Join(rules, "\n")), work(strings.Join(rules, "; ")); line > 2*lines {
		t.Errorf("%.0f allocations for rules in one line, %.0f in lines of their own", line, lines)
	}
}
