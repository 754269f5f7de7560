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

// trackedFlows are the flows of a rule that tracks them.
type trackedFlows struct {
	rule *Rule
	// changed are the fields that the rule changes, in order, and result is a condition that holds on
	// all flows that it has changed; which they are is in the table (semantics.md 5.5).
	changed []*field.Field
	at      []Span
	result  Expr
}

func (c *checker) trackedFlows(r *Rule) *trackedFlows {
	out := &trackedFlows{rule: r}
	add := func(f *field.Field, at Span) { out.changed, out.at = append(out.changed, f), append(out.at, at) }
	var given []Expr
	for _, a := range r.Actions {
		if !changesFlow(a) {
			continue
		}
		add(a.Field, a.At)
		if in := c.givenBy(r, a); !in.Full(a.Field.Width) {
			given = append(given, guarded(Test{Field: a.Field, In: in, At: a.At}))
		}
	}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		add(src, s.At)
		add(dest, s.At)
	}
	kept := ofFlow(r.Cond, true, func(t Test) bool {
		return saysFlow(t) && !slices.Contains(out.changed, t.Field) && len(t.Cells) == 0
	})
	out.result = both(append([]Expr{kept}, given...), r.Cond.Span())
	return out
}

// reply is the rule that serves the replies.
func (f *trackedFlows) reply() *Rule {
	out := &Rule{Index: f.rule.Index, Replies: Tracked}
	for i, changed := range f.changed {
		out.Actions = append(out.Actions, Action{Field: flowFields[changed], Op: operand.Restore, At: f.at[i]})
	}
	cond := rewrite(f.result, func(t Test) Expr { return exchange(t) })
	out.Cond = withGuards(lean(cond, out), out.Actions)
	return out
}

// aboutFlow is the rule for ICMP errors that quote a packet as the rule has left it.
func (f *trackedFlows) aboutFlow() *Rule {
	out := &Rule{Index: f.rule.Index, Replies: Tracked, Quote: true}
	f.restoreQuote(out, f.result, func(changed *field.Field) *field.Field { return changed })
	return out
}

// aboutReply are the rules for ICMP errors that quote a reply whose old values have been given back.
func (f *trackedFlows) aboutReply(c *checker) []*Rule {
	if inv, ok := f.known(c); ok {
		return inv.aboutReply()
	}
	return []*Rule{f.aboutReplyByTable()}
}

// known is what the rule changes where that are values and prefixes that it says. Then errors about
// replies need no table. It is false if they are others.
func (f *trackedFlows) known(c *checker) (inv inverse, ok bool) {
	inv = inverse{rule: f.rule, flow: possible(f.rule.Cond)}
	in := c.sets.packets(inv.flow)
	for _, a := range f.rule.Actions {
		switch {
		case !changesFlow(a):
			continue
		case a.Cell > 0, a.Op != operand.Set && a.Op != operand.Prefix, in.Values(a.Field).Empty():
			return inv, false
		}
		inv.changes = append(inv.changes, change{redo: a, old: Test{Field: a.Field, In: in.Values(a.Field), At: a.At}})
	}
	return inv, f.rule.Rows == nil && len(f.rule.Swaps) == 0
}

// aboutReplyByTable has what the rule makes of the flow from the table, also where it was drawn.
func (f *trackedFlows) aboutReplyByTable() *Rule {
	flow := ofFlow(f.rule.Cond, true, func(t Test) bool { return saysFlow(t) && len(t.Cells) == 0 })
	out := &Rule{Index: f.rule.Index, Replies: Tracked, Quote: true, Reply: true}
	f.restoreQuote(out, rewrite(flow, func(t Test) Expr { return exchange(t) }), func(changed *field.Field) *field.Field { return flowFields[changed] })
	return out
}

// restoreQuote has a rule restore the quoted packet, on which a condition has to hold and in which the
// fields that the rule changes are others. An address of the error itself is restored where it
// is that of the packet's end (semantics.md 5.5).
func (f *trackedFlows) restoreQuote(out *Rule, cond Expr, quoted func(changed *field.Field) *field.Field) {
	for i, changed := range f.changed {
		inner := quoted(changed)
		out.Actions = append(out.Actions, Action{Field: field.Quoted(inner), Op: operand.Restore, At: f.at[i]})
		if inner.Kind.IsAddress() {
			out.Actions = append(out.Actions, Action{Field: flowFields[inner], Op: operand.Restore, At: f.at[i]})
		}
	}
	out.Cond = withGuards(inQuote(cond), out.Actions)
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
