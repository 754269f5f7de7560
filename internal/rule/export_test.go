package rule

import "repacket/internal/syntax"

// MostSteps is the most steps that a text of so many bytes may take: what rules
// share, and what each has for itself each time that it is its turn. What is
// taken behind the last step is little.
func MostSteps(bytes int) int { return sharedSteps + 5*stepsPerByte*bytes }

// Steps are those of checking and of explaining a text.
func Steps(source string) (checked, explained int) {
	rules, draws, err := syntax.Parse(source)
	if err != nil {
		return 0, 0
	}
	c := newChecker(source, draws, nil)
	p, err := c.check(rules)
	if err != nil {
		return c.sets.Spent(), 0
	}
	v := newSolver(source)
	v.explanation(p)
	return c.sets.Spent(), v.sets.Spent()
}
