package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// Verdicts reports whether a rule drops, reflects or redirects packets.
func (p *Program) Verdicts() bool {
	return slices.ContainsFunc(p.Rules, func(r *Rule) bool { return r.Verdict != Pass })
}

// verdict checks that a rule has one verdict at most, and that drop stands
// alone.
func (c *checker) verdict(r syntax.RuleNode) {
	if len(r.Verdicts) > 1 {
		a, b := r.Verdicts[0], r.Verdicts[1]
		hint := "one rule, one of them"
		if syntax.IsKeyword(a.Iface) {
			hint = fmt.Sprintf("%s is read as the name of an interface", a.Iface)
		}
		c.fail(b.At, hint, "two verdicts in one rule: %s and %s", c.words(a.At), c.words(b.At))
	}
	if !r.Drops() || len(r.Actions)+len(r.Swaps) == 0 {
		return
	}
	c.fail(r.Verdicts[0].At, "a packet is rewritten or dropped, not both", "drop stands alone: nothing is left of the packet to rewrite")
}

// lacking warns of each not of a field test that also holds where the header
// is missing, in a rule that drops, reflects or redirects such packets: once, however
// many copies the rule has.
func (c *checker) lacking(copies []*Rule) {
	for i := range nots(copies[0].Cond) {
		for _, r := range copies {
			if c.lacks(nots(r.Cond)[i], c.where[r]) {
				break
			}
		}
	}
}

// nots are the negated conditions, but for those inside of one.
func nots(e Expr) []Not {
	if not, ok := e.(Not); ok {
		return []Not{not}
	}
	var out []Not
	for _, x := range parts(e) {
		out = append(out, nots(x)...)
	}
	return out
}

// lacks warns of one not whose condition is made of tests.
func (c *checker) lacks(e Not, where packetset.Set) bool {
	tests := find[Test](e.X)
	if len(tests) != len(Leaves(e.X)) || len(find[Not](e.X)) > 0 || c.sets.Over() || len(c.program.Warnings) >= maxRemarks {
		return false
	}
	var tested packetset.Headers
	for _, t := range tests {
		tested |= packetset.HeadersOf(t.Field.Proto)
	}
	rest := c.sets.Intersect(c.sets.Intersect(where, c.sets.packets(e)), packetset.Without(tested.List()...))
	if rest.Empty() {
		return false
	}
	text := anyHeader(tested)
	if others := instead(tested, rest); len(others) > 0 {
		text += ", such as " + strings.Join(others, ", ")
	}
	c.warn(syntax.Warning, e.At, "", "%s also takes packets without %s", c.words(e.At), text).Propose(c.otherwise(e, tests, tested)...)
	return true
}

// anyHeader names headers, each as something that packets have.
func anyHeader(h packetset.Headers) string {
	text := titles(h)
	if strings.Contains(text, "tag") {
		return "a " + text
	}
	return text
}

// instead names headers that packets of u have and that none with one of the
// tested headers has, of the same layer or of the one that ARP is in.
func instead(tested packetset.Headers, u packetset.Set) []string {
	var out []string
	for _, p := range field.Protocols() {
		layer, excluded, near := p.Header().Layer, true, p.Header().Layer == field.NetworkLayer
		for _, q := range tested.List() {
			excluded = excluded && packetset.Exclusive(p, q)
			near = near || layer == q.Header().Layer
		}
		if excluded && near && u.Headers(layer).Has(p) {
			out = append(out, p.Header().Title)
		}
	}
	return out
}

// otherwise suggests for a negated test the test for all other values.
func (c *checker) otherwise(not Not, tests []Test, tested packetset.Headers) []syntax.Suggestion {
	t := tests[len(tests)-1] // the one behind its guard
	name := c.words(c.nameOf(t))
	rest := t.In.Complement(t.Field.Width)
	for _, x := range tests {
		if x.At != not.X.Span() || rest.Empty() || len(x.Cells) > 0 {
			return nil // more than one test as written
		}
	}
	text := Print(Test{Field: t.Field, In: rest})
	return []syntax.Suggestion{syntax.Replace("only where "+anyHeader(tested)+" is there: ", not.At, name+strings.TrimPrefix(text, t.Field.Name), "")}
}

// NotLeaving says why the rules cannot be for packets that leave, and what to do
// instead; "" is that they can.
func (p *Program) NotLeaving() (why, hint string) {
	for _, r := range p.Rules {
		if r.Verdict == Reflect {
			return "reflect is for packets that come in: those that leave are on their way out already",
				"leave out -Q out; drop and redirect work in both directions"
		}
		for _, a := range r.Actions {
			if a.Field.Name == "tcp_check" && !a.Op.Sums() {
				return "an exact tcp_check cannot reach the wire: TCP packets leave with an offloaded checksum (CHECKSUM_PARTIAL)",
					"tcp_check bad makes it come out wrong; to set it exactly, rewrite where the packets arrive"
			}
		}
	}
	return "", ""
}

// WholeSums is how to have no offloaded checksums.
const WholeSums = "whole checksums where the packets are sent: ethtool -K DEVICE tx off; or --hook xdp where they arrive"

// SkipsOffloaded says which packets are skipped at tc because a rule sets their TCP
// or UDP checksum, or makes it right, and it is offloaded: nothing there completes it.
func (p *Program) SkipsOffloaded() []string {
	var out []string
	for _, r := range p.Rules {
		for _, a := range r.Actions {
			if a.Field.Kind != field.Checksum || a.Field.Proto != field.TCP && a.Field.Proto != field.UDP || a.Op == operand.Bad {
				continue
			}
			how := "set exactly"
			if a.Op == operand.Fix {
				how = "fixed"
			}
			text := "packets with an offloaded checksum are skipped: " + a.Field.Name + " cannot be " + how + " in them"
			if !slices.Contains(out, text) {
				out = append(out, text)
			}
		}
	}
	return out
}
