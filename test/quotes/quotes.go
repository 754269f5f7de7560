// Package quotes has programs of rules over what ICMP errors quote. They are made by hand:
// no text of the language has quoted fields.
package quotes

import (
	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// Program makes a program of rules.
func program(rules ...*rule.Rule) *rule.Program {
	p := &rule.Program{}
	for i, r := range rules {
		r.Index = i
		p.Rules = append(p.Rules, r)
		p.Written = append(p.Written, rule.Written{Text: "what an error quotes", DryRun: !r.Touches()})
	}
	return p
}

func is(name string, lo, hi uint64) rule.Test {
	return rule.Test{Field: field.MustByName(name), In: field.NewSet(field.Range{Lo: field.V(lo), Hi: field.V(hi)})}
}

func isAddress(name string, lo, hi field.Value) rule.Test {
	return rule.Test{Field: field.MustByName(name), In: field.NewSet(field.Range{Lo: lo, Hi: hi})}
}

func both(x ...rule.Expr) rule.Expr { return rule.And{X: x} }

func set(name string, v field.Value) rule.Action {
	return rule.Action{Field: field.MustByName(name), Op: operand.Set, Value: v}
}

func port(name string, v uint64) rule.Action { return set(name, field.V(v)) }

// Addresses of tests: two of IPv4, two of IPv6.
var (
	four, other4 = field.V(0xc0000201), field.V(0xcb007105)
	six, other6  = field.Value{Hi: 0x20010db800000000, Lo: 1}, field.Value{Hi: 0x20010db8ffff0001, Lo: 0xfffe}
)

// Case is a program of rules over what ICMP errors quote.
type Case struct {
	Name  string
	rules []*rule.Rule
}

// Program is the checked program.
func (c Case) Program() *rule.Program { return program(c.rules...) }

// Cases are the programs: between them they test and set what rules for answers do.
var Cases = []Case{
	{"a port of UDP", []*rule.Rule{{Cond: is("quoted_udp_dest", 8080, 8080), Actions: []rule.Action{port("quoted_udp_dest", 443)}}}},
	{"a port of TCP", []*rule.Rule{{Cond: is("quoted_tcp_src", 8080, 8080), Actions: []rule.Action{port("quoted_tcp_src", 443)}}}},
	{"a port of either, over either", []*rule.Rule{
		{Cond: is("quoted_tcp_dest", 100, 200), Actions: []rule.Action{port("quoted_tcp_dest", 443)}},
		{Cond: is("quoted_udp_dest", 100, 200), Actions: []rule.Action{port("quoted_udp_dest", 443)}},
		{Cond: is("icmp_type", 0, 20), Actions: []rule.Action{port("ip_ttl", 9)}},
	}},
	{"an address of IPv4, the outer one too", []*rule.Rule{
		{Cond: both(isAddress("quoted_ip_src", four, four), isAddress("ip_dest", four, four)), Actions: []rule.Action{set("quoted_ip_src", other4), set("ip_dest", other4)}},
		{Cond: isAddress("quoted_ip_src", four, four), Actions: []rule.Action{set("quoted_ip_src", other4)}},
	}},
	{"an address of IPv6, the outer one too", []*rule.Rule{
		{Cond: both(isAddress("quoted_ip6_dest", six, six), isAddress("ip6_src", six, six)), Actions: []rule.Action{set("quoted_ip6_dest", other6), set("ip6_src", other6)}},
		{Cond: isAddress("quoted_ip6_dest", six, six), Actions: []rule.Action{set("quoted_ip6_dest", other6)}},
	}},
	{"an address and a port", []*rule.Rule{
		{Cond: both(isAddress("quoted_ip_dest", four, four), is("quoted_tcp_dest", 1, 9)), Actions: []rule.Action{set("quoted_ip_dest", other4), port("quoted_tcp_dest", 443)}},
		{Cond: both(isAddress("quoted_ip_dest", four, four), is("quoted_udp_dest", 1, 9)), Actions: []rule.Action{set("quoted_ip_dest", other4), port("quoted_udp_dest", 443)}},
		{Cond: both(isAddress("quoted_ip6_dest", six, six), is("quoted_tcp_dest", 1, 9)), Actions: []rule.Action{set("quoted_ip6_dest", other6), port("quoted_tcp_dest", 443)}},
		{Cond: both(isAddress("quoted_ip6_dest", six, six), is("quoted_udp_dest", 1, 9)), Actions: []rule.Action{set("quoted_ip6_dest", other6), port("quoted_udp_dest", 443)}},
	}},
	{"a prefix", []*rule.Rule{
		{
			Cond:    both(isAddress("quoted_ip_dest", field.V(0x0a010000), field.V(0x0a01ffff)), rule.Has{Proto: field.QuotedUDP}),
			Actions: []rule.Action{{Field: field.MustByName("quoted_ip_dest"), Op: operand.Prefix, Value: field.V(0xac100000), Bits: 16}},
		},
		{
			Cond:    isAddress("quoted_ip6_dest", field.Value{Hi: 0x20010db800000000}, field.Value{Hi: 0x20010db80000ffff, Lo: ^uint64(0)}),
			Actions: []rule.Action{{Field: field.MustByName("quoted_ip6_dest"), Op: operand.Prefix, Value: field.Value{Hi: 0xfd00001122220000}, Bits: 50}},
		},
	}},
	{"a shift, ports that change places", []*rule.Rule{
		{Cond: is("quoted_tcp_dest", 9000, 9999), Actions: []rule.Action{{Field: field.MustByName("quoted_tcp_dest"), Op: operand.Sub, Value: field.V(1000)}}},
		{Cond: is("quoted_udp_src", 9000, 9999), Swaps: []rule.Swap{{Proto: field.QuotedUDP}}},
	}},
	{"an echo", []*rule.Rule{
		{Cond: both(is("quoted_icmp_type", 8, 8), is("quoted_icmp_id", 5, 5)), Actions: []rule.Action{port("quoted_icmp_id", 77), set("quoted_ip_src", four)}},
		{Cond: is("quoted_icmp6_type", 128, 129), Actions: []rule.Action{set("quoted_ip6_src", six), port("quoted_icmp6_code", 9)}},
	}},
	{"of the message and the quote", []*rule.Rule{
		{Cond: both(is("icmp_type", 3, 3), is("icmp_code", 4, 4), is("quoted_udp_src", 0, 40000)), Actions: []rule.Action{port("icmp_code", 13), port("quoted_udp_src", 1)}},
		{Cond: both(is("icmp6_type", 2, 2), rule.Has{Proto: field.QuotedTCP}), Actions: []rule.Action{port("icmp6_code", 3), port("quoted_tcp_src", 1), set("ip6_src", six)}},
	}},
	{"no such header", []*rule.Rule{
		{Cond: rule.Not{X: rule.Or{X: []rule.Expr{rule.Has{Proto: field.QuotedIP}, rule.Has{Proto: field.QuotedIP6}}}}, Actions: []rule.Action{port("ip_ttl", 9)}},
		{Cond: rule.Not{X: rule.Has{Proto: field.QuotedTCP}}, Actions: []rule.Action{port("icmp_code", 9)}},
		{Cond: rule.Not{X: rule.Has{Proto: field.QuotedUDP}}, Actions: []rule.Action{port("icmp6_code", 9)}},
	}},
	{"beside a rule of its own for layer 4", []*rule.Rule{
		{Cond: is("quoted_udp_dest", 8080, 8080), Actions: []rule.Action{port("quoted_udp_dest", 443)}},
		{Cond: is("udp_src", 8080, 8080), Actions: []rule.Action{port("udp_src", 443)}},
		{Cond: isAddress("ip_src", four, four), Actions: []rule.Action{set("ip_src", other4)}},
		{Cond: isAddress("ip6_src", six, six), Actions: []rule.Action{set("ip6_src", other6)}},
	}},
}

// Answered are rules with replies, whose programs look into quotes in both directions.
var Answered = []string{
	"if tcp_dest 443 then tcp_dest 8080 replies",
	"if dport 8000-8099 then dport +1000 replies",
	"if ip_src 203.0.113.5 ip_dest 192.0.2.7 then ip_src 10.1.2.3 ip_dest 10.9.9.9 replies",
	"if ip6_src 2001:db8::/64 ip6_dest 2001:db8:1::/48 then ip6_src fd00:5::/64 ip6_dest fd00:6::/48 replies",
	"if ip_dest 203.0.113.0/24 udp_dest 53 then ip_dest 10.1.2.0/24 udp_dest 5353 replies",
	"if ip6_dest 2001:db8::/32 tcp_dest 80 then ip6_dest fd00:1::/32 tcp_dest 8080 replies",
	"if tcp_dest 80 ip_dest 192.0.2.1 or tcp_dest 443 ip_dest 192.0.2.2 then tcp_dest 8080 replies",
	"if icmp_type 8 icmp_id 5 ip_dest 203.0.113.5 then icmp_id 77 ip_dest 10.1.2.3 replies",
	"if vlan_id 5 then vlan_id 6 replies",
	"if udp_dest 53 then swap ip swap udp replies else if ip6 tcp_dest 80 then swap ip6 swap tcp replies",
	"if tcp_dest 443 ip_dest 198.51.100.9 then tcp_dest 8080 ip_ttl 9 replies else if ip_dest 203.0.113.5 then ip_dest 10.1.2.3 replies else if ip6_src 2001:db8::5 then ip6_src fd00::9 replies",
}
