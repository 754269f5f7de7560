package guard

import (
	"fmt"
	"slices"

	"repacket/internal/packetset"
	"repacket/internal/rule"
	"repacket/internal/syntax"
)

// Harmful reports whether there may be connections that do not survive the rules.
func Harmful(p *rule.Program) bool {
	everything := packetset.All()
	harmful := func(r *rule.Rule) bool {
		_, bad := harmOf(r, everything, true)
		return bad
	}
	return slices.ContainsFunc(p.Rules, harmful) || p.Replies != nil
}

// Check holds connections against rules for packets that leave, or arrive, and against what
// rewrites their replies. It says what is the first that a connection may not survive, or gives
// nil. It has no hint. Chances count as taken, and the first rule acts that matches, as in semantics.md 3.1.
func Check(p *rule.Program, leaves bool, connections []Connection) *syntax.Diagnostic {
	if d := check(p, leaves, connections, ""); d != nil || p.Replies == nil {
		return d
	}
	return check(p.Replies, !leaves, connections, "replies to ")
}

func check(p *rule.Program, leaves bool, connections []Connection, whose string) *syntax.Diagnostic {
	reach := rule.NewReach(p)
	var rest []flow
	for _, c := range connections {
		rest = append(rest, builder{reach.Budget}.flows(c, leaves)...)
	}
	for _, r := range p.Rules {
		if r.Quote { // they rewrite ICMP errors about packets that rules have rewritten
			continue
		}
		reach.Turn(p.Written[r.Index])
		for i, f := range rest {
			if f.in.Empty() {
				continue
			}
			left, found, bad := held(reach, r, f)
			if bad {
				return refusal(p, r, f, found, whose)
			}
			rest[i].in = left
		}
	}
	return nil
}

// held holds a rule, row by row if it has rows, against a flow. It gives what is left of the flow to
// the rules behind it, and what harm there is.
func held(reach *rule.Reach, r *rule.Rule, f flow) (left packetset.Set, found harm, bad bool) {
	left = f.in
	rows, others := rows(r, f.in)
	for _, one := range rows {
		hits := reach.Intersect(left, reach.Acts(one))
		if hits.Empty() {
			continue
		}
		if found, bad = harmOf(one, hits, f.discovery); bad {
			return left, found, true
		}
		left = reach.Intersect(left, reach.Leaves(one))
	}
	if others == nil {
		return left, harm{}, false
	}
	// Whether these come before or behind the rows above is not known.
	if hits := reach.Intersect(f.in, reach.Acts(others)); !hits.Empty() {
		found, bad = harmOf(others, hits, f.discovery)
		left = reach.Intersect(left, reach.Leaves(others))
	}
	return left, found, bad
}

// refusal says what a rule would do to a flow.
func refusal(p *rule.Program, r *rule.Rule, f flow, found harm, whose string) *syntax.Diagnostic {
	w := p.Written[r.Index]
	name := fmt.Sprintf("rule %d", r.Index+1)
	if w.Name != "" {
		name = "rule " + w.Name
	}
	needs := f.of.Name
	if f.needs != "" {
		needs = f.needs + " of " + f.of.Name
	}
	at := found.at
	if at == (rule.Span{}) {
		at = w.Span
	}
	return &syntax.Diagnostic{
		Msg: fmt.Sprintf("%s%s would %s %s: %s", whose, name, found.what, needs, f.text),
		At:  at, Source: p.Source, File: p.File,
	}
}
