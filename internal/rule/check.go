package rule

import (
	"fmt"
	"io"
	"slices"
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
		return nil, err
	}
	for _, w := range p.Warnings {
		w.File = o.File
	}
	return p, nil
}

func check(source string, o Options) (*Program, *Diagnostic) {
	rules, draws, err := parse(source)
	if err != nil {
		return nil, err
	}
	c := &checker{program: &Program{Source: source, Draws: draws}, where: map[*Rule]union{}, open: o.Open}
	c.names(rules)
	for i, r := range rules {
		c.rule(i, r)
	}
	if c.err != nil {
		return nil, c.err
	}
	c.order(rules)
	c.discovery()
	slices.SortStableFunc(c.program.Warnings, func(a, b *Diagnostic) int { return a.At.Start - b.At.Start })
	return c.program, nil
}

// checker turns the syntax tree into a checked program. It keeps the first
// error and goes on as if nothing had been wrong.
type checker struct {
	program *Program
	err     *Diagnostic
	// where are the packets on which each rule acts.
	where map[*Rule]union
	open  func(name string) (io.ReadCloser, error)
	// sheet is the file of the rule that is checked, and rows is how many rows
	// were read for all rules so far.
	sheet *sheet
	rows  int
	// rowsTried is how many rows were held against later rules so far.
	rowsTried int
}

func (c *checker) fail(at Span, hint, format string, args ...any) {
	if c.err == nil {
		c.err = c.diagnostic(Error, at, hint, format, args...)
	}
}

func (c *checker) warn(severity Severity, at Span, hint, format string, args ...any) {
	c.program.Warnings = append(c.program.Warnings, c.diagnostic(severity, at, hint, format, args...))
}

func (c *checker) diagnostic(severity Severity, at Span, hint, format string, args ...any) *Diagnostic {
	return &Diagnostic{
		Severity: severity, Msg: fmt.Sprintf(format, args...), At: at, Hint: hint, Source: c.program.Source,
	}
}

// names checks that no two rules have one name.
func (c *checker) names(rules []ruleNode) {
	seen := map[string]bool{}
	for _, r := range rules {
		if r.name != "" && seen[r.name] {
			c.fail(r.nameAt, "every rule has a name of its own, or none", "a rule before is named %s too", r.name)
		}
		seen[r.name] = true
	}
}

// rule checks one rule as written and adds it to the program.
func (c *checker) rule(index int, r ruleNode) {
	start := r.at.Start
	if r.name != "" {
		start = r.ifAt.Start
	}
	c.program.Written = append(c.program.Written, Written{
		Name: r.name, Text: flatten(c.program.Source, Span{start, r.at.End}), Span: r.at, Look: r.looks(),
	})
	c.verdict(r)
	c.read(r)
	all := choices(r.actions)
	var copies []*Rule
	for _, ch := range all {
		copies = append(copies, c.expand(index, r, ch))
	}
	if c.err != nil {
		return
	}
	if copies = c.possible(r, copies); c.err == nil {
		c.remarks(r, copies)
	}
	c.program.Rules = append(c.program.Rules, copies...)
}

// possible leaves out the copies of a rule that no packet can meet. It is an
// error if that is all of them.
func (c *checker) possible(r ruleNode, copies []*Rule) []*Rule {
	var kept []*Rule
	var why *Diagnostic
	for _, rule := range copies {
		where, d := c.contradiction(c.claims(rule))
		if d == nil {
			kept = append(kept, rule)
			c.where[rule] = where
		} else if why == nil {
			why = d
		}
	}
	if len(kept) > 0 || c.err != nil {
		return kept
	}
	if len(copies) > 1 { // say it with the short name open
		if _, open := c.contradiction(c.anyway(r)); open != nil {
			why = open
		}
	}
	if hint := c.missingThen(r, why); hint != "" {
		why.Hint = hint
	}
	c.err = why
	return nil
}

