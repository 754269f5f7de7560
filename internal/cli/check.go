package cli

import "repacket/internal/rule"

// ruleEvent is what a rule does, as JSON.
type ruleEvent struct {
	event
	rule.RuleInfo
}

// check says whether rules are valid and what they do.
func (a *app) check(words []string) error {
	if _, _, err := a.opt.limits(); err != nil {
		return err
	}
	program, err := a.program(words)
	if err != nil {
		return err
	}
	a.explain(program)
	return nil
}

// explain says what the rules of a program do.
func (a *app) explain(program *rule.Program) {
	if !a.out.json {
		a.out.printf("%s", program.Explain())
		return
	}
	for _, info := range program.Explanation() {
		a.out.object(ruleEvent{a.out.event("rule"), info})
	}
}
