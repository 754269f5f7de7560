package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// checkReplies rejects replies where there are none, and beside actions that no reply undoes.
func (c *checker) checkReplies(r syntax.RuleNode, rule *Rule) {
	for _, v := range r.Verdicts {
		switch v.Verdict {
		case Drop:
			c.fail(v.At, "leave one of the two out", "drop and replies do not go together: what is dropped is not answered")
		case Reflect:
			c.fail(v.At, "swap exchanges the addresses of what is sent back",
				"reflect and replies do not go together: what is sent back is the reply itself")
		case ToInterface:
			c.fail(v.At, "the other interface takes rules of its own, for the way back",
				"redirect and replies do not go together: the replies arrive at another interface")
		}
	}
	for _, a := range rule.Actions {
		c.undone(a)
	}
	for _, s := range rule.Swaps {
		if s.Proto == field.Eth {
			c.linkLocal(s.At, "swap eth")
		}
	}
	if !slices.ContainsFunc(rule.Actions, changesFlow) && len(rule.Swaps) == 0 {
		c.fail(r.RepliesAt, "leave out replies", "nothing for replies to undo: the rule changes no address, port, echo identifier or VLAN identifier")
	}
	if r.Replies == Tracked {
		c.trackable(r, rule)
	}
}

// changesFlow reports whether an action changes what a flow is known by.
func changesFlow(a Action) bool { return flowFields[a.Field] != nil && !a.Idle() }

// undone rejects an action that replies cannot undo.
func (c *checker) undone(a Action) {
	name := a.Field.Name
	switch {
	case a.Field.Kind == field.MAC && a.Field.Proto == field.Eth:
		c.linkLocal(a.At, name)
	case a.Field.Proto == field.ARP:
		c.fail(a.At, "an ARP reply takes a rule of its own", "%s and replies do not go together: ARP belongs to no flow", name)
	case name == "tcp_seq" || name == "tcp_ack_seq" || name == "icmp_seq":
		c.fail(a.At, "the other direction takes a rule of its own, on the number that answers this one",
			"%s and replies do not go together: the number is another one in each packet of a flow", name)
	case slices.Contains(protocolFields, name):
		c.fail(a.At, "leave one of the two out", "%s and replies do not go together: it says which protocol a packet has, and a reply has the same", name)
	}
}

// linkLocal rejects a change of MAC addresses beside replies.
func (c *checker) linkLocal(at Span, what string) {
	c.fail(at, "leave one of the two out", "%s and replies do not go together: MAC addresses are those of the next hop, not of a flow", what)
}
