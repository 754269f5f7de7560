// Package why is what --why counts: the tests that decide in written order whether a rule acts
// (semantics.md 3.13), which of them failed first, and what was seen there. It knows no packets;
// whoever carries rules out looks at them and counts here.
package why

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/syntax"
)

// MostRules is how many rules are looked at: the first as written.
const MostRules = 16

// mostTests is how many tests of a rule are told apart; what stands behind is one more.
const mostTests = 32

// Test is one of the tests by which a rule acts or does not. It fails in one of three ways, in
// this order: see Miss.
type Test struct {
	// Rule is the place in rule.Program.Written.
	Rule int
	// Text is the test in the user's words or, where Implied is set, the action that needs it.
	Text    string
	Implied bool
	// Name is the field as it was written, where the test is one of a field.
	Name string
	// Headers: one of them has to be there. None: it is not asked.
	Headers []field.Protocol
	// Guard, if it is not nil, holds where Optional is there, a field that not every such
	// header has. GuardSees is the field that tells, or nil.
	Guard     rule.Expr
	GuardSees *field.Field
	Optional  *field.Field
	// Expr is what has to hold, or nil. Sees are the fields whose value is looked at where
	// it does not; no packet has two of them.
	Expr rule.Expr
	Sees []*field.Field
	// Whole is the checksum for which the datagram has to be whole, or nil.
	Whole *field.Field
	// Rest: it has failed where all other tests hold, and nobody asks it. It stands last.
	Rest bool
}

// Miss is how a test fails.
type Miss uint8

// The ways, in order. Of the first, what is there instead is seen; of the others a value.
const (
	NoHeader Miss = iota
	NoField
	Failed
	Misses // how many there are
)

// Slot is the place among the counters of a test, by its place in the list of Tests, that has
// failed in a way.
func Slot(test int, m Miss) int { return int(Misses)*test + int(m) }

// TestOf is the reverse of Slot.
func TestOf(slot int) (test int, m Miss) { return slot / int(Misses), Miss(slot % int(Misses)) }

// Tests lists the tests of the first rules of a program, rule by rule in the order in which
// they are asked.
func Tests(p *rule.Program) []Test {
	var out []Test
	for i := range p.Written[:min(len(p.Written), MostRules)] {
		out = append(out, testsOf(p, i)...)
	}
	return out
}

// Last is the place in rule.Program.Rules of the last rule of a rule as written; -1 if there is
// none.
func Last(p *rule.Program, written int) int {
	last := -1
	for i, r := range p.Rules {
		if r.Index == written {
			last = i
		}
	}
	return last
}

// testsOf are those of one rule: first what is written, then what the actions need, then what
// depends on rows or on chance.
func testsOf(p *rule.Program, written int) []Test {
	var out []Test
	var asked, rest []rule.Expr
	for _, x := range rule.Conjuncts(p.Written[written].Cond) {
		if depends(x) {
			rest = append(rest, x)
		} else {
			asked = append(asked, x)
		}
	}
	for i, x := range asked {
		if i == mostTests-1 && len(asked) > mostTests {
			out = append(out, joined(p.Source, asked[i:]))
			break
		}
		if t, asks := testOf(p.Source, x); asks {
			out = append(out, t)
		}
	}
	out = append(out, needs(p, written)...)
	if len(rest) > 0 {
		t := joined(p.Source, rest)
		t.Rest = true
		out = append(out, t)
	}
	for i := range out {
		out[i].Rule = written
	}
	return out
}

// depends reports whether a condition has columns or a chance: those are not asked twice.
func depends(e rule.Expr) bool {
	return slices.ContainsFunc(rule.Leaves(e), func(x rule.Expr) bool {
		t, _ := x.(rule.Test)
		_, chance := x.(rule.Chance)
		return chance || len(t.Cells) > 0
	})
}

// joined is a test of all of a list.
func joined(source string, list []rule.Expr) Test {
	if len(list) == 1 {
		if t, asks := testOf(source, list[0]); asks {
			return t
		}
	}
	t := Test{Expr: rule.And{X: list}}
	var texts []string
	for _, x := range list {
		texts = append(texts, text(source, x))
	}
	t.Text = strings.Join(texts, " and ")
	return t
}

// text is a condition as it was written; brackets around it are left out there.
func text(source string, e rule.Expr) string {
	out := syntax.Flatten(source, e.Span())
	if or, is := e.(rule.Or); is && len(generic(or)) == 0 {
		return "(" + out + ")"
	}
	return out
}

