package rule

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// TestOperandsShape holds the checked form of operands.
func TestOperandsShape(t *testing.T) {
	t.Parallel()
	f := field.MustByName
	p := mustCheck(t, `if chance 5% udp and not chance 1/3 then udp_dest +1000 ip_ttl -1 ip_id atleast 5 ip_tos atmost 0xb8
		eth_src eth_dest udp_src random 1024-2047 ip_src random 10.0.0.0/8 ip_dest 10.1.0.0/16 udp_check udp_check
		else if chance 2% then ttl random, eth_dest random 02:00:00:00:00:00/8
		else if ip6 then ip6_src random ip6_dest 2001:db8::/32 ip6_flow random 7-7
		else if chance 1/2 then dport sport`)
	udp := Rule{
		Cond: And{X: []Expr{Chance{Num: 5, Den: 100, Index: 0}, Has{Proto: field.UDP}, Not{X: Chance{Num: 1, Den: 3, Index: 1}}}},
		Actions: []Action{
			{Field: f("udp_dest"), Op: operand.Add, Value: field.V(1000)},
			{Field: f("ip_ttl"), Op: operand.Sub, Value: field.V(1)},
			{Field: f("ip_id"), Op: operand.AtLeast, Value: field.V(5)},
			{Field: f("ip_tos"), Op: operand.AtMost, Value: field.V(0xb8)},
			{Field: f("eth_src"), Op: operand.Copy, From: f("eth_dest")},
			{Field: f("udp_src"), Op: operand.Random, Range: field.Range{Lo: field.V(1024), Hi: field.V(2047)}, Draw: 2},
			{Field: f("ip_src"), Op: operand.Random, Range: field.Range{Lo: field.V(0x0a000000), Hi: field.V(0x0affffff)}, Draw: 3},
			{Field: f("ip_dest"), Op: operand.Prefix, Value: field.V(0x0a010000), Bits: 16},
			{Field: f("udp_check"), Op: operand.Copy, From: f("udp_check")},
		},
	}
	ttl := func(name string) Rule {
		return Rule{Index: 1, Cond: Chance{Num: 2, Den: 100, Index: 4}, Actions: []Action{
			{Field: f(name), Op: operand.Random, Range: field.Range{Hi: field.V(255)}, Draw: 5},
			{Field: f("eth_dest"), Op: operand.Random, Range: field.Range{Lo: field.V(0x020000000000), Hi: field.V(0x02ffffffffff)}, Draw: 6},
		}}
	}
	ip6 := Rule{Index: 2, Cond: Has{Proto: field.IP6}, Actions: []Action{
		{Field: f("ip6_src"), Op: operand.Random, Range: field.Range{Hi: field.Ones(128)}, Draw: 8},
		{Field: f("ip6_dest"), Op: operand.Prefix, Value: field.Value{Hi: 0x20010db8 << 32}, Bits: 32},
		{Field: f("ip6_flow"), Op: operand.Random, Range: field.Range{Lo: field.V(7), Hi: field.V(7)}, Draw: 12},
	}}
	ports := func(proto string) Rule {
		return Rule{Index: 3, Cond: Chance{Num: 1, Den: 2, Index: 13}, Actions: []Action{
			{Field: f(proto + "_dest"), Op: operand.Copy, From: f(proto + "_src")},
		}}
	}
	var got []Rule
	for _, r := range p.Rules {
		got = append(got, *r)
	}
	want := []Rule{udp, ttl("ip_ttl"), ttl("ip6_hlim"), ip6, ports("tcp"), ports("udp")}
	if diff := cmp.Diff(want, got, same, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
	if p.Draws != 14 {
		t.Errorf("%d numbers are drawn, want 14", p.Draws)
	}
}

// TestThreshold: by hand, n/d of 4294967296 and rounded up.
func TestThreshold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ num, den, want uint64 }{
		{1, 2, 1 << 31},
		{5, 100, 214748365},   // 214748364.8
		{1, 3, 1431655766},    // 1431655765.3
		{1, 1 << 32, 1},       //
		{99, 100, 4252017624}, // 4252017623.04
		{1<<64 - 2, 1<<64 - 1, 1 << 32},
		{1 << 63, 1<<64 - 1, 1<<31 + 1},
	} {
		if got := (Chance{Num: c.num, Den: c.den}).Threshold(); got != c.want {
			t.Errorf("%d/%d: %d, want %d", c.num, c.den, got, c.want)
		}
	}
}

// TestWords: 2^32 values need one number, more need two.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lo, hi field.Value
		want   int
	}{
		{field.V(5), field.V(5), 1},
		{field.V(0), field.V(255), 1},
		{field.V(7), field.V(7 + 1<<32 - 1), 1},
		{field.V(7), field.V(7 + 1<<32), 2},
		{field.V(0), field.Ones(48), 2},
		{field.V(0), field.Ones(64), 2},
		{field.V(0), field.Value{Hi: 1}, 3},
		{field.Value{Hi: 1}, field.Value{Hi: 2, Lo: 0}.Dec(), 2},
		{field.Value{}, field.Ones(97), 4},
		{field.Value{}, field.Ones(128), 4},
	} {
		a := Action{Op: operand.Random, Range: field.Range{Lo: c.lo, Hi: c.hi}}
		if got := a.Words(); got != c.want {
			t.Errorf("%s-%s: %d, want %d", c.lo, c.hi, got, c.want)
		}
	}
	if got := (Action{Op: operand.Set}).Words(); got != 0 {
		t.Errorf("a plain value draws %d", got)
	}
}

// TestChanceHidesNothing: a rule that acts by chance takes no packet away from
// the ones behind it, whatever stands around the chance.
func TestChanceHidesNothing(t *testing.T) {
	t.Parallel()
	for early, hides := range map[string]bool{
		"udp":                    true,
		"udp chance 99%":         false,
		"chance 1/2 and udp":     false,
		"udp not chance 5%":      false,
		"not (chance 5% or tcp)": false,
		"udp or chance 5%":       true,
		"udp and (ip or ip6 or arp or chance 5%)": true,
		"not (tcp chance 5%) udp":                 true, // no UDP packet is TCP
		"udp chance 100%":                         true,
		"udp and (chance 5% or not chance 5%)":    false,
	} {
		p := mustCheck(t, "if "+early+" then ip_ttl 5\nif ip udp_dest 53 then ip_ttl 6")
		got := false
		for _, w := range p.Warnings {
			got = got || strings.HasPrefix(w.Msg, "never acts")
		}
		if got != hides {
			t.Errorf("%s hides what stands behind: %v, want %v", early, got, hides)
		}
	}
}

// TestReadHeaders: a copy asks for the header that it reads (semantics.md 3.1).
func TestReadHeaders(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"if all then ip_id tcp_window":     "ip, tcp",
		"if eth then ip_id tcp_mss":        "eth, ip, tcp, the TCP option MSS",
		"if all then ip_id icmp_seq":       "ip, icmp",
		"if all then arp_sha eth_src":      "eth, arp",
		"if all then ttl -1 ip_id udp_len": "ip, udp",
		"if all then icmp_id ip_id":        "ip, icmp",
	} {
		info := mustCheck(t, source).Explanation()[0]
		if len(info.Cases) != 1 || strings.Join(info.Cases[0].Headers, ", ") != want {
			t.Errorf("%s: %+v, want %s", source, info.Cases, want)
		}
	}
}
