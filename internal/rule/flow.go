package rule

import "repacket/internal/field"

// A flow is what all packets of one conversation in one direction have in common, as far as
// the table of fields can say: addresses, protocol, ports or echo identifier, VLAN identifiers
// (semantics.md 5.1). The reply of a flow has its source and its destination exchanged.

// flowFields are the fields that say something about a flow, and the field that says it
// about the reply.
var flowFields = func() map[*field.Field]*field.Field {
	out := map[*field.Field]*field.Field{}
	for _, pair := range [][2]string{{"ip_src", "ip_dest"}, {"ip6_src", "ip6_dest"}, {"tcp_src", "tcp_dest"}, {"udp_src", "udp_dest"}} {
		src, dest := field.MustByName(pair[0]), field.MustByName(pair[1])
		out[src], out[dest] = dest, src
	}
	for _, name := range []string{
		"vlan_id", "cvlan_id", "icmp_id",
		"eth_type", "vlan_type", "cvlan_type", "ip_protocol", "ip6_next", "icmp_type", "icmp6_type",
	} {
		f := field.MustByName(name)
		out[f] = f
	}
	return out
}()

// protocolFields are those of flowFields that say which protocol a packet has. A reply has the
// same, so no rule with replies changes them.
var protocolFields = []string{"eth_type", "vlan_type", "cvlan_type", "ip_protocol", "ip6_next", "icmp_type", "icmp6_type"}

// exchangedTypes are the types of ICMP messages that answer each other (RFC 792, RFC 4443).
var exchangedTypes = map[string][][2]uint64{
	"icmp_type":  {{8, 0}, {13, 14}},
	"icmp6_type": {{128, 129}},
}

// exchange is what a test of a field of a flow asks of the reply.
func exchange(t Test) Test {
	in := t.In
	for _, pair := range exchangedTypes[t.Field.Name] {
		in = exchangeValues(in, field.V(pair[0]), field.V(pair[1]), t.Field.Width)
	}
	t.Field, t.In = flowFields[t.Field], in
	return t
}

// exchangeValues is a set in which two values have changed places.
func exchangeValues(in field.Set, a, b field.Value, width int) field.Set {
	both := field.NewSet(field.Range{Lo: a, Hi: a}, field.Range{Lo: b, Hi: b})
	out := in.Intersect(both.Complement(width))
	if in.Contains(a) {
		out = out.Union(field.One(b))
	}
	if in.Contains(b) {
		out = out.Union(field.One(a))
	}
	return out
}

// possible is what a condition asks of a flow if each test that says nothing about flows holds
// where it can: on some packets of each flow that has the header.
func possible(e Expr) Expr { return ofFlow(e, true, saysFlow) }

// certain is what a condition asks of a flow if it is to hold on all packets of it.
func certain(e Expr) Expr { return ofFlow(e, false, saysFlow) }

// saysFlow reports whether a test says something about a flow.
func saysFlow(t Test) bool { return flowFields[t.Field] != nil }

// ofFlow keeps the tests of a condition that says picks. What else it asks holds if it can, else
// it does not.
func ofFlow(e Expr, holds bool, says func(Test) bool) Expr {
	switch e := e.(type) {
	case Not:
		return negate(ofFlow(e.X, !holds, says), e.At)
	case And:
		return both(ofFlows(e.X, holds, says), e.At)
	case Or:
		return either(ofFlows(e.X, holds, says), e.At)
	case Chance:
		return constant(holds, e.At)
	case Has:
		if e.Proto == field.MSS { // in some packets of a connection
			return someOf(e.Proto, holds, e.At)
		}
	case Test:
		if !says(e) {
			return someOf(e.Field.Proto, holds, e.At)
		}
	}
	return e
}

func ofFlows(list []Expr, holds bool, says func(Test) bool) []Expr {
	out := make([]Expr, len(list))
	for i, x := range list {
		out[i] = ofFlow(x, holds, says)
	}
	return out
}

// someOf is what a test that some packets with a header meet asks of a flow.
func someOf(p field.Protocol, holds bool, at Span) Expr {
	switch {
	case !holds:
		return constant(false, at)
	case p == field.MSS:
		p = field.TCP
	}
	return Has{p, at}
}