// anyway are the claims of a rule whose short names may mean any protocol.
func (c *checker) anyway(r ruleNode) []claim {
	claims := c.members(c.condition(r.cond, nil))
	for _, a := range r.actions {
		for i, ref := range a.refs() {
			at := []Span{a.at, a.operand.at}[i]
			var any []Expr
			for _, f := range ref.fields {
				any = append(any, Has{f.Proto, at})
			}
			e := any[0]
			if len(any) > 1 {
				e = Or{any, at}
			}
			claims = append(claims, claim{expr: e, at: at, name: ref.name.at, read: i > 0})
		}
	}
	for _, s := range r.swaps {
		claims = append(claims, claim{expr: Has(s), at: s.At, name: s.At})
	}
	return claims
}

// missingThen is the hint for a rule without then, one of whose tests wants to
// be an action: a field that already has another value.
func (c *checker) missingThen(r ruleNode, why *Diagnostic) string {
	and, ok := r.cond.(andNode)
	if r.then || !ok {
		return ""
	}
	for i, x := range and.xs {
		if i == 0 || x.span() != why.At {
			continue
		}
		for _, y := range and.xs[i:] {
			if t, ok := y.(testNode); !ok || t.op != "eq" || len(t.items) != 1 {
				return ""
			}
		}
		src := c.program.Source
		return "is `then` missing?  " + crop(flatten(src, Span{r.ifAt.Start, why.At.Start})) + " then " +
			crop(flatten(src, Span{why.At.Start, r.at.End}))
	}
	return ""
}

// remarks checks what the actions do to each other, and warns of what is odd
// in a rule but not wrong.
func (c *checker) remarks(r ruleNode, copies []*Rule) {
	for _, rule := range copies {
		if c.effects(rule); len(c.program.Warnings) >= maxRemarks {
			continue
		}
		c.idle(rule)
		where := c.where[rule]
		if len(copies) == 1 {
			c.halves(rule.Cond, c.claims(rule), where)
			c.flagLists(rule.Cond)
		}
		c.sums(rule, where)
		if r.final() {
			c.lacking(rule.Cond, where)
		}
	}
	if c.sheet != nil {
		c.sheet.covered(copies[0].Cond)
	}
	if len(c.program.Warnings) < maxRemarks {
		c.brackets(r.cond, copies[0].Rows.write(c.condition(r.cond, nil)))
	}
}

// maxRemarks is how many warnings there are before no more rules are looked at
// for what is odd.
const maxRemarks = 1000

// expand is the rule for one choice of what its short names mean.
func (c *checker) expand(index int, r ruleNode, choice choice) *Rule {
	out := &Rule{Index: index, Swaps: r.swaps}
	for _, a := range r.actions {
		out.Actions = append(out.Actions, c.action(a, choice))
	}
	for _, v := range r.verdicts {
		out.Verdict, out.Redirect = v.verdict, v.iface
	}
	out.Rows = c.sheet.taken()
	out.Cond = withGuards(c.condition(r.cond, choice), out.Actions)
	return out
}

// condition turns a condition into its checked form.
func (c *checker) condition(n node, choice choice) Expr {
	switch n := n.(type) {
	case allNode:
		return All{n.at}
	case hasNode:
		return Has{n.proto, n.at}
	case testNode:
		return c.test(n, choice)
	case chanceNode:
		return c.chance(n)
	case notNode:
		return Not{c.condition(n.x, choice), n.at}
	case groupNode:
		return c.condition(n.x, choice)
	case andNode:
		var xs []Expr
		for _, x := range n.xs {
			e := c.condition(x, choice)
			if and, ok := e.(And); ok {
				xs = append(xs, and.X...)
			} else {
				xs = append(xs, e)
			}
		}
		return And{xs, n.at}
	case orNode:
		var xs []Expr
		for _, x := range n.xs {
			e := c.condition(x, choice)
			if or, ok := e.(Or); ok {
				xs = append(xs, or.X...)
			} else {
				xs = append(xs, e)
			}
		}
		return Or{xs, n.at}
	}
	panic(fmt.Sprintf("rule: no condition is a %T", n))
}

// test checks the values of a test. A short name means any of its fields.
func (c *checker) test(n testNode, choice choice) Expr {
	fields := choice.pick(n.ref)
	t := c.values(n, fields[0])
	if len(fields) == 1 {
		return guarded(t)
	}
	var any []Expr
	for _, f := range fields {
		t.Field = f
		any = append(any, t)
	}
	return Or{any, n.at}
}
