package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// What answers a rewritten packet may be an ICMP error, which quotes it; and the client may
// answer a reply by one, which quotes the reply as the client has seen it. Both get rules of their
// own, on the headers in the quote (semantics.md 5.4).

// aboutFlow are the rules for errors that quote what the rule has made of a packet: they come
// from the other direction, and get the old values.
func (inv inverse) aboutFlow() []*Rule {
	q := quoter{inverse: inv, cond: inQuote(inv.result)}
	for _, ch := range inv.changes {
		q.add(ch.undo, ch.result, ch.undo.Field)
	}
	return q.rules()
}

// aboutReply are the rules for errors that quote a reply whose old values have been given
// back: they come as packets of the rule do, and get the new values.
func (inv inverse) aboutReply() []*Rule {
	q := quoter{inverse: inv, cond: inQuote(rewrite(inv.flow, func(t Test) Expr { return exchange(t) }))}
	for _, ch := range inv.changes {
		q.add(ch.redo, ch.old, flowFields[ch.redo.Field])
	}
	return q.rules()
}

// quoter makes the rules for errors that quote packets of one kind.
type quoter struct {
	inverse
	cond  Expr
	inner []Action
	// outer are what the addresses of the error itself get where they are those that the
	// rule rewrites.
	outer []outerAddress
}

// outerAddress is what an address of the error gets, if the test holds.
type outerAddress struct {
	Action
	test Test
}

// add adds an action, which is done on a field of the quoted packet, and on an address of the error
// where the test holds there. The error comes from the destination of that packet, or from somewhere
// on its way, and goes to its source. A VLAN tag is that of the error itself.
func (q *quoter) add(a Action, there Test, quoted *field.Field) {
	twin := field.Quoted(quoted)
	if twin == nil {
		a.Field = quoted
		q.inner = append(q.inner, a)
		return
	}
	if a.Field.Kind.IsAddress() {
		outer := outerAddress{a, there}
		outer.Field = flowFields[quoted]
		outer.test.Field = outer.Field
		q.outer = append(q.outer, outer)
	}
	a.Field = twin
	q.inner = append(q.inner, a)
}

// rules are those for the errors, first the one for most addresses of the error itself.
func (q *quoter) rules() []*Rule {
	swaps, copies := q.swaps()
	var out []*Rule
	for chosen := 1<<len(q.outer) - 1; chosen >= 0; chosen-- {
		list := []Expr{q.cond}
		actions := slices.Concat(q.inner, copies)
		for i, o := range q.outer {
			if chosen>>i&1 != 0 {
				list = append(list, o.test)
				actions = append(actions, o.Action)
			}
		}
		if !slices.ContainsFunc(actions, func(a Action) bool { return a.Field.Proto.IsQuoted() }) && len(swaps) == 0 {
			list = append(list, Or{[]Expr{Has{field.QuotedIP, q.cond.Span()}, Has{field.QuotedIP6, q.cond.Span()}}, q.cond.Span()})
		}
		r := &Rule{Index: q.rule.Index, Actions: actions, Swaps: swaps, Rows: q.rows, Quote: true}
		r.Cond = withGuards(lean(both(list, q.cond.Span()), r), actions)
		out = append(out, r)
	}
	return out
}

// swaps are those of the quoted packet. Where they exchange its addresses, the error goes to the
// source that it then has.
func (q *quoter) swaps() (swaps []Swap, copies []Action) {
	for _, s := range q.rule.Swaps {
		_, dest := s.Fields()
		s.Proto = field.QuotedHeader(s.Proto)
		swaps = append(swaps, s)
		if dest.Kind.IsAddress() {
			copies = append(copies, Action{Field: dest, Op: operand.Copy, From: field.Quoted(dest), At: s.At})
		}
	}
	return swaps, copies
}

// inQuote is what a condition on flows asks of the packet that an error quotes.
func inQuote(e Expr) Expr {
	return Map(e, func(x Expr) Expr {
		switch x := x.(type) {
		case Test:
			if twin := field.Quoted(x.Field); twin != nil {
				x.Field = twin
			}
			return x
		case Has:
			if p := field.QuotedHeader(x.Proto); p != field.None {
				x.Proto = p
			}
			return x
		}
		return x
	})
}

// quotes puts the rules for ICMP errors into both programs. Those of the other direction stand in
// front: an error is a packet of the host that it comes from too, and the inverse of a rule
// for addresses would take it. For the same reason those of the rules' own direction stand in
// front of them; but of rules without replies the order is kept.
func (c *checker) quotes(all []inverse) {
	if len(all)+len(c.tracked) == 0 {
		return
	}
	var about, tracked []*Rule
	replies := map[int][]*Rule{} // by Index
	for _, inv := range all {
		about = append(about, inv.aboutFlow()...)
		replies[inv.rule.Index] = append(replies[inv.rule.Index], inv.aboutReply()...)
	}
	for _, f := range c.tracked {
		tracked = append(tracked, f.aboutFlow())
		replies[f.rule.Index] = append(replies[f.rule.Index], f.aboutReply(c)...)
	}
	about = append(tracked, about...)
	c.program.Replies.Rules = append(about, c.program.Replies.Rules...)
	var out, run []*Rule // run are rules with replies that stand side by side
	seen := map[int]bool{}
	for _, r := range c.program.Rules {
		if r.Replies == NoReplies {
			out, run = append(out, run...), nil
			out = append(out, r)
			continue
		}
		if !seen[r.Index] {
			seen[r.Index] = true
			out = append(out, replies[r.Index]...)
		}
		run = append(run, r)
	}
	out = append(out, run...)
	c.program.Rules = out
}