// testOf is the test of one condition; asks is false where it always holds.
func testOf(source string, e rule.Expr) (t Test, asks bool) {
	t = Test{Text: text(source, e), Expr: e}
	switch e := e.(type) {
	case rule.All:
		return t, false
	case rule.Has:
		t.Headers, t.Expr = []field.Protocol{e.Proto}, nil
	case rule.Not:
		if fields := generic(e.X); len(fields) > 0 {
			t.Sees, t.Name = fields, nameIn(syntax.Flatten(source, e.X.Span()), fields)
		}
	default:
		fields := generic(e)
		if len(fields) == 0 {
			return t, true
		}
		t.Sees, t.Name = fields, nameIn(t.Text, fields)
		for _, f := range fields {
			t.Headers = append(t.Headers, headerOf(f))
		}
		t.Optional = fields[0]
		if and, guarded := e.(rule.And); guarded {
			guard := and.X[0].(rule.Test)
			t.Guard, t.GuardSees = guard, guard.Field
		} else if fields[0].Proto == field.MSS {
			t.Guard = rule.Has{Proto: field.MSS}
		}
	}
	return t, true
}

// headerOf is the header in which a field stands.
func headerOf(f *field.Field) field.Protocol {
	if f.Proto == field.MSS {
		return field.TCP
	}
	return f.Proto
}

// generic are the fields of a condition that is a test of one field, which may be generic; else
// there are none.
func generic(e rule.Expr) []*field.Field {
	switch e := e.(type) {
	case rule.Test:
		return []*field.Field{e.Field}
	case rule.And: // with its guard
		if list := rule.Conjuncts(e); len(list) == 1 {
			return generic(e.X[1])
		}
	case rule.Or:
		var out []*field.Field
		for _, x := range e.X {
			t, is := x.(rule.Test)
			if !is || t.At != e.At {
				return nil
			}
			out = append(out, t.Field)
		}
		return out
	}
	return nil
}

// nameIn is what a test calls its field.
func nameIn(text string, fields []*field.Field) string {
	if len(fields) == 1 {
		return fields[0].Name
	}
	end := strings.IndexFunc(text, func(r rune) bool { return r != '_' && (r < 'A' || r > 'z') })
	if end < 0 {
		end = len(text)
	}
	return strings.ToLower(text[:end])
}

// needs are the tests for what the actions of a rule need (semantics.md 3.1).
func needs(p *rule.Program, written int) []Test {
	var copies []*rule.Rule
	for _, r := range p.Rules {
		if r.Index == written && !r.Quote {
			copies = append(copies, r)
		}
	}
	if len(copies) == 0 {
		return nil
	}
	var out []Test
	have := func(t Test) bool {
		return slices.ContainsFunc(out, func(o Test) bool { return slices.Equal(o.Headers, t.Headers) })
	}
	add := func(at rule.Span, headers []field.Protocol) {
		if t := (Test{Text: syntax.Flatten(p.Source, at), Implied: true, Headers: headers}); !have(t) {
			out = append(out, t)
		}
	}
	first := copies[0]
	for i, a := range first.Actions {
		for j := range a.Needs() {
			var headers []field.Protocol
			for _, c := range copies {
				if h := headerOf(c.Actions[i].Needs()[j]); !slices.Contains(headers, h) {
					headers = append(headers, h)
				}
			}
			add(a.At, headers)
		}
		if over := a.Op.Operand().Over; len(over) > 0 {
			add(a.At, over)
		}
	}
	for _, s := range first.Swaps {
		add(s.At, []field.Protocol{s.Proto})
	}
	out = append(out, optional(p.Source, first)...)
	for _, a := range first.Actions {
		if a.Op.Sums() {
			out = append(out, Test{Text: syntax.Flatten(p.Source, a.At), Implied: true, Whole: a.Field})
		}
	}
	return out
}

// optional are the tests for optional fields that the actions of a rule need.
func optional(source string, r *rule.Rule) []Test {
	var out []Test
	fields, guards := r.Guards()
	for i, g := range guards {
		out = append(out, Test{
			Text: syntax.Flatten(source, g.At), Implied: true, Name: fields[i].Name, Guard: g, GuardSees: g.Field, Optional: fields[i],
		})
	}
	for _, a := range r.Actions {
		for _, f := range a.Needs() {
			if f.Proto == field.MSS {
				return append(out, Test{
					Text: syntax.Flatten(source, a.At), Implied: true, Name: f.Name, Guard: rule.Has{Proto: field.MSS}, Optional: f,
				})
			}
		}
	}
	return out
}
