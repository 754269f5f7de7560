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
	const size = 64 << 10
	most := rule.MostSteps(size)
	for _, kind := range rulegen.CostlyKinds() {
		t.Run(kind, func(t *testing.T) {
			for seed := range uint64(1) {
				text := rulegen.Costly(rand.New(rand.NewPCG(seed, 1)), kind, size)
				checked, explained := rule.Steps(text)
				t.Logf("%d bytes: %d steps to check, %d to explain", len(text), checked, explained)
				if checked > most || explained > most {
					t.Errorf("seed %d: more than %d steps", seed, most)
				}
			}
		})
	}
}
