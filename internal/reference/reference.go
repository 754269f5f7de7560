// Package reference says what a checked program means, on plain bytes. It is
// written to be read next to semantics.md 3 and 4 (in docs) and to be the
// definition that every other implementation is compared with: clear before
// fast, and sharing no code with the compiler.
//
// It knows nothing of the kernel. Frames are as they are on the wire, without
// the frame check sequence of Ethernet.
package reference

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// Result is what a program does with one frame.
type Result struct {
	// Rule is the place in Program.Rules of the rule that acted, Index its
	// place in Program.Written; both are -1 when none did.
	Rule, Index int
	// Acted is the rule that acted, or nil: where it takes rows from a file, what
	// the row makes of it.
	Acted *rule.Rule
	// Frame is the frame as it leaves, or would leave were it not dropped:
	// always a new slice, always as long as the one that arrived.
	Frame []byte
	// Verdict is what becomes of the frame, Redirect the interface for
	// rule.ToInterface.
	Verdict  rule.Verdict
	Redirect string
	// Rewritten: a rule that changes packets or their way acted, even if no
	// byte differs.
	Rewritten bool
	// DryRun: a rule that changes nothing matched; no byte differs.
	DryRun bool
	// Skipped: what rules do depends on bytes that were not captured, so none acted.
	Skipped bool
	// Collided: the packet was skipped, since a flow of another client looks the same behind the
	// rule that would have acted.
	Collided bool
	// Passed is how many of Program.Rules had their chance before it was settled what becomes of
	// the frame, and did not act.
	Passed int
}

// Run gives an Ethernet frame to the first rule of prog that acts on it. The
// frame itself is left as it is. What is random is drawn as Zeros does.
func Run(prog *rule.Program, frame []byte) Result {
	return RunOn(field.Ethernet, prog, frame)
}

// RunOn is Run for a frame of any link.
func RunOn(link field.Link, prog *rule.Program, frame []byte) Result {
	return RunDrawn(link, prog, frame, Zeros)
}

// RunDrawn is RunOn with the random numbers of the packet.
func RunDrawn(link field.Link, prog *rule.Program, frame []byte, draws Draws) Result {
	return run(link, prog, frame, len(frame), draws, &Flows{})
}

// RunCaptured is RunDrawn for a frame of which not all bytes may have been captured: it had
// length bytes on the wire (semantics.md 3.12). Result.Frame is as long as what was captured.
func RunCaptured(link field.Link, prog *rule.Program, frame []byte, length int, draws Draws) Result {
	return run(link, prog, frame, length, draws, &Flows{})
}

// RunTracked is RunDrawn with the flows that the rules have tracked so far, which a program and that
// of its replies share.
func RunTracked(link field.Link, prog *rule.Program, frame []byte, draws Draws, flows *Flows) Result {
	return run(link, prog, frame, len(frame), draws, flows)
}

func run(link field.Link, prog *rule.Program, frame []byte, length int, draws Draws, flows *Flows) Result {
	none := Result{Rule: -1, Index: -1, Frame: slices.Clone(frame)}
	if link == field.Ethernet && length < ethernetLen {
		return none // no frame at all (semantics.md 3.6)
	}
	whole := append(slices.Clone(frame), make([]byte, length-len(frame))...)
	p := parseCut(link, whole, len(frame))
	p.draw, p.flows = draws, flows
	for i, r := range prog.Rules {
		acts, row := acting(r, p)
		if possible, otherRow := acting(r, p.otherwise()); (acts == nil) != (possible == nil) || row != otherRow {
			none.Skipped, none.Passed = true, i
			return none
		}
		if acts == nil {
			continue
		}
		none.Passed = i
		if !p.carries(acts) {
			none.Skipped = true
			return none
		}
		if acts.Restores() {
			p.restored, _ = flows.restored(p, acts)
			p.quotes = acts.Quote
		}
		out := rewrite(acts, p)
		if !track(acts, p, out) {
			none.Collided = true
			return none
		}
		return Result{
			Rule: i, Index: acts.Index, Acted: acts, Frame: out[:len(frame)], Verdict: acts.Verdict, Redirect: acts.Redirect,
			Rewritten: acts.Touches(), DryRun: !acts.Touches(), Passed: i,
		}
	}
	none.Passed = len(prog.Rules)
	return none
}

