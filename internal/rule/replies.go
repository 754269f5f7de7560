package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// replies makes the program for the other direction from the rules that say replies
// (semantics.md 5).
func (c *checker) replies(nodes []syntax.RuleNode) {
	if !slices.ContainsFunc(nodes, func(r syntax.RuleNode) bool { return r.Replies != NoReplies }) {
		return
	}
	out := &Program{Source: c.source, Written: c.program.Written}
	before, served := newMeeting(), newMeeting()
	for i, r := range c.program.Rules {
		at := c.program.Written[r.Index].Span
		c.sets.turn(at.End - at.Start)
		if r.Replies == Stateless {
			for _, inv := range c.invert(nodes[r.Index], r, before.near(c.where[r])) {
				reply := inv.reply()
				in := c.sets.packets(c.complete(reply))
				c.distinct(nodes, out.Rules, served, reply, in)
				served.add(len(out.Rules), in)
				out.Rules = append(out.Rules, reply)
			}
		}
		before.add(i, c.where[r])
		if c.err != nil {
			return
		}
	}
	c.program.Replies = out
}

// invert is the inverse of a rule, one for each case of old values; of earlier rules those
// are given that may take its packets.
func (c *checker) invert(node syntax.RuleNode, r *Rule, earlier []int) []inverse {
	flow := c.flowsOf(r, earlier)
	around := c.sets.packets(flow)
	if !around.Exact() && c.sets.Over() {
		c.fail(node.RepliesAt, "split the condition into rules joined by else", "the rule is too complex to be undone on replies")
	}
	cases := [][]change{nil}
	for _, a := range r.Actions {
		if !changesFlow(a) {
			continue
		}
		var next [][]change
		for _, ch := range c.cases(a, around.Values(a.Field)) {
			for _, before := range cases {
				next = append(next, append(slices.Clone(before), ch))
			}
		}
		if cases = next; len(cases) > maxCases {
			c.noInverse(node, a, around.Values(a.Field))
		}
	}
	if c.err != nil {
		return nil
	}
	return c.inverses(node, r, flow, cases)
}

// maxCases is the most cases of old values that one rule has.
const maxCases = packetset.MaxStates

// inverses are the inverses of a rule for the cases of old values that there can be.
func (c *checker) inverses(node syntax.RuleNode, r *Rule, flow Expr, cases [][]change) (out []inverse) {
	var sets []packetset.Set
	for _, changes := range cases {
		of := []Expr{flow}
		for _, ch := range changes {
			if len(cases) > 1 {
				of = append(of, Test{Field: ch.redo.Field, In: ch.old, At: ch.redo.At})
			}
		}
		inv := newInverse(r, both(of, flow.Span()), changes)
		in := c.sets.packets(inv.result)
		if in.Empty() {
			continue
		}
		for i, other := range out {
			if c.sets.Meets(sets[i], in) {
				c.noInverse(node, differing(other, inv).redo, c.sets.packets(flow).Values(differing(other, inv).redo.Field))
				return nil
			}
		}
		out, sets = append(out, inv), append(sets, in)
	}
	return out
}

// differing is the first change of two inverses of a rule that is not the same.
func differing(a, b inverse) change {
	for i, ch := range a.changes {
		if !ch.old.Equal(b.changes[i].old) {
			return ch
		}
	}
	panic("rule: two inverses of one rule are the same")
}

// flowsOf is the condition that a flow is rewritten by a rule: that the rule holds on some of its packets,
// and no earlier rule on all of them.
func (c *checker) flowsOf(r *Rule, earlier []int) Expr {
	list := []Expr{possible(c.complete(r))}
	for _, i := range earlier {
		early := c.program.Rules[i]
		if early.Index != r.Index && c.sets.Meets(c.where[early], c.where[r]) {
			list = append(list, negate(certain(c.complete(early)), early.Cond.Span()))
		}
	}
	return both(list, r.Cond.Span())
}

// cases are the changes that an action makes of the values that a field may have before: each
// can be undone by one action.
func (c *checker) cases(a Action, old field.Set) (out []change) {
	bits := a.Field.Width // that are lost
	switch a.Op {
	case operand.Add, operand.Sub:
		if !old.Empty() && saturates(a, old) {
			c.fail(a.At, "", "%s has no inverse: it stops at an end, so which %s did the client use?", a.Print(), noun(a.Field))
		}
		return []change{newChange(a, old)}
	case operand.Prefix:
		bits = a.Bits
	case operand.Set:
	default:
		c.fail(a.At, "", "%s has no inverse: which %s did the client use?", a.Print(), noun(a.Field))
		return nil
	}
	for _, block := range blocks(old, a.Field.Width-bits, maxCases+1) {
		out = append(out, newChange(a, old.Intersect(field.Set{block})))
	}
	return out
}

// saturates reports whether a shift stops at an end for one of the values.
func saturates(a Action, old field.Set) bool {
	if a.Op == operand.Sub {
		return old[0].Lo.Cmp(a.Value) < 0
	}
	return old[len(old)-1].Hi.Cmp(a.Field.Max().Minus(a.Value)) > 0
}

// blocks are the blocks of 2^host values in which there are values of a set, the first so many.
func blocks(in field.Set, host, most int) (out []field.Range) {
	for _, r := range in {
		for lo := r.Lo.AndNot(field.Ones(host)); lo.Cmp(r.Hi) <= 0; lo = lo.Plus(field.Ones(host)).Inc() {
			block := field.Range{Lo: lo, Hi: lo.Or(field.Ones(host))}
			if n := len(out); n == 0 || out[n-1] != block {
				out = append(out, block)
			}
			if len(out) == most || block.Hi.Cmp(r.Hi) >= 0 {
				break
			}
		}
		if len(out) == most {
			break
		}
	}
	return out
}

// noInverse is the error for an action that makes one value of several.
func (c *checker) noInverse(node syntax.RuleNode, a Action, old field.Set) {
	from := "any " + noun(a.Field)
	if !old.Full(a.Field.Width) {
		from = syntax.Crop(printSet(a.Field, old))
	}
	end := Span{Start: node.RepliesAt.End, End: node.RepliesAt.End}
	d := c.fail(a.At, "replies takes a rule that makes one value of one, a prefix of a prefix, or a shift",
		"%s to %s has no inverse: which %s did the client use?", from, a.operand(), noun(a.Field))
	if node.Replies == Stateless {
		d.Propose(syntax.Replace("the kernel remembers it for each flow: ", end, " tracked", "").Showing(node.At))
	}
}

// noun is what a field of a flow holds, in a word.
func noun(f *field.Field) string {
	switch {
	case f.Kind == field.Port:
		return "port"
	case f.Kind.IsAddress():
		return "address"
	case strings.HasSuffix(f.Name, "vlan_id"):
		return "VLAN"
	}
	return "identifier"
}

// distinct rejects a rule whose replies may be those of an earlier one.
func (c *checker) distinct(nodes []syntax.RuleNode, all []*Rule, served *meeting, r *Rule, in packetset.Set) {
	for _, i := range served.near(in) {
		if early := all[i]; c.sets.Meets(served.sets[i], in) {
			c.fail(nodes[r.Index].RepliesAt, "", "replies to this rule and to %s cannot be told apart: %s",
				c.placeOf(early.Index), syntax.Crop(fmt.Sprintf("%s, %s", Print(early.asked()), Print(r.asked()))))
			return
		}
	}
}

// placeOf says which rule is meant and where its replies stand.
func (c *checker) placeOf(index int) string { return c.nameRule(index) }
