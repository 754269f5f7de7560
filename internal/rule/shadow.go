package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// maxNotes is the most notes of overlaps that are given: a program with more
// of them means what it says. maxShadowed is the most rules that can never act
// that are named.
const (
	maxNotes    = 10
	maxShadowed = 50
)

// reach is what one rule as written takes: the packets on which it acts.
type reach struct {
	in packetset.Set
	// out are the packets that it does not take; outside knows them.
	out *packetset.Set
	// asks is what it asks of a packet, as text.
	asks string
	// sums are the fields that it makes right or wrong; this also asks for a
	// whole datagram, which no state can say.
	sums []string
	// sets are the fields that it sets, its swaps and its verdict, sorted.
	sets  []string
	node  syntax.RuleNode
	rules []*Rule // its copies
}

// order warns of rules that can never act because an earlier one takes all
// their packets, and notes where two rules overlap but act differently.
func (c *checker) order(rules []syntax.RuleNode) {
	all := c.reaches(rules)
	idx := newIndex()
	notes, shadowed := 0, 0
	for i := range all {
		if notes == maxNotes && shadowed == maxShadowed {
			return
		}
		c.sets.turn(all[i].node.At.End - all[i].node.At.Start)
		near := idx.candidates(all[i])
		switch {
		case shadowed < maxShadowed && c.shadowed(all, i, near):
			shadowed++
		case notes < maxNotes && c.overlaps(all, i, near):
			notes++
		}
		idx.add(i, all[i])
	}
}

func (c *checker) reaches(rules []syntax.RuleNode) []reach {
	all := make([]reach, len(rules))
	for i, r := range rules {
		all[i].node = r
	}
	for _, r := range c.program.Rules {
		at := &all[r.Index]
		at.rules = append(at.rules, r)
		for _, a := range r.Actions {
			at.sets = append(at.sets, a.Field.Name)
			if a.Op.Sums() {
				at.sums = append(at.sums, a.Field.Name)
			}
		}
		for _, s := range r.Swaps {
			at.sets = append(at.sets, s.Print())
		}
		if r.Verdict != Pass {
			at.sets = append(at.sets, r.printVerdict())
		}
	}
	for i := range all {
		at := &all[i]
		slices.Sort(at.sets)
		at.sets = slices.Compact(at.sets)
		for _, r := range at.rules {
			at.in = c.sets.Union(at.in, c.where[r])
			at.asks += r.Rows.write(c.complete(r)) + ";"
		}
		if rows := at.rules[0].Rows; rows != nil {
			at.asks += rows.File
		}
	}
	return all
}

// outside are the packets that a rule does not take.
func (c *checker) outside(r *reach) packetset.Set {
	if r.out == nil {
		var wholes []Expr
		for _, rule := range r.rules {
			wholes = append(wholes, c.complete(rule))
		}
		out := c.sets.others(anyOf(wholes, Span{}))
		r.out = &out
	}
	return *r.out
}

// takes reports whether one rule certainly takes all packets of a later one.
func (c *checker) takes(early, late *reach) bool {
	if !containsAll(late.sums, early.sums) {
		return false
	}
	return !c.sets.Meets(late.in, c.outside(early)) || early.sameRows(late)
}

// sameRows reports whether two rules ask for the same by the same columns of one
// file. By chance one may act where the other does not.
func (r *reach) sameRows(o *reach) bool {
	return r.rules[0].Rows != nil && r.asks == o.asks &&
		!slices.ContainsFunc(r.rules, func(x *Rule) bool { return len(find[Chance](x.Cond)) > 0 })
}

// shadowed warns if one earlier rule takes all packets of rule j.
func (c *checker) shadowed(all []reach, j int, earlier []int) bool {
	late := &all[j]
	for _, i := range earlier {
		early := &all[i]
		if !c.takes(early, late) {
			if where := c.takenByRow(early, late); where != "" {
				c.warn(syntax.Warning, late.node.IfAt, "put it before "+c.nameRule(i), "never acts: %s takes these packets %s (first match wins)", c.nameRule(i), where)
				return true
			}
			continue
		}
		same := early.sameRows(late) || early.in.Exact() && !c.sets.Meets(early.in, c.outside(late))
		if same && early.actions() == late.actions() {
			c.warn(syntax.Warning, late.node.IfAt, "leave one of the two out", "says the same as %s", c.nameRule(i))
			return true
		}
		hint, meant := c.both(all, i, j)
		c.warn(syntax.Warning, late.node.IfAt, hint, "never acts: %s takes these packets (first match wins)", c.nameRule(i)).Propose(meant...)
		return true
	}
	return false
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}

