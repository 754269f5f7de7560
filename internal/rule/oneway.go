package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// otherEnd are the fields that name one end of a TCP connection, and those that name the same end
// in the packets of the other direction.
var otherEnd = map[string]string{
	"tcp_src": "tcp_dest", "tcp_dest": "tcp_src", "ip_src": "ip_dest", "ip_dest": "ip_src", "ip6_src": "ip6_dest", "ip6_dest": "ip6_src",
}

// oneWay is a warning of the first rule that changes a port or an address of TCP while no rule
// changes it in packets of the other direction, or nil: their receiver knows no such connection.
func (c *checker) oneWay(nodes []syntax.RuleNode) *syntax.Diagnostic {
	for _, r := range c.program.Rules {
		if r.Replies != NoReplies || r.Verdict == Drop || r.Verdict == Reflect || !c.where[r].Exact() || !c.sets.Meets(c.where[r], packetset.With(field.TCP)) {
			continue
		}
		for _, a := range r.Actions {
			other := otherEnd[a.Field.Name]
			if other == "" || a.Idle() || a.Op == operand.Copy || c.changes(other) {
				continue
			}
			d := c.diagnostic(syntax.Warning, a.At, "a rule for "+other+" in packets of the other direction is the way back",
				"TCP connections do not survive this: their packets of the other direction keep %s", other)
			if node := nodes[r.Index]; !node.Closing {
				end := Span{Start: node.Does.End, End: node.Does.End}
				d.Propose(syntax.Replace("the other direction gets the old value back: ", end, " replies", "").Showing(Span{Start: node.IfAt.Start, End: node.At.End}))
			}
			if back := wayBack(r, a, field.MustByName(other)); back != "" {
				d.Propose(syntax.Suggestion{Lead: "the way back, for the other direction: ", Alone: back, AloneShows: back})
			}
			return d
		}
	}
	return nil
}

// changes reports whether a rule of the program changes a field.
func (c *checker) changes(name string) bool {
	return slices.ContainsFunc(c.program.Rules, func(r *Rule) bool {
		return slices.ContainsFunc(r.Actions, func(a Action) bool { return a.Field.Name == name }) ||
			slices.ContainsFunc(r.Swaps, func(s Swap) bool {
				src, dest := s.Fields()
				return src.Name == name || dest.Name == name
			})
	})
}

// wayBack is the rule that undoes an action in packets of the other direction, where a value is
// set in the place of one that is tested for; else it is "".
func wayBack(r *Rule, a Action, other *field.Field) string {
	if a.Op != operand.Set || a.Cell > 0 {
		return ""
	}
	for _, x := range conjuncts(r.Cond) {
		t, ok := x.(Test)
		if !ok || t.Field != a.Field || len(t.Cells) > 0 || len(t.In) != 1 || t.In[0].Lo != t.In[0].Hi {
			continue
		}
		back := &Rule{
			Cond:    Test{Field: other, In: field.One(a.Value)},
			Actions: []Action{{Field: other, Op: operand.Set, Value: t.In[0].Lo}},
		}
		return back.Print()
	}
	return ""
}
