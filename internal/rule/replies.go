package rule

import (
	"slices"

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
	before, served := newSetIndex(), newSetIndex()
	var all []inverse
	var tracked []*Rule
	for _, r := range c.program.Rules {
		at := c.program.Written[r.Index].Span
		c.sets.turn(at.End - at.Start)
		if r.Replies == Tracked {
			flows := c.trackedFlows(r)
			tracked = append(tracked, flows.reply())
			c.tracked = append(c.tracked, flows)
		}
		if r.Replies == Stateless {
			for _, inv := range c.invert(nodes[r.Index], r, before.near(c.where[r])) {
				reply := inv.reply()
				in := c.sets.packets(c.complete(reply))
				c.distinct(nodes, out.Rules, served, reply, in)
				served.add(in)
				out.Rules = append(out.Rules, reply)
				all = append(all, inv)
			}
		}
		before.add(c.where[r])
		if c.err != nil {
			return
		}
	}
	// What answers a flow that is tracked is known; what the others serve only looks like it.
	out.Rules = append(tracked, out.Rules...)
	c.program.Replies = out
	c.program.RepliesAdvice = c.repliesAdvice(nodes, all)
	c.inverses = all
}

// distinct rejects a rule whose replies may be those of an earlier one.
func (c *checker) distinct(nodes []syntax.RuleNode, all []*Rule, served *setIndex, r *Rule, in packetset.Set) {
	for _, i := range served.near(in) {
		early := all[i]
		if c.sets.Spend(1); !c.sets.Meets(served.sets[i], in) || c.apartByRows(early, r) {
			continue
		}
		line, column := (&syntax.Diagnostic{Source: c.source, At: nodes[early.Index].RepliesAt}).Position()
		c.fail(nodes[r.Index].RepliesAt, "test for what tells them apart, such as an address of the client",
			`replies to this rule, "%s", and to %s (%d:%d), "%s", cannot be told apart`, syntax.Crop(r.Rows.write(r.asked())),
			c.nameRule(early.Index), line, column, syntax.Crop(early.Rows.write(early.asked())))
		return
	}
}
