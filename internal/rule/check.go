package rule

import (
	"fmt"
	"io"
	"slices"

	"repacket/internal/field"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// Options say where rules come from and what they can read.
type Options struct {
	// File is the name of the file that the rules are from, for messages, or "".
	File string
	// Open opens a file that stands behind from, as it is written there. Without
	// it there are none.
	Open func(name string) (io.ReadCloser, error)
}

// Check is CheckWith for rules that read no files.
func Check(source string) (*Program, error) { return CheckWith(source, Options{}) }

// CheckWith reads a program and checks it. The error is a *Diagnostic: the first
// thing that is wrong, with its place in the source. Warnings and notes stand
// in the program.
func CheckWith(source string, o Options) (*Program, error) {
	p, err := check(source, o)
	if err != nil {
		err.File = o.File
		settle(err)
		return nil, err
	}
	p.File = o.File
	if p.Replies != nil {
		p.Replies.File = o.File
	}
	if p.OneWay != nil {
		p.OneWay.File = o.File
		settle(p.OneWay)
	}
	for _, w := range p.RepliesAdvice {
		w.File = o.File
	}
	for i, w := range p.Warnings {
		w.File = o.File
		if i >= maxHinted {
			w.Suggestions = nil
		}
		settle(w)
	}
	return p, nil
}

func check(source string, o Options) (*Program, *syntax.Diagnostic) {
	rules, draws, err := syntax.Parse(source)
	if err != nil {
		return nil, err
	}
	c := newChecker(source, draws, o.Open)
	return c.check(rules)
}

func newChecker(source string, draws int, open func(name string) (io.ReadCloser, error)) *checker {
	return &checker{
		solver: newSolver(source), program: &Program{Source: source, Draws: draws}, where: map[*Rule]packetset.Set{}, open: open, filesRead: map[string]bool{},
		lines: map[*Rows][]int32{}, takenWhole: map[*Rule]Expr{}, columns: map[*field.Value]field.Set{},
	}
}

// check checks the rules of a program.
func (c *checker) check(rules []syntax.RuleNode) (*Program, *syntax.Diagnostic) {
	c.names(rules)
	for i, r := range rules {
		c.rule(i, r)
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.replies(rules); c.err != nil {
		return nil, c.err
	}
	c.order(rules)
	c.discovery(rules)
	c.program.OneWay = c.oneWay(rules)
	c.quotes(c.inverses)
	slices.SortStableFunc(c.program.Warnings, func(a, b *syntax.Diagnostic) int { return a.At.Start - b.At.Start })
	return c.program, nil
}

// checker turns the syntax tree into a checked program. It keeps the first
// error and goes on as if nothing had been wrong.
type checker struct {
	*solver
	program *Program
	// inverses are those of the rules that say replies.
	inverses []inverse
	// tracked are the flows of those that say replies tracked.
	tracked []*trackedFlows
	// where are the packets on which each rule acts.
	where map[*Rule]packetset.Set
	open  func(name string) (io.ReadCloser, error)
	// sheet is the file of the rule that is checked, and rows is how many rows
	// were read for all rules so far.
	sheet *sheet
	rows  int
	// filesRead are the files that were read, and rowsAgain is how many rows were read of
	// those that a rule before had read.
	filesRead map[string]bool
	rowsAgain int
	// rowsTried is how many rows were held against later rules so far.
	rowsTried int
	// lines are the lines of the rows in their files, of the rules that say replies.
	lines map[*Rows][]int32
	// takenWhole is what a flow is of which a rule takes all packets.
	takenWhole map[*Rule]Expr
	// columns are all values of columns, by the first.
	columns map[*field.Value]field.Set
}

// warn is report.fail for what does not keep rules from running.
func (c *checker) warn(severity syntax.Severity, at Span, hint, format string, args ...any) *syntax.Diagnostic {
	d := c.diagnostic(severity, at, hint, format, args...)
	c.program.Warnings = append(c.program.Warnings, d)
	return d
}

// names checks that no two rules have one name.
func (c *checker) names(rules []syntax.RuleNode) {
	seen := map[string]bool{}
	for _, r := range rules {
		if r.Name != "" && seen[r.Name] {
			c.fail(r.NameAt, "every rule has a name of its own, or none", "a rule before is named %s too", r.Name)
		}
		seen[r.Name] = true
	}
}

// rule checks one rule as written and adds it to the program.
func (c *checker) rule(index int, r syntax.RuleNode) {
	start := r.At.Start
	if r.Name != "" {
		start = r.IfAt.Start
	}
	c.sets.turn(r.At.End - r.At.Start)
	w := Written{Name: r.Name, Text: syntax.Flatten(c.source, Span{Start: start, End: r.At.End}), Span: r.At, DryRun: r.DryRun(), Replies: r.Replies}
	w.Verdict, _ = verdictOf(r)
	c.program.Written = append(c.program.Written, w)
	c.verdict(r)
	c.read(r)
	d := c.resolve(r)
	if c.err != nil {
		return
	}
	c.program.Written[index].Cond = choice(nil).apply(d.cond)
	var copies []*Rule
	for _, ch := range choices(r.Actions) {
		copies = append(copies, d.expand(index, ch))
	}
	if copies = c.possible(d, copies); c.err == nil {
		c.remarks(d, copies)
	}
	if r.Replies != NoReplies && c.err == nil {
		c.checkReplies(r, copies[0])
	}
	c.program.Rules = append(c.program.Rules, copies...)
}

// possible leaves out the copies of a rule that no packet can meet. It is an
// error if that is all of them.
func (c *checker) possible(d draft, copies []*Rule) []*Rule {
	var kept []*Rule
	var why *syntax.Diagnostic
	for _, rule := range copies {
		where, never := c.contradiction(c.claims(rule))
		if never == nil {
			kept = append(kept, rule)
			c.where[rule] = where
		} else if why == nil {
			why = never
		}
	}
	if len(kept) > 0 || c.err != nil {
		return kept
	}
	if len(copies) > 1 { // say it with the generic fields open
		if _, open := c.contradiction(c.anyway(d)); open != nil {
			why = open
		}
	}
	why.Suggestions = append(c.missingThen(d.rule, why), why.Suggestions...)
	c.err = why
	return nil
}

// anyway are the claims of a rule whose generic fields may mean any protocol.
func (c *checker) anyway(d draft) []claim {
	claims := c.members(choice(nil).apply(d.cond))
	for _, a := range d.rule.Actions {
		for i, ref := range a.Refs() {
			at := []Span{a.At, a.Operand.At}[i]
			var any []Expr
			for _, f := range ref.Fields {
				any = append(any, Has{f.Proto, at})
			}
			claims = append(claims, claim{expr: anyOf(any, at), at: at, name: ref.Name.At, read: i > 0})
		}
	}
	for _, s := range d.rule.Swaps {
		claims = append(claims, claim{expr: Has(s), at: s.At, name: s.At})
	}
	return claims
}

// missingThen suggests then for a rule without, one of whose tests wants to be an
// action: a field that already has another value.
func (c *checker) missingThen(r syntax.RuleNode, why *syntax.Diagnostic) []syntax.Suggestion {
	and, ok := r.Cond.(syntax.AndNode)
	if r.Then || !ok {
		return nil
	}
	for i, x := range and.X {
		if i == 0 || x.Span() != why.At {
			continue
		}
		for _, y := range and.X[i:] {
			if t, ok := y.(syntax.TestNode); !ok || t.Op != "eq" || len(t.Items) != 1 {
				return nil
			}
		}
		between := Span{Start: and.X[i-1].Span().End, End: why.At.Start} // blanks, or and
		return []syntax.Suggestion{syntax.Replace("is `then` missing?  ", between, " then ", "").Showing(Span{Start: r.IfAt.Start, End: r.At.End})}
	}
	return nil
}

// remarks checks what the actions do to each other, and warns of what is odd
// in a rule but not wrong.
func (c *checker) remarks(d draft, copies []*Rule) {
	for _, rule := range copies {
		c.effects(rule)
	}
	if len(c.program.Warnings) < maxRemarks && c.err == nil {
		c.idle(copies)
		if rule := copies[0]; len(copies) == 1 {
			c.halves(rule.Cond, c.claims(rule), c.where[rule])
			c.flagLists(rule.Cond)
		}
		c.sums(copies)
	}
	if d.rule.Final() && c.err == nil {
		c.lacking(copies)
	}
	if c.sheet != nil {
		c.sheet.covered(copies[0].Cond)
	}
	if len(c.program.Warnings) < maxRemarks {
		c.brackets(d.rule, d.rows.write(choice(nil).apply(d.cond)))
	}
}

// maxRemarks is how many warnings there are before no more rules are looked at
// for what is odd.
const maxRemarks = 1000

// resolve reads the values of a rule.
func (c *checker) resolve(r syntax.RuleNode) draft {
	d := draft{rule: r, cond: c.condition(r.Cond)}
	for _, a := range r.Actions {
		d.actions = append(d.actions, c.action(a))
	}
	if c.sheet != nil {
		d.rows = c.sheet.rows
	}
	return d
}

// condition resolves the values of a condition.
func (c *checker) condition(n syntax.Node) Expr {
	switch n := n.(type) {
	case syntax.AllNode:
		return All{n.At}
	case syntax.HasNode:
		return Has{n.Proto, n.At}
	case syntax.TestNode:
		t := c.values(n)
		if n.Ref.Generic() {
			return openTest{t, n.Ref.Fields}
		}
		return guarded(t)
	case syntax.ChanceNode:
		return c.chance(n)
	case syntax.NotNode:
		return Not{c.condition(n.X), n.At}
	case syntax.GroupNode:
		return c.condition(n.X)
	case syntax.AndNode:
		return And{c.conditions(n.X), n.At}
	case syntax.OrNode:
		return Or{c.conditions(n.X), n.At}
	}
	panic(fmt.Sprintf("rule: no condition is a %T", n))
}

func (c *checker) conditions(list []syntax.Node) []Expr {
	out := make([]Expr, len(list))
	for i, n := range list {
		out[i] = c.condition(n)
	}
	return out
}