// able reports whether the packet as it arrived has all that the actions of r
// need: the part of the condition that is not written (semantics.md 3.1 and 4.4).
func able(r *rule.Rule, p packet) bool {
	if r.Restores() {
		if _, answers := p.flows.restored(p, r); !answers {
			return false
		}
	}
	return reaches(r, p) && !slices.ContainsFunc(r.Actions, func(a rule.Action) bool {
		return a.Op.Sums() && !p.mayBeWhole(a.Field.Proto, r.Actions)
	})
}

// reaches reports whether all fields that the actions of r set or read are there.
func reaches(r *rule.Rule, p packet) bool {
	for _, s := range r.Swaps {
		if !p.mayHave(s.Proto) {
			return false
		}
	}
	for _, a := range r.Actions {
		if slices.ContainsFunc(a.Needs(), func(f *field.Field) bool { return !p.mayHave(f.Proto) }) {
			return false
		}
		if over := a.Op.Operand().Over; len(over) > 0 && !slices.ContainsFunc(over, p.mayHave) {
			return false
		}
	}
	return true
}

// holds reports whether a condition holds on p.
func holds(e rule.Expr, p packet) bool {
	switch e := e.(type) {
	case rule.All:
		return true
	case rule.Has:
		return p.mayHave(e.Proto)
	case rule.Test: // false when the header is not there (semantics.md 3.3)
		if !p.has(e.Field.Proto) {
			return p.maybe(e.Field.Proto)
		}
		if !p.captured(e.Field) {
			return p.cut.guess
		}
		return e.In.Contains(p.get(e.Field))
	case rule.Chance:
		return happens(e, p)
	case rule.Not:
		return !holds(e.X, p.otherwise())
	case rule.And:
		return !slices.ContainsFunc(e.X, func(x rule.Expr) bool { return !holds(x, p) })
	case rule.Or:
		return slices.ContainsFunc(e.X, func(x rule.Expr) bool { return holds(x, p) })
	}
	panic("reference: unknown kind of condition")
}

// rewrite carries out all actions of r at once and gives the packet as it
// leaves. What they write follows from the packet as it arrived and the numbers
// drawn for it, and no two write the same bit, so the order does not matter;
// the checksums come after them, the inner one first, because an ip_hl that the
// rule raises can make the IP header reach over it, and because the checksum of an
// ICMP error covers those that it quotes.
func rewrite(r *rule.Rule, p packet) []byte {
	out := p
	out.frame = slices.Clone(p.frame)
	if len(r.Actions) == 0 && len(r.Swaps) == 0 {
		return out.frame
	}
	for _, a := range r.Actions {
		if !a.Op.Sums() {
			out.put(a.Field, p.result(a))
		}
	}
	for _, s := range r.Swaps {
		src, dest := s.Fields()
		out.put(src, p.get(dest))
		out.put(dest, p.get(src))
	}
	for _, proto := range []field.Protocol{
		field.QuotedTCP, field.QuotedUDP, field.QuotedICMP, field.QuotedICMP6, field.QuotedIP,
		field.TCP, field.UDP, field.ICMP, field.ICMP6, field.IP,
	} {
		if p.hasCheck(proto) {
			settle(proto, r.Actions, p, out)
		}
		if proto == field.ICMP6 && p.other.at > 0 { // before the IPv4 header's
			out.putOther(p)
		}
	}
	return out.frame
}

// settle gives out the checksum of proto that the actions ask for, or else
// changes it by what the writes changed in what it covers (semantics.md 4.1).
func settle(proto field.Protocol, actions []rule.Action, arrived, out packet) {
	op, named := namedCheck(proto, actions)
	switch {
	case !named:
		out.putCheck(proto, updated(proto, arrived, out))
	case op == operand.Fix:
		out.putCheck(proto, rightSum(proto, arrived, out))
	case op == operand.Bad:
		out.putCheck(proto, wrongSum(rightSum(proto, arrived, out)))
	}
}

// namedCheck finds what the actions do to the checksum of proto; named is
// false if they do not name it.
func namedCheck(proto field.Protocol, actions []rule.Action) (op operand.Op, named bool) {
	for _, a := range actions {
		if a.Field.Kind == field.Checksum && a.Field.Proto == proto {
			return a.Op, true
		}
	}
	return 0, false
}