// actions writes the actions as checked, for all copies of the rule.
func (r *reach) actions() string {
	var texts []string
	for _, rule := range r.rules {
		texts = append(texts, rule.does()...)
		texts = append(texts, ";")
	}
	return strings.Join(texts, " ")
}

// both is the hint for rule j behind rule i, which takes its packets.
func (c *checker) both(all []reach, i, j int) (hint string, meant []syntax.Suggestion) {
	if c.sets.Meets(all[i].in, c.outside(&all[j])) && !all[i].sameRows(&all[j]) && !all[j].node.Closing { // j's packets are fewer: it can go first
		hint = "put it before " + c.nameRule(i)
	}
	early, late := all[i].node, all[j].node
	if early.DryRun() || late.DryRun() || conflict(all[i], all[j]) {
		return hint, nil
	}
	lead := "to do both there: "
	if hint != "" {
		lead = hint + "; " + lead
	}
	return hint, c.together(lead, late.Cond, early, late)
}

// together suggests a rule that does what two rules do, where a condition holds.
func (c *checker) together(lead string, cond syntax.Node, early, late syntax.RuleNode) []syntax.Suggestion {
	does := "then " + syntax.Flatten(c.source, early.Does) + " " + syntax.Flatten(c.source, late.Does)
	text := "all"
	if !late.Closing {
		text = syntax.Flatten(c.source, cond.Span())
	}
	return []syntax.Suggestion{{Lead: lead, Alone: "if " + text + " " + does, AloneShows: does}}
}

// conflict reports whether the actions of two rules cannot stand in one; columns
// of two files cannot.
func conflict(a, b reach) bool {
	if a.node.File.Text != "" || b.node.File.Text != "" || a.node.Drops() || b.node.Drops() || len(a.node.Verdicts)+len(b.node.Verdicts) > 1 {
		return true
	}
	probe := &report{}
	for _, r := range a.rules {
		for _, s := range b.rules {
			probe.effects(&Rule{Actions: slices.Concat(r.Actions, s.Actions), Swaps: slices.Concat(r.Swaps, s.Swaps)})
		}
	}
	return probe.err != nil
}

// nameRule says which rule is meant: its name, its line where the source has
// several and it stands there alone, or its number.
func (c *checker) nameRule(i int) string {
	w := c.program.Written[i]
	if w.Name != "" {
		return "rule " + w.Name
	}
	line := c.lineOf(i)
	alone := strings.Contains(strings.TrimSpace(c.source), "\n")
	for _, n := range []int{i - 1, i + 1} {
		if n >= 0 && n < len(c.program.Written) && c.lineOf(n) == line {
			alone = false
		}
	}
	if alone {
		return fmt.Sprintf("line %d", line)
	}
	return fmt.Sprintf("rule %d", i+1)
}

func (c *checker) lineOf(i int) int {
	return strings.Count(c.source[:c.program.Written[i].Span.Start], "\n") + 1
}

// overlaps notes that rule j and an earlier one, not joined by else, take
// common packets and do different things: people may expect both to act, unless
// the earlier one drops, reflects or redirects them.
func (c *checker) overlaps(all []reach, j int, earlier []int) bool {
	late := all[j]
	if late.node.Closing {
		return false
	}
	for _, i := range slices.Backward(earlier) {
		early := all[i]
		if early.node.Final() || len(early.sets) == 0 || len(late.sets) == 0 || slices.Equal(early.sets, late.sets) ||
			!early.in.Exact() || !late.in.Exact() || joined(all, i, j) || !c.sets.Meets(early.in, late.in) {
			continue
		}
		hint := "write else between them if that is meant"
		d := c.warn(syntax.Note, late.node.IfAt, hint, "where %s matches too, only that one acts (first match wins)", c.nameRule(i))
		if !conflict(all[i], all[j]) && !late.node.Final() { // a verdict in both rules would be for more packets
			d.Propose(c.together(hint+"; to do both: ", late.node.Cond, early.node, late.node)...)
		}
		return true
	}
	return false
}

// joined reports whether else stands between all rules from i to j.
func joined(all []reach, i, j int) bool {
	return !slices.ContainsFunc(all[i:j], func(r reach) bool { return !r.node.OrElse })
}
