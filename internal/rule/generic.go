package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/syntax"
)

// Generic fields (sport, dport, dscp, ecn, ttl) stand for a field of several
// protocols, all of one kind and width. A test of one means any of its fields; a
// rule that sets or copies one is copied for each protocol that this can mean.

// choice says which protocols the generic fields of a rule mean, where one of
// them is among its actions. An empty choice leaves them open.
type choice []field.Protocol

// pick are the fields that are meant under the choice: one, or all of them.
func (ch choice) pick(fields []*field.Field) []*field.Field {
	for _, f := range fields {
		if slices.Contains(ch, f.Proto) {
			return []*field.Field{f}
		}
	}
	return fields
}

// choices lists what the generic fields among a rule's actions can mean. Without
// any there is one choice, the open one.
func choices(actions []syntax.ActionNode) []choice {
	all := []choice{nil}
	for _, a := range actions {
		for _, ref := range a.Refs() {
			if !ref.Generic() {
				continue
			}
			var next []choice
			for _, ch := range all {
				if len(ch.pick(ref.Fields)) == 1 { // an earlier one has chosen
					next = append(next, ch)
					continue
				}
				for _, f := range ref.Fields {
					next = append(next, append(slices.Clone(ch), f.Proto))
				}
			}
			all = next
		}
	}
	return all
}

// draft is a rule whose values are resolved and whose generic fields are open.
type draft struct {
	rule syntax.RuleNode
	// cond may have an openTest in place of a Test, and conditions of its own kind
	// in an And or an Or.
	cond Expr
	// actions have the first of the fields that a generic one stands for.
	actions []Action
	rows    *Rows
}

// openTest is a test of a generic field.
type openTest struct {
	Test   // of the first of them
	fields []*field.Field
}

// expand is the rule for one choice.
func (d draft) expand(index int, ch choice) *Rule {
	out := &Rule{Index: index, Actions: slices.Clone(d.actions), Swaps: d.rule.Swaps, Replies: d.rule.Replies, Rows: d.rows}
	for i, a := range d.rule.Actions {
		out.Actions[i].Field = ch.pick(a.Ref.Fields)[0]
		if a.Operand.Op == operand.Copy {
			out.Actions[i].From = ch.pick(a.Operand.From.Fields)[0]
		}
	}
	out.Verdict, out.Redirect = verdictOf(d.rule)
	out.Cond = withGuards(ch.apply(d.cond), out.Actions)
	return out
}

// verdictOf is what becomes of the packets of a rule, and the interface where it redirects.
func verdictOf(r syntax.RuleNode) (v Verdict, redirect string) {
	for _, node := range r.Verdicts { // one, unless an error has been reported
		v, redirect = node.Verdict, node.Iface
	}
	return v, redirect
}

// apply is a condition of a draft under the choice, with no And in an And and no
// Or in an Or.
func (ch choice) apply(e Expr) Expr {
	switch e := e.(type) {
	case openTest:
		var tests []Expr
		for _, f := range ch.pick(e.fields) {
			e.Field = f
			tests = append(tests, e.Test)
		}
		return anyOf(tests, e.At)
	case Not:
		return Not{ch.apply(e.X), e.At}
	case And:
		return And{splice[And](ch, e.X), e.At}
	case Or:
		return Or{splice[Or](ch, e.X), e.At}
	}
	return e
}

// splice are the members of a condition under the choice; in the place of one of
// the same kind stand its own.
func splice[Kind Expr](ch choice, list []Expr) (out []Expr) {
	for _, x := range list {
		x = ch.apply(x)
		if _, same := x.(Kind); same {
			out = append(out, parts(x)...)
		} else {
			out = append(out, x)
		}
	}
	return out
}
