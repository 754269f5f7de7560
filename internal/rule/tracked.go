package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/syntax"
)

// MaxTracked is the most rules of a program that can track flows: an entry of the table of flows
// has 16 bits for its rule.
const MaxTracked = 1<<16 - 1

// maxGiven is the most values that the replies to a rule are looked at for before the table is.
const maxGiven = 64

// Tracks reports whether a rule of the program tracks flows or, in that of the replies, answers
// flows that are tracked.
func (p *Program) Tracks() bool {
	return slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Replies == Tracked })
}

// Restores reports whether the rule gives packets what they held in the flow that they answer. It
// acts only on packets that answer a flow of the rule with its Index.
func (r *Rule) Restores() bool {
	return slices.ContainsFunc(r.Actions, func(a Action) bool { return a.Op == operand.Restore })
}

// trackable rejects what tracking flows does not go with.
func (c *checker) trackable(r syntax.RuleNode, rule *Rule) {
	for _, a := range rule.Actions {
		if a.Field.Proto == field.VLAN || a.Field.Proto == field.CVLAN {
			if changesFlow(a) {
				c.fail(a.At, "without tracked the replies get their tag back where each new one has one old one",
					"%s and replies tracked do not go together: packets without an IP header belong to no flow", a.Field.Name)
			}
		}
	}
	if n := c.trackedBefore(rule.Index); n >= MaxTracked {
		c.fail(syntax.LastWord(c.source, r.RepliesAt), "", "a program tracks the flows of %d rules at most", MaxTracked)
	}
}

// trackedBefore counts the rules that track flows before one.
func (c *checker) trackedBefore(index int) (n int) {
	for _, w := range c.program.Written[:index] {
		if w.Replies == Tracked {
			n++
		}
	}
	return n
}

// trackedReply is the rule that serves the replies to a rule that tracks flows. Its condition holds
// on all of them; which packets they are is in the table (semantics.md 5.5).
func (c *checker) trackedReply(r *Rule) *Rule {
	out := &Rule{Index: r.Index, Replies: Tracked}
	var given []Expr
	changed := map[*field.Field]bool{}
	restore := func(f *field.Field, at Span) {
		changed[f] = true
		out.Actions = append(out.Actions, Action{Field: flowFields[f], Op: operand.Restore, At: at})
	}
	for _, a := range r.Actions {
		if !changesFlow(a) {
			continue
		}
		restore(a.Field, a.At)
		if in := c.givenBy(r, a); !in.Full(a.Field.Width) {
			given = append(given, guarded(Test{Field: flowFields[a.Field], In: in, At: a.At}))
		}
	}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		restore(src, s.At)
		restore(dest, s.At)
	}
	kept := ofFlow(r.Cond, true, func(t Test) bool { return saysFlow(t) && !changed[t.Field] && len(t.Cells) == 0 })
	list := append([]Expr{rewrite(kept, func(t Test) Expr { return exchange(t) })}, given...)
	out.Cond = withGuards(lean(both(list, r.Cond.Span()), out), out.Actions)
	return out
}

// givenBy are the values that an action of a rule may give, or all of its field where they are many.
func (c *checker) givenBy(r *Rule, a Action) field.Set {
	all := field.All(a.Field.Width)
	switch {
	case a.Cell > 0:
		if in := c.column(r.Rows, a.Cell-1); a.Op == operand.Set && len(in) <= maxGiven {
			return in
		}
		return all
	case a.Op == operand.Set, a.Op == operand.Prefix:
		return field.NewSet(a.gives())
	case a.Op.Chooses():
		return field.NewSet(a.Range)
	case a.Op == operand.AtLeast:
		return field.NewSet(field.Range{Lo: a.Value, Hi: a.Field.Max()})
	case a.Op == operand.AtMost:
		return field.NewSet(field.Range{Hi: a.Value})
	}
	return all
}
