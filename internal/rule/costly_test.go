package rule_test

import (
	"math/rand/v2"
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
