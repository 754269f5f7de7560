// Package reference says what a checked program means, on plain bytes. It is
// written to be read beside parts 3 and 4 of the design and to be the
// definition that every other implementation is compared with: clear before
// fast, and sharing no code with the compiler.
//
// It knows nothing of the kernel. Frames are Ethernet frames as they are on
// the wire, without the frame check sequence.
package reference

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// Result is what a program does with one frame.
type Result struct {
	// Rule is the place in Program.Rules of the rule that acted, Index its
	// place in Program.Written; both are -1 when none did.
	Rule, Index int
	// Frame is the frame as it leaves: always a new slice, always as long as
	// the one that arrived.
	Frame []byte
	// Rewritten: a rule with actions acted, even if no byte differs.
	Rewritten bool
	// Look: a rule without actions matched; no byte differs.
	Look bool
}

// Run gives frame to the first rule of prog that acts on it. The frame itself
// is left as it is.
func Run(prog *rule.Program, frame []byte) Result {
	p := parse(frame)
	for i, r := range prog.Rules {
		if !acts(r, p) {
			continue
		}
		look := len(r.Actions) == 0
		return Result{Rule: i, Index: r.Index, Frame: rewrite(r, p), Rewritten: !look, Look: look}
	}
	return Result{Rule: -1, Index: -1, Frame: slices.Clone(frame)}
}

// acts tells whether the whole condition of r holds on the packet as it
// arrived: what is written, and that all that its actions need is there
// (parts 3.1 and 4).
func acts(r *rule.Rule, p packet) bool {
	if !holds(r.Cond, p) {
		return false
	}
	for _, a := range r.Actions {
		if !p.has(a.Field.Proto) {
			return false
		}
		if a.Op != rule.Set && !p.whole(a.Field.Proto, r.Actions) {
			return false
		}
	}
	return true
}

// holds tells whether a condition holds on p.
func holds(e rule.Expr, p packet) bool {
	switch e := e.(type) {
	case rule.All:
		return true
	case rule.Has:
		return p.has(e.Proto)
	case rule.Test: // false when the header is not there (part 3.3)
		return p.has(e.Field.Proto) && e.In.Contains(p.get(e.Field))
	case rule.Not:
		return !holds(e.X, p)
	case rule.And:
		return !slices.ContainsFunc(e.X, func(x rule.Expr) bool { return !holds(x, p) })
	case rule.Or:
		return slices.ContainsFunc(e.X, func(x rule.Expr) bool { return holds(x, p) })
	}
	panic("reference: unknown kind of condition")
}

// rewrite carries out all actions of r at once and gives the packet as it
// leaves. Values are constants, so it does not matter in which order they are
// written; the checksums come after them, the inner one first, because an
// ip_hl that the rule raises can make the IP header reach over it.
func rewrite(r *rule.Rule, p packet) []byte {
	out := packet{frame: slices.Clone(p.frame), at: p.at}
	if len(r.Actions) == 0 {
		return out.frame
	}
	for _, a := range r.Actions {
		if a.Op == rule.Set {
			out.put(a.Field, a.Value)
		}
	}
	for _, proto := range []field.Protocol{field.TCP, field.UDP, field.ICMP, field.IP} {
		if p.has(proto) {
			settle(proto, r.Actions, p, out)
		}
	}
	return out.frame
}

// settle gives out the checksum of proto that the actions ask for, or else
// changes it by what the writes changed in what it covers (part 4).
func settle(proto field.Protocol, actions []rule.Action, arrived, out packet) {
	op, named := namedCheck(proto, actions)
	switch {
	case !named:
		out.putCheck(proto, updated(proto, arrived, out))
	case op == rule.Fix:
		out.putCheck(proto, rightSum(proto, arrived, out))
	case op == rule.Bad:
		out.putCheck(proto, wrongSum(rightSum(proto, arrived, out)))
	}
}

// namedCheck finds what the actions do to the checksum of proto; named is
// false if they do not name it.
func namedCheck(proto field.Protocol, actions []rule.Action) (op rule.Op, named bool) {
	for _, a := range actions {
		if a.Field.Kind == field.Checksum && a.Field.Proto == proto {
			return a.Op, true
		}
	}
	return 0, false
}
