package prove

import (
	"math/rand/v2"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/rule"
	"repacket/test/needs"
	"repacket/test/rulegen"
)

// TestManyRules runs large rule sets of few shapes, which become tables. clang
// is left out: in code they are too large.
func TestManyRules(t *testing.T) {
	needs.Kernel(t)
	sizes := []int{100, 100, 100, 300, 300, 1000, 1000, 3000, 10_000}
	if needs.Few() {
		sizes = sizes[:4]
	}
	r := rand.New(rand.NewPCG(seed(t), 5))
	ran := 0
	for _, n := range sizes {
		style := rulegen.Style{Redirect: []string{elsewhere}}
		p, err := rule.Check(style.Many(r, n))
		if err != nil {
			t.Errorf("rules that are valid one by one: %v", err)
			continue
		}
		c, err := newCase(subject{field.Ethernet, rulegen.Source{Text: p.Source}, p}, inGo, compiledXDP, compiledTC)
		if tooMuch(err) {
			t.Logf("%d rules: %v", n, err) // of shapes that no table serves
			continue
		}
		if err != nil {
			t.Errorf("%d rules: %v", n, err)
			continue
		}
		for range framesPerRule {
			frame := packetgen.Frame(r, p)
			if d := c.try(packet{frame, packetgen.Draws(r, p)}); d != "" {
				report(t, field.Ethernet, rulegen.Source{Text: p.Source}, packet{frame, nil}, d)
				break
			}
		}
		if d := c.compareCounters(); d != "" {
			t.Error(d)
		}
		c.close()
		ran++
	}
	if ran == 0 {
		t.Error("no rule set was small enough to run")
	}
}
