package engine

import (
	"fmt"
	"slices"

	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/operand"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// loop says whether the packets that a rule sends meet that rule again, over and over.
type loop uint8

// The answers, the worst last.
const (
	loopNever loop = iota
	loopPossible
	loopCertain
)

// point is where rules see packets: an interface, by its number, and a direction.
type point struct {
	index int
	dir   run.Direction
}

// outlet is the interface that a rule sends packets to, if it sends any.
func (s *Prepared) outlet(r *rule.Rule) (to hook.Iface, sends bool) {
	switch r.Verdict {
	case rule.Reflect:
		return s.iface, true
	case rule.ToInterface:
		return s.outlets[r.Redirect], true
	}
	return hook.Iface{}, false
}

// passes are the points that a packet sent to an interface passes at once, with no
// host, bridge or wire between: leaving it, and what the loopback interface or a
// veth hands it on to.
func passes(to hook.Iface) []point {
	points := []point{{to.Index, run.Out}}
	switch {
	case to.Link == hook.LoopbackLink:
		points = append(points, point{to.Index, run.In})
	case to.Kind == "veth" && to.Peer != 0 && !to.PeerElsewhere:
		points = append(points, point{to.Peer, run.In})
	}
	return points
}

// returns reports whether what a rule sends comes back to the rules.
func (s *Prepared) returns(r *rule.Rule) bool {
	to, sends := s.outlet(r)
	return sends && slices.Contains(passes(to), point{s.iface.Index, s.opt.Direction})
}

// certainLoop is why the rules would send a packet round without end, or nil. A limit
// on the packets (-c) ends a loop.
func (s *Prepared) certainLoop() error {
	if s.opt.Limit > 0 {
		return nil
	}
	for i, r := range s.opt.Program.Rules {
		if s.returns(r) && meetsAgain(s.opt.Program.Rules[:i], r) == loopCertain {
			return &UsageError{s.loops(r, "would loop"), "a test that the rewritten packet fails ends the loop"}
		}
	}
	return nil
}

// loops describes the loop of a rule.
func (s *Prepared) loops(r *rule.Rule, verb string) string {
	to, _ := s.outlet(r)
	name := ruleName(s.opt.Program, r.Index)
	switch {
	case s.opt.Direction == run.Out:
		return fmt.Sprintf("%s %s: what it redirects to %s leaves by %s again and meets the rules again, and the kernel drops it after a few rounds",
			name, verb, to.Name, s.iface.Name)
	case to.Link == hook.LoopbackLink:
		return fmt.Sprintf("%s %s: what leaves by %s arrives there and meets the rules again", name, verb, to.Name)
	}
	return fmt.Sprintf("%s %s: what leaves by %s arrives on its peer %s and meets the rules again", name, verb, to.Name, s.iface.Name)
}

// loopAdvice warns of rules whose packets may come back to them.
func (s *Prepared) loopAdvice() []run.Advice {
	var all []run.Advice
	var told []int
	for _, r := range s.opt.Program.Rules {
		if !s.returns(r) || slices.Contains(told, r.Index) || !s.mayLoop(r) {
			continue
		}
		told = append(told, r.Index)
		all = append(all, run.Advice{Message: s.loops(r, "may loop"), Hint: "a test that the rewritten packet fails ends the loop"})
	}
	return append(all, s.pingPong()...)
}

// mayLoop reports whether a packet that a rule has rewritten may be sent once more.
func (s *Prepared) mayLoop(r *rule.Rule) bool {
	return slices.ContainsFunc(s.opt.Program.Rules, func(next *rule.Rule) bool {
		return s.returns(next) && holdsAfter(r, next.Cond) != loopNever
	})
}

// meetsAgain reports whether a packet that a rule has rewritten meets the rule once
// more. It is certain where neither its tests nor those of the rules before it ask
// for anything that the rule changes, and nothing is left to chance.
func meetsAgain(before []*rule.Rule, r *rule.Rule) loop {
	answer := holdsAfter(r, r.Cond)
	for _, b := range before {
		if b.Index != r.Index && slices.ContainsFunc(rule.Leaves(b.Cond), func(e rule.Expr) bool { return mayChange(r, e) }) {
			answer = min(answer, loopPossible)
		}
	}
	return answer
}

// holdsAfter reports whether a condition may hold, or certainly holds if it is the
// rule's own, on the packets that a rule has rewritten.
func holdsAfter(r *rule.Rule, e rule.Expr) loop {
	if !slices.ContainsFunc(rule.Leaves(e), func(e rule.Expr) bool { return mayChange(r, e) }) {
		return loopCertain // it held before
	}
	and, ok := e.(rule.And)
	if !ok {
		return truth(r, e)
	}
	answer := loopCertain // each member held before
	for _, x := range and.X {
		answer = min(answer, holdsAfter(r, x))
	}
	return answer
}

// truth evaluates a condition on rewritten packets, of which only constants are known.
func truth(r *rule.Rule, e rule.Expr) loop {
	switch e := e.(type) {
	case rule.And:
		return slices.Min(truths(r, e.X))
	case rule.Or:
		return slices.Max(truths(r, e.X))
	case rule.Not:
		return loopCertain - truth(r, e.X)
	case rule.All:
		return loopCertain
	case rule.Test:
		v, known := becomes(r, e.Field)
		switch {
		case !known || len(e.Cells) > 0:
			return loopPossible
		case e.In.Contains(v):
			return loopCertain
		}
		return loopNever
	}
	return loopPossible
}

func truths(r *rule.Rule, xs []rule.Expr) []loop {
	var out []loop
	for _, x := range xs {
		out = append(out, truth(r, x))
	}
	return out
}

// becomes is the value that a rule gives a field, if it is a constant and no other
// action says which headers are found.
func becomes(r *rule.Rule, f *field.Field) (field.Value, bool) {
	if changesHeaders(r) {
		return field.Value{}, false
	}
	for _, a := range r.Actions {
		if a.Field == f && a.Op == operand.Set && a.Cell == 0 {
			return a.Value, true
		}
	}
	return field.Value{}, false
}

// mayChange reports whether a test may give another answer after a rule has
// rewritten the packet.
func mayChange(r *rule.Rule, e rule.Expr) bool {
	switch e := e.(type) {
	case rule.All:
		return false
	case rule.Chance:
		return true
	case rule.Test:
		return changesHeaders(r) || slices.ContainsFunc(changed(r), func(f *field.Field) bool { return overlap(f, e.Field) })
	}
	return changesHeaders(r)
}

// changed are the fields that a rule writes to, but for sums that follow from others.
func changed(r *rule.Rule) []*field.Field {
	var out []*field.Field
	for _, a := range r.Actions {
		out = append(out, a.Field)
	}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		out = append(out, src, dest)
	}
	for _, f := range slices.Clone(out) {
		for _, c := range f.Covers {
			out = append(out, field.MustByName(c.Check))
		}
	}
	return out
}

