package plan_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"testing"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/syntax"
	"repacket/test/rulegen"
)

// TestCostlyRulesArePlannedInFewSteps: no text of 64 KiB takes more steps, or
// comes to a larger plan, than there is room for.
func TestCostlyRulesArePlannedInFewSteps(t *testing.T) {
	t.Parallel()
	const slack = 200_000
	size := 64 << 10
	if testing.Short() {
		size = 16 << 10
	}
	planned, refused := 0, 0
	for _, kind := range rulegen.CostlyKinds() {
		t.Run(kind, func(t *testing.T) {
			p, err := rule.Check(rulegen.Costly(rand.New(rand.NewPCG(1, 1)), kind, size))
			if err != nil {
				return
			}
			for _, withTables := range []bool{true, false} {
				steps, parts, err := plan.Left(p, withTables)
				t.Logf("tables %v: %d steps and %d parts are left: %v", withTables, steps, parts, err)
				if steps < -slack || parts < -slack {
					t.Errorf("tables %v: it went on without steps", withTables)
				}
				if planned++; err != nil {
					refused++
				}
			}
		})
	}
	if refused == 0 && !testing.Short() || refused > planned/3 {
		t.Errorf("%d of %d were refused", refused, planned)
	}
}

// TestTooComplexRulesAreNamed: the error stands at the condition with which the
// steps were over, and says what to do.
func TestTooComplexRulesAreNamed(t *testing.T) {
	t.Parallel()
	text := rulegen.Costly(rand.New(rand.NewPCG(1, 1)), "unlike rules everywhere", 64<<10)
	p, err := rule.CheckWith(text, rule.Options{File: "rules.txt"})
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for range 2 { // the same answer each time
		_, err = plan.BuildTables(p, field.Ethernet)
		var d *syntax.Diagnostic
		if !errors.As(err, &d) {
			t.Fatalf("got %v", err)
		}
		text := d.Format()
		said[text] = true
		caret := regexp.MustCompile(`(?m)^error: rules.txt:\d+:4: the rules are too complex: .*\n    if ip_id \d+ then ip_ttl random\n       \^~+\n  hint: split the condition`)
		if !caret.MatchString(text) || len(said) > 1 {
			t.Errorf("got %s", text)
		}
	}
	var tooLarge *plan.TooLargeError
	p, err = rule.Check(rulegen.Costly(rand.New(rand.NewPCG(1, 1)), "lists everywhere", 64<<10))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = plan.BuildOneByOne(p, field.Ethernet); !errors.As(err, &tooLarge) {
		t.Errorf("got %v", err)
	}
}
