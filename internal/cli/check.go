package cli

import (
	"fmt"
	"slices"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/spelling"
)

// ruleEvent is what a rule does, as JSON.
type ruleEvent struct {
	event
	rule.RuleInfo
}

// check says whether rules are valid and what they do, and rejects those that are more
// than a program can hold, at the hook where it holds most if none was named.
func (a *app) check(words []string) error {
	program, err := a.program(words)
	if err == nil && a.opt.dir == run.Out {
		err = a.opt.leaving(program)
	}
	if err == nil {
		err = a.guardEnds(program)
	}
	if err != nil {
		return err
	}
	if program.OneWay != nil {
		a.out.warn(program.OneWay)
	}
	for _, w := range program.RepliesAdvice {
		a.out.warn(w)
	}
	planned, err := a.explain(program)
	if err == nil && a.opt.direction == "out" {
		for _, message := range program.SkipsOffloaded() {
			a.out.advise([]run.Advice{{Note: true, Message: message, Hint: rule.WholeSums}})
		}
	}
	if err != nil || planned == nil {
		return err
	}
	leaves := a.opt.dir == run.Out
	if err := fits(planned, len(program.Written), a.opt.at == run.TC || leaves); err != nil || program.Replies == nil {
		return err
	}
	if planned, err = plan.BuildTables(program.Replies, field.Ethernet); err != nil {
		return err
	}
	a.out.tables(planned, true)
	return fits(planned, len(program.Written), !leaves)
}

// fits rejects what is more than a program, at tc or XDP, and its tables can hold.
func fits(planned *plan.Program, rules int, tc bool) error {
	for _, t := range planned.Tables {
		if _, err := bpf.ArraySize(t); err != nil {
			return err
		}
	}
	o := bpf.Options{Rules: rules}
	if tc {
		o.Hook = bpf.TC
	}
	_, err := bpf.Compile(planned, o)
	return err
}

// leaving rejects impossible rules for packets that leave, on any machine.
func (o *options) leaving(program *rule.Program) error {
	if o.at.IsXDP() {
		return usage("leave out --hook, or --hook tc", "XDP sees only packets that arrive, not those that leave")
	}
	if why, hint := program.NotLeaving(); why != "" {
		return usage(hint, "%s", why)
	}
	return nil
}

// explain says what the rules of a program do. It gives the plan, or nil where
// clang is to make the program: C knows no tables. The error is a
// *plan.RowsError.
func (a *app) explain(program *rule.Program) (*plan.Program, error) {
	if !a.out.json {
		a.out.printf("%s", program.Explain())
	} else {
		for _, info := range program.Explanation() {
			a.out.object(ruleEvent{a.out.event("rule"), info})
		}
	}
	if a.opt.backend == "clang" {
		return nil, nil
	}
	planned, err := plan.BuildTables(program, field.Ethernet)
	if err == nil {
		a.out.tables(planned, false)
	}
	return planned, err
}

// tableEvent is a table that rules of one shape are put into, and its size, which
// is 0 of rows that no table serves.
type tableEvent struct {
	event
	Table string `json:"table"`
	Bytes int    `json:"bytes"`
	// Kind is how a row is found, by Fields; of what no table serves there is none.
	Kind   string   `json:"kind,omitempty"`
	Fields []string `json:"fields,omitempty"`
	// Replies: it is for packets of the other direction.
	Replies bool `json:"replies,omitempty"`
}

// tables says which rules become tables, how those are looked up, and
// which rows no table serves; replies: of the program for packets of the other direction.
func (o *output) tables(planned *plan.Program, replies bool) {
	var told []tableEvent
	of := ""
	if replies {
		of = " for replies"
	}
	tell := func(e tableEvent) {
		e.Replies = replies
		if slices.ContainsFunc(told, func(t tableEvent) bool { return t.Table == e.Table && t.Bytes == e.Bytes }) {
			return // the same for another kind of packet
		}
		told = append(told, e)
		switch {
		case o.json:
			o.object(e)
		case e.Kind != "":
			o.printf("table%s: %s, %s\n", of, e.Table, memory(e.Bytes))
		default:
			o.printf("no table%s: %s\n", of, e.Table)
		}
	}
	for _, t := range planned.Tables {
		e := tableEvent{event: o.event("table"), Table: t.Description(), Kind: t.Kind.String()}
		e.Bytes, _ = bpf.ArraySize(t)
		for _, f := range t.Fields {
			e.Fields = append(e.Fields, f.Name)
		}
		tell(e)
	}
	for _, r := range planned.OneByOne {
		tell(tableEvent{event: o.event("table"), Table: spelling.Thousands(r.Rows.Len) + " rows of " + r.Rows.File + " are tested one by one"})
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
