package plan

import (
	"fmt"
	"math"

	"repacket/internal/rule"
	"repacket/internal/spelling"
)

// Rules are planned once for each class of packets, and what they come to can
// be more than anyone waits for. So the builder counts its steps, and the parts
// of the plan. It reads no clock, so that one text is always answered alike.

// MostParts is the most tests, stores and checksums of a plan, all classes
// together. Each takes an instruction at least, and a program has a quarter as
// many.
const MostParts = 4 << 15

// The most steps of planning: for any rules, and for each byte of their text. A
// step takes about 80 ns.
const (
	mostSteps    = 10_000_000
	stepsPerByte = 50
)

// The steps of planning a rule for a class, its tests apart, of each of these, and
// of comparing it with that of another class.
const (
	stepsOfRule    = 200
	stepsOfTest    = 5
	stepsToCompare = 50
)

// TooLargeError says that rules come to more than MostParts parts.
type TooLargeError struct{}

func (*TooLargeError) Error() string {
	return fmt.Sprintf("the rules come to more than %s tests and changes for all kinds of packets, far more than a program can have", spelling.Thousands(MostParts))
}

// effort counts the steps and the parts of a plan.
type effort struct {
	steps, parts int
	program      *rule.Program
	// rule is the one that is planned.
	rule *rule.Rule
	err  error
}

// effortFor are the steps for rules.
func effortFor(p *rule.Program) *effort {
	return &effort{steps: mostSteps + stepsPerByte*len(p.Source), parts: MostParts, program: p}
}

// noEnd is an effort without an end.
func noEnd() *effort { return &effort{steps: math.MaxInt, parts: math.MaxInt} }

// spend takes n steps. It is false when there are none left, or too many parts.
func (e *effort) spend(n int) bool {
	if e.steps -= n; e.steps <= 0 && e.err == nil {
		e.err = e.program.TooComplex(e.rule)
	}
	return e.err == nil
}

// add counts the parts of a chain.
func (e *effort) add(c *Chain) {
	for _, s := range c.Steps {
		if s.Why != nil {
			e.parts -= s.Why.parts()
		}
	}
	for _, s := range c.Acting() {
		e.parts -= 1 + leavesOf(s.Cond) + len(s.Sums) + len(s.Exchanges) + len(s.Writes)
	}
	if e.parts < 0 && e.err == nil {
		e.err = &TooLargeError{}
	}
}

// leavesOf is how many tests there are in a condition.
func leavesOf(c Cond) int {
	n := 0
	for _, x := range leaves(c) {
		t, _ := x.(Test)
		n += max(1, len(t.In))
	}
	return n
}
