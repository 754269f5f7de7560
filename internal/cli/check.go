package cli

import (
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

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
	} else {
		for _, info := range program.Explanation() {
			a.out.object(ruleEvent{a.out.event("rule"), info})
		}
	}
	a.explainTables(program)
}

// tableEvent is a table that rules of one shape are put into.
type tableEvent struct {
	event
	Table string `json:"table"`
}

// explainTables says which rules become tables, and how those are looked up. What
// no program can hold is said by those who make programs.
func (a *app) explainTables(program *rule.Program) {
	planned, err := plan.BuildTables(program, field.Ethernet)
	if err != nil {
		return
	}
	for _, text := range planned.Described() {
		if a.out.json {
			a.out.object(tableEvent{a.out.event("table"), text})
		} else {
			a.out.printf("table: %s\n", text)
		}
	}
}
