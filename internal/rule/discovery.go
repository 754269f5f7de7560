package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// discoveryLimit is the hop limit that neighbour discovery takes, and no other
// (RFC 4861 section 7.1).
const discoveryLimit = 255

// discovery warns where a rule changes the hop limit of neighbour discovery, as
// one for all packets does: IPv6 would stop. One warning is enough.
func (c *checker) discovery(rules []syntax.RuleNode) {
	packets, before := c.discoveries(), 0
	for _, r := range c.program.Rules {
		at := slices.IndexFunc(r.Actions, spoilsDiscovery)
		if at < 0 || !c.where[r].Exact() || !c.sets.Meets(c.where[r], packets) {
			continue
		}
		for ; c.program.Rules[before].Index < r.Index; before++ {
			if c.takesAll(c.program.Rules[before], packets) {
				return
			}
		}
		c.warn(syntax.Warning, r.Actions[at].At, "put not icmp6 into the condition, or tcp or udp for these alone",
			"neighbour discovery takes a hop limit of %d only: with another one IPv6 stops", discoveryLimit).
			Propose(withoutDiscovery(rules[r.Index]))
		return
	}
}

// withoutDiscovery suggests a condition without ICMPv6.
func withoutDiscovery(r syntax.RuleNode) syntax.Suggestion {
	const lead = "for all but ICMPv6: "
	at := r.Cond.Span()
	shows := Span{Start: r.IfAt.Start, End: r.At.End}
	end := Span{Start: at.End, End: at.End}
	switch r.Cond.(type) {
	case syntax.AllNode:
		if r.Closing {
			return syntax.Replace(lead, at, "else if not icmp6 then", "").Showing(shows)
		}
		return syntax.Replace(lead, at, "not icmp6", "").Showing(shows)
	case syntax.OrNode:
		begin := Span{Start: at.Start, End: at.Start}
		return syntax.Suggestion{Lead: lead, Shows: shows, Edits: []syntax.Edit{{At: begin, Text: "("}, {At: end, Text: ") not icmp6"}}}
	}
	return syntax.Replace(lead, end, " not icmp6", "").Showing(shows)
}

// discoveries are the packets of neighbour discovery (RFC 4861 section 4).
func (c *checker) discoveries() packetset.Set {
	types := field.Set{{Lo: field.V(133), Hi: field.V(137)}}
	return c.sets.Intersect(packetset.Where(field.MustByName("icmp6_type"), types),
		packetset.Where(field.MustByName("ip6_hlim"), field.One(field.V(discoveryLimit))))
}

// spoilsDiscovery reports whether an action makes another value of a hop limit of 255.
func spoilsDiscovery(a Action) bool {
	if a.Field.Name != "ip6_hlim" {
		return false
	}
	switch a.Op {
	case operand.Set, operand.AtMost:
		return a.Cell == 0 && a.Value.Cmp(field.V(discoveryLimit)) < 0
	case operand.Sub:
		return a.Cell == 0
	case operand.Copy:
		return a.From != a.Field
	}
	return a.Op.Chooses() // else it stops at the highest value, or is that already
}

// takesAll reports whether a rule takes all of the packets.
func (c *checker) takesAll(r *Rule, packets packetset.Set) bool {
	at := c.program.Written[r.Index].Span
	c.sets.turn(at.End - at.Start)
	return !c.sets.Meets(packets, c.outside(&reach{rules: []*Rule{r}}))
}
