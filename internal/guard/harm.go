package guard

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/rule"
)

// leastTTL is the least TTL or hop limit that a connection may be given: paths in the Internet
// are shorter.
const leastTTL = 32

// harmless are the fields whose value no connection depends on.
var harmless = []string{"ip_dscp", "ip_ecn", "ip_tos", "ip6_dscp", "ip6_ecn", "ip6_flow"}

// harm is what a rule does to packets that a connection may not survive.
type harm struct {
	what string
	at   rule.Span // of the action, or of nothing
}

// harmOf says what a rule does to some packets that a connection may not survive, if anything.
func harmOf(r *rule.Rule, hits packetset.Set, discovery bool) (harm, bool) {
	switch r.Verdict {
	case rule.Drop:
		return harm{what: "drop"}, true
	case rule.Reflect:
		return harm{what: "reflect"}, true
	case rule.ToInterface:
		return harm{what: "redirect"}, true
	}
	for _, s := range r.Swaps {
		return harm{"swap the " + s.Proto.String() + " ends of", s.At}, true
	}
	for _, a := range r.Actions {
		if !survives(r, a, hits, discovery) {
			return harm{"change " + a.Field.Name + " of", a.At}, true
		}
	}
	return harm{}, false
}

// survives reports whether a connection survives what an action does to its packets.
func survives(r *rule.Rule, a rule.Action, hits packetset.Set, discovery bool) bool {
	f := a.Field
	old := values(hits, f)
	switch {
	case slices.Contains(harmless, f.Name), a.Idle(), old.Empty():
		return true
	case a.Op == operand.Fix: // a right sum stays as it is
		return true
	case f.Kind == field.Checksum && a.Op == operand.Copy: // it does not follow the others
		return len(r.Actions) == 1
	case a.Cell == 0 && stays(a, old, hits):
		return true
	}
	switch f.Name {
	case "ip_ttl":
		return all(becomes(a, old, hits), leastTTL, f.Max().Lo)
	case "ip6_hlim":
		return !discovery && all(becomes(a, old, hits), leastTTL, f.Max().Lo)
	case "ip_flag_df":
		return all(becomes(a, old, hits), 0, 0)
	case "ip_flags":
		return a.Op == operand.Set && a.Cell == 0 && onlyClearsDF(old, a.Value)
	}
	return false
}

// onlyClearsDF reports whether each of some values differs from a new one in that DF is off there, if
// at all.
func onlyClearsDF(old field.Set, set field.Value) bool {
	for _, r := range old {
		for v := r.Lo.Lo; v <= r.Hi.Lo; v++ {
			if v != set.Lo && v != set.Lo|flagDF {
				return false
			}
		}
	}
	return true
}

// stays reports whether an action leaves each of some values as it is.
func stays(a rule.Action, old field.Set, hits packetset.Set) bool {
	switch a.Op {
	case operand.AtLeast:
		return old[0].Lo.Cmp(a.Value) >= 0
	case operand.AtMost:
		return old[len(old)-1].Hi.Cmp(a.Value) <= 0
	}
	before, single := old.Single()
	after, known := becomes(a, old, hits).Single()
	return single && known && before == after
}

// becomes are the values that an action may give a field where it changes it.
func becomes(a rule.Action, old field.Set, hits packetset.Set) field.Set {
	f := a.Field
	switch lo, hi := old[0].Lo, old[len(old)-1].Hi; {
	case a.Cell > 0:
		return field.All(f.Width)
	case a.Op == operand.Set, a.Op == operand.AtLeast, a.Op == operand.AtMost:
		return field.One(a.Value)
	case a.Op == operand.Prefix:
		host := field.Ones(f.Width - a.Bits)
		if lo.AndNot(host) == hi.AndNot(host) { // the bits behind the prefix stay
			return field.Set{{Lo: a.Value.Or(lo.Low(f.Width - a.Bits)), Hi: a.Value.Or(hi.Low(f.Width - a.Bits))}}
		}
		return field.Set{{Lo: a.Value, Hi: a.Value.Or(host)}}
	case a.Op == operand.Add && !f.Wraps:
		return field.Set{{Lo: upTo(lo, a.Value, f.Max()), Hi: upTo(hi, a.Value, f.Max())}}
	case a.Op == operand.Sub && !f.Wraps:
		return field.Set{{Lo: downTo(lo, a.Value), Hi: downTo(hi, a.Value)}}
	case a.Op.Chooses():
		return field.Set{a.Range}
	case a.Op == operand.Copy:
		return values(hits, a.From)
	}
	return field.All(f.Width)
}

// upTo is v + n, or the top if that is more.
func upTo(v, n, top field.Value) field.Value {
	if top.Minus(v).Cmp(n) < 0 {
		return top
	}
	return v.Plus(n)
}

// downTo is v - n, or 0 if that is less.
func downTo(v, n field.Value) field.Value {
	if v.Cmp(n) < 0 {
		return field.Value{}
	}
	return v.Minus(n)
}

// all reports whether values are all between two.
func all(in field.Set, lo, hi uint64) bool {
	return len(in) > 0 && in[0].Lo.Cmp(field.V(lo)) >= 0 && in[len(in)-1].Hi.Cmp(field.V(hi)) <= 0
}

// values are those that a field may have in packets of a set. Sets know parts of a field of 8
// bits or fewer, such as ip_dscp of ip_tos, by the whole.
func values(in packetset.Set, f *field.Field) field.Set {
	whole := f
	for _, g := range field.Fields() {
		if g.Contains(f) && g.Width > whole.Width {
			whole = g
		}
	}
	known := in.Values(whole)
	if whole == f {
		return known
	}
	shift := whole.Bit + whole.Width - f.Bit - f.Width
	var parts []field.Range
	for _, r := range known {
		for v := r.Lo.Lo; v <= r.Hi.Lo; v++ {
			part := field.V(v).Shr(shift).Low(f.Width)
			parts = append(parts, field.Range{Lo: part, Hi: part})
		}
	}
	return field.NewSet(parts...)
}