// framing are the fields that say which headers are found in a packet.
var framing = []string{
	"eth_type", "vlan_type", "cvlan_type", "ip_ver", "ip_hl", "ip_tot_len", "ip_protocol", "ip_offset", "ip_flags", "ip_flag_mf",
	"ip6_next", "ip6_len", "tcp_hlen", "udp_len",
}

func changesHeaders(r *rule.Rule) bool {
	return slices.ContainsFunc(r.Actions, func(a rule.Action) bool { return slices.Contains(framing, a.Field.Name) })
}

// overlap reports whether two fields have a bit in common.
func overlap(f, g *field.Field) bool {
	return f.Proto == g.Proto && f.Bit < g.Bit+g.Width && g.Bit < f.Bit+f.Width
}

// pingPong warns of rules of ours on other interfaces that send back what these
// rules send there.
func (s *Prepared) pingPong() []run.Advice {
	var all []run.Advice
	for _, r := range s.opt.Program.Rules {
		to, sends := s.outlet(r)
		if !sends || s.returns(r) {
			continue
		}
		for _, p := range passes(to) {
			name, back := s.sentBack(p)
			a := run.Advice{
				Message: fmt.Sprintf("%s may loop: the rules on %s send packets back", ruleName(s.opt.Program, r.Index), name),
				Hint:    "repacket list shows the rules on all interfaces",
			}
			if back && !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	return all
}

// sentBack reports whether rules of ours at a point send packets to where they meet
// these rules, and names the point's interface.
func (s *Prepared) sentBack(p point) (name string, back bool) {
	found, err := hook.Find(p.index, p.dir)
	if err != nil || !found.Ours || servesReplies(found) { // replies are sent nowhere else
		return "", false // a warning only, so an unknown peer gets none
	}
	text, whole := found.Meta.Source()
	if !whole {
		return "", false
	}
	there, err := rule.Check(text)
	if err != nil { // it reads a file
		return "", false
	}
	for _, r := range there.Rules {
		to := found.Interface
		switch r.Verdict {
		case rule.ToInterface:
			to = r.Redirect
		case rule.Reflect:
		default:
			continue
		}
		if i, err := hook.Interface(to); err == nil && slices.Contains(passes(i), point{s.iface.Index, s.opt.Direction}) {
			return found.Interface, true
		}
	}
	return "", false
}

// ruleName is the name of a rule as written, or its number.
func ruleName(p *rule.Program, index int) string {
	if name := p.Written[index].Name; name != "" {
		return name
	}
	return fmt.Sprintf("rule %d", index+1)
}
