package rule

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// framing are the fields that say which bytes a receiver sums: no right or
// wrong L4 checksum is known of a packet that they no longer describe.
var framing = []string{"ip_ver", "ip_hl", "ip_tot_len", "ip_protocol", "ip_offset", "ip_flags", "ip_flag_mf", "ip6_len", "ip6_next", "udp_len"}

// effects checks what the actions of a rule do to each other.
func (r *report) effects(rule *Rule) {
	for i, a := range rule.Actions {
		if r.err != nil {
			return // of thousands of actions two touch the same bit soon
		}
		for _, before := range rule.Actions[:i] {
			r.sameBits(before, a)
			r.noSum(before, a)
			r.noSum(a, before)
		}
		for _, s := range rule.Swaps {
			r.swapped(s, a)
		}
	}
	for i, s := range rule.Swaps {
		if r.err != nil {
			return
		}
		if slices.ContainsFunc(rule.Swaps[:i], func(before Swap) bool { return before.Proto == s.Proto }) {
			r.fail(s.At, "twice is not at all", "swap %s stands twice in one rule", s.Proto)
		}
	}
}

// swapped rejects an action on a field that a swap gives a value to.
func (r *report) swapped(s Swap, a Action) {
	src, dest := s.Fields()
	for _, f := range []*field.Field{src, dest} {
		if !f.Overlaps(a.Field) {
			continue
		}
		r.fail(later(a.At, s.At), "leave one of the two out", "%s is set and swapped in one rule", a.Field.Name)
	}
}

// later is the one of two places that stands behind the other.
func later(a, b Span) Span {
	if b.Start > a.Start {
		return b
	}
	return a
}

// sameBits rejects two actions that touch the same bit; a stands before b.
func (r *report) sameBits(a, b Action) {
	f, g := a.Field, b.Field
	if !f.Overlaps(g) {
		return
	}
	if f == g {
		r.fail(b.At, "", "%s is set twice in one rule", f.Name)
		return
	}
	outer, inner := f, g
	if !f.Contains(g) {
		outer, inner = g, f
	}
	r.fail(b.At, "", "%s and %s set the same bits: %s is a part of %s", f.Name, g.Name, inner.Name, outer.Name)
}

// noSum rejects fix and bad of an L4 checksum beside a field that says which
// bytes it sums, and of ip_check beside an ip_hl that is not a plain value. The caret is at sum, or at other if that stands behind it.
func (r *report) noSum(sum, other Action) {
	layer4 := sum.Field.Proto.Header().Layer == field.TransportLayer && slices.Contains(framing, other.Field.Name)
	length := sum.Field.Name == "ip_check" && other.Field.Name == "ip_hl" && other.Op != operand.Set // known only from the packet
	if !sum.Op.Sums() || !layer4 && !length {
		return
	}
	hint := "set " + sum.Field.Name + " to a number, or leave one of the two out"
	if length {
		hint = "a plain value works"
	}
	r.fail(later(sum.At, other.At), hint,
		"%s %s and %s do not go together: which bytes are summed would change", sum.Field.Name, sum.Op.Operand().Word, other.Field.Name)
}

// sums notes where an action changes which bytes a receiver sums.
func (c *checker) sums(copies []*Rule) {
	var transports packetset.Headers
	for _, r := range copies {
		transports |= c.where[r].Headers(field.TransportLayer)
	}
	for _, a := range copies[0].Actions {
		var checks []string
		switch a.Field.Name {
		case "udp_len":
			checks = []string{"udp_check"}
		case "ip_hl", "ip_tot_len", "ip_protocol", "ip6_len", "ip6_next":
			for _, p := range transports.List() {
				checks = append(checks, p.String()+"_check")
			}
		}
		if len(checks) > 0 {
			c.warn(syntax.Note, a.At, "", "%s says which bytes a receiver sums: %s may not hold afterwards",
				a.Field.Name, strings.Join(checks, ", "))
		}
	}
}

// brackets warns where or stands beside tests side by side, which bind
// tighter, and shows how that is read.
func (c *checker) brackets(r syntax.RuleNode, cond string) {
	or, found := looseOr(r.Cond)
	if !found {
		return
	}
	at := r.Cond.Span()
	c.warn(syntax.Warning, or, "brackets show what belongs together", "side by side binds tighter than or").
		Propose(syntax.Replace("it is read as: ", at, cond, "").Showing(Span{Start: r.IfAt.Start, End: at.End}))
}

// looseOr finds an or with a member that is tests side by side, not in
// brackets: the place of that member.
func looseOr(n syntax.Node) (at Span, found bool) {
	var members []syntax.Node
	switch n := n.(type) {
	case syntax.GroupNode:
		return looseOr(n.X)
	case syntax.NotNode:
		return looseOr(n.X)
	case syntax.AndNode:
		members = n.X
	case syntax.OrNode:
		members = n.X
		for _, x := range members {
			if and, ok := x.(syntax.AndNode); ok && and.Beside {
				return and.At, true
			}
		}
	}
	for _, x := range members {
		if at, found = looseOr(x); found {
			return at, true
		}
	}
	return Span{}, false
}
