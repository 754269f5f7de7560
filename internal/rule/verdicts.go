package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// Verdicts tells whether a rule drops, reflects or redirects packets.
func (p *Program) Verdicts() bool {
	return slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Verdict != Pass })
}

// verdict checks that a rule has one verdict at most, and that drop stands
// alone.
func (c *checker) verdict(r syntax.RuleNode) {
	if len(r.Verdicts) > 1 {
		a, b := r.Verdicts[0], r.Verdicts[1]
		hint := "one rule, one of them"
		if syntax.IsKeyword(a.Iface) {
			hint = fmt.Sprintf("the word behind redirect is an interface: here %s", a.Iface)
		}
		c.fail(b.At, hint, "two verdicts in one rule: %s and %s", c.words(a.At), c.words(b.At))
	}
	if !r.Drops() || len(r.Actions)+len(r.Swaps) == 0 {
		return
	}
	var others []Span
	for _, a := range r.Actions {
		others = append(others, a.At)
	}
	for _, s := range r.Swaps {
		others = append(others, s.At)
	}
	c.fail(r.Verdicts[0].At, "leave out "+c.words(others[0]), "drop stands alone: nothing is left of the packet to rewrite")
}

// lacking warns of each not of a field test that also holds where the header
// is missing, if the rule takes such packets off their way.
func (c *checker) lacking(e Expr, where union) {
	switch e := e.(type) {
	case And:
		for _, x := range e.X {
			c.lacking(x, where)
		}
	case Or:
		for _, x := range e.X {
			c.lacking(x, where)
		}
	case Not:
		if tests := fieldTests(e.X); len(tests) > 0 {
			c.lacks(e, tests, where)
		}
	}
}

// fieldTests are the tests of which a condition is made, if it is made of
// tests only.
func fieldTests(e Expr) []Test {
	var xs []Expr
	switch e := e.(type) {
	case Test:
		return []Test{e}
	case And:
		xs = e.X
	case Or:
		xs = e.X
	}
	var out []Test
	for _, x := range xs {
		tests := fieldTests(x)
		if tests == nil {
			return nil
		}
		out = append(out, tests...)
	}
	return out
}

// lacks warns of one not whose condition is made of tests.
func (c *checker) lacks(e Not, tests []Test, where union) {
	var tested headers
	for _, t := range tests {
		tested |= 1 << t.Field.Proto
	}
	lack := anything()
	for _, p := range tested.list() {
		lack = lack.without(p)
	}
	if c.effort.over() || len(c.program.Warnings) >= maxRemarks {
		return
	}
	rest := c.effort.both(c.effort.both(where, c.effort.packets(e)), one(lack))
	told := slices.ContainsFunc(c.program.Warnings, func(w *syntax.Diagnostic) bool { return w.At == e.At })
	if rest.empty() || told {
		return
	}
	text := anyHeader(tested)
	if others := c.instead(tested, rest); len(others) > 0 {
		text += ", such as " + strings.Join(others, ", ")
	}
	c.warn(syntax.Warning, e.At, c.otherwise(e.X, tests, tested), "%s also takes packets without %s", c.words(e.At), text)
}

// anyHeader names headers, each as something that packets have.
func anyHeader(h headers) string {
	text := titles(h)
	if strings.Contains(text, "tag") {
		return "a " + text
	}
	return text
}

// instead names headers that packets of u have and that none with one of the
// tested headers has, of the same layer or of the one that ARP is in.
func (c *checker) instead(tested headers, u union) []string {
	var out []string
	for _, p := range field.Protocols() {
		layer, excluded, near := p.Header().Layer, true, p.Header().Layer == field.NetworkLayer
		for _, q := range tested.list() {
			excluded = excluded && having[p]&having[q] == 0
			near = near || layer == q.Header().Layer
		}
		if excluded && near && u.headers(layer).has(p) {
			out = append(out, p.Header().Title)
		}
	}
	return out
}

// otherwise is the hint for a negated test: the test for all other values.
func (c *checker) otherwise(e Expr, tests []Test, tested headers) string {
	t := tests[len(tests)-1] // the one behind its guard
	name := c.words(c.nameOf(t))
	rest := t.In.Complement(t.Field.Width)
	for _, x := range tests {
		if x.At != e.Span() || rest.Empty() || len(x.Cells) > 0 {
			return "" // more than one test as written
		}
	}
	text := Print(Test{Field: t.Field, In: rest})
	return fmt.Sprintf("only where %s is there: %s%s", anyHeader(tested), name, strings.TrimPrefix(text, t.Field.Name))
}

// NotLeaving says why the rules cannot be for packets that leave, and what to do
// instead; "" is that they can.
func (p *Program) NotLeaving() (why, hint string) {
	for _, r := range p.Rules {
		if r.Verdict == Reflect {
			return "reflect is for packets that come in: those that leave are on their way out already",
				"leave out -Q out; drop and redirect work in both directions"
		}
		for _, a := range r.Actions {
			if a.Field.Name == "tcp_check" && !a.Op.Sums() {
				return "an exact tcp_check cannot reach the wire: TCP packets leave with a checksum that is made later",
					"tcp_check bad makes it come out wrong; to set it exactly, rewrite where the packets arrive"
			}
		}
	}
	return "", ""
}
