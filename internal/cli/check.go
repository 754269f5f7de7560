package cli

import (
	"fmt"
	"slices"

	"repacket/internal/bpf"
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

// tableEvent is a table that rules of one shape are put into, and its size.
type tableEvent struct {
	event
	Table string `json:"table"`
	Bytes int    `json:"bytes"`
}

// explainTables says which rules become tables, and how those are looked up. What
// no program can hold is said by those who make programs.
func (a *app) explainTables(program *rule.Program) {
	planned, err := plan.BuildTables(program, field.Ethernet)
	if err != nil {
		return
	}
	var told []tableEvent
	for _, t := range planned.Tables { // one for each kind of packet may be there
		size, _ := bpf.ArraySize(t) // as above: this may be more than a program reaches
		e := tableEvent{a.out.event("table"), t.Description(), size}
		if slices.ContainsFunc(told, func(o tableEvent) bool { return o.Table == e.Table && o.Bytes == e.Bytes }) {
			continue
		}
		told = append(told, e)
		if a.out.json {
			a.out.object(e)
		} else {
			a.out.printf("table: %s, %s\n", e.Table, memory(e.Bytes))
		}
	}
}

// memory is a number of bytes for people.
func memory(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
