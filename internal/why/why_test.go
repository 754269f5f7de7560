package why_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// TestTests: the tests of a rule stand in the order in which they are written, then what its actions
// need, then what has columns or a chance (semantics.md 3.13).
func TestTests(t *testing.T) {
	t.Parallel()
	for rules, want := range map[string]string{
		"if udp_dest 443":                                        "udp_dest 443 [udp] udp_dest",
		"if ip_ttl le 5 udp_dest  53":                            "ip_ttl le 5 [ip] ip_ttl; udp_dest 53 [udp] udp_dest",
		"if udp and (tcp_dest 1 or ip)":                          "udp [udp]; (tcp_dest 1 or ip)",
		"if ip (ip_ttl 1 and ip_id 2)":                           "ip [ip]; ip_ttl 1 [ip] ip_ttl; ip_id 2 [ip] ip_id",
		"if not (udp or tcp) not ip_ttl 1":                       "not (udp or tcp); not ip_ttl 1 sees ip_ttl",
		"if dport 53 then dport 5353":                            "dport 53 [tcp udp] dport; implied dport 5353 [tcp udp]",
		"if all then ttl 5 dport 9":                              "implied ttl 5 [ip ip6]; implied dport 9 [tcp udp]",
		"if all":                                                 "",
		"if icmp_id 5":                                           "icmp_id 5 [icmp] guarded icmp_id",
		"if tcp then tcp_mss 9":                                  "tcp [tcp]; implied tcp_mss 9 [tcp]; implied tcp_mss 9 guarded tcp_mss",
		"if chance 5% udp then ip_ttl 5":                         "udp [udp]; implied ip_ttl 5 [ip]; rest chance 5%",
		"if udp then swap ip udp_check fix":                      "udp [udp]; implied udp_check fix [udp]; implied swap ip [ip]; implied udp_check fix whole udp_check",
		"if ip_src @a ip_ttl 5 udp_dest @b then ip_ttl 6 from f": "ip_ttl 5 [ip] ip_ttl; implied ip_ttl 6 [ip]; rest ip_src @a and udp_dest @b",
		"if ip_src @a then ip_dest @a from f":                    "implied ip_dest @a [ip]; rest ip_src @a [ip] ip_src",
		"if udp; if tcp":                                         "udp [udp]; tcp [tcp]",
	} {
		p, err := rule.CheckWith(rules, rule.Options{Open: func(string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("a,b\n10.0.0.1,53\n10.0.0.2,54\n")), nil
		}})
		if err != nil {
			t.Fatalf("%s: %v", rules, err)
		}
		var got []string
		for _, x := range why.Tests(p) {
			got = append(got, describe(x))
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%s\ngot  %s\nwant %s", rules, text, want)
		}
	}
}

func describe(t why.Test) string {
	text := t.Text
	if t.Implied {
		text = "implied " + text
	}
	if t.Rest {
		text = "rest " + text
	}
	if len(t.Headers) > 0 {
		text += fmt.Sprintf(" %v", t.Headers)
	}
	switch {
	case t.Guard != nil:
		text += " guarded " + t.Optional.Name
	case t.Whole != nil:
		text += " whole " + t.Whole.Name
	case t.Name != "" && len(t.Headers) == 0:
		text += " sees " + t.Name
	case t.Name != "":
		text += " " + t.Name
	}
	return text
}

// TestMostTests: rules behind the first 16 have none, and behind 31 tests of a rule the others are one.
func TestMostTests(t *testing.T) {
	t.Parallel()
	var rules, parts []string
	for i := range 40 {
		rules = append(rules, fmt.Sprintf("if ip_ttl %d", i))
		parts = append(parts, fmt.Sprintf("not ip_ttl %d", i))
	}
	p, err := rule.Check(strings.Join(rules, ";"))
	if err != nil {
		t.Fatal(err)
	}
	if all := why.Tests(p); len(all) != 16 || all[15].Rule != 15 {
		t.Errorf("%d tests, want those of 16 rules", len(all))
	}
	if p, err = rule.Check("if " + strings.Join(parts, " ")); err != nil {
		t.Fatal(err)
	}
	if all := why.Tests(p); len(all) != 32 || all[31].Text != strings.Join(parts[31:], " and ") {
		t.Errorf("%d tests, the last one %q", len(all), all[len(all)-1].Text)
	}
}

// TestSlot: the place of a test that has failed in a way tells both.
func TestSlot(t *testing.T) {
	t.Parallel()
	for slot := range 3 * 50 {
		if test, m := why.TestOf(slot); why.Slot(test, m) != slot || m >= why.Misses {
			t.Errorf("%d is test %d, way %d", slot, test, m)
		}
	}
}

// TestCount: a Count lies in memory as programs have it, counts few values exactly, and of many
// keeps those that are frequent, as at most what they are.
func TestCount(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(why.Count{}); size != why.CountSize {
		t.Errorf("a Count has %d bytes, want %d", size, why.CountSize)
	}
	r := rand.New(rand.NewPCG(16, 4))
	var few, many why.Count
	exact := map[field.Value]uint64{}
	for i := range uint64(10_000) {
		few.Add(field.Value{Hi: i % 3, Lo: i % 2}, 2)
		v := field.V(r.Uint64())
		switch i % 10 {
		case 0:
			v = field.V(443)
		case 1:
			v = field.Value{Hi: 0x20010db8 << 32, Lo: 53}
		}
		many.Add(v, 1)
		exact[v]++
	}
	var sum why.Sum
	sum.Add(&few)
	sum.Add(&few)
	if sum.Packets != 40_000 || len(sum.Values) != 6 || sum.Values[field.Value{Hi: 1, Lo: 1}] != 2*2*1667 {
		t.Errorf("%d packets, %v", sum.Packets, sum.Values)
	}
	seen := slices.SortedFunc(slices.Values(many.Seen[:]), func(a, b why.Seen) int { return int(b.Packets) - int(a.Packets) })
	for _, s := range seen[:2] {
		if n := exact[s.Value]; n != 1000 || s.Packets > n || s.Packets < n*8/10 {
			t.Errorf("%v was counted %d times, want nearly %d, and one of the two frequent ones", s.Value, s.Packets, n)
		}
	}
	for _, s := range seen {
		if s.Packets > exact[s.Value] {
			t.Errorf("%v was counted %d times of %d", s.Value, s.Packets, exact[s.Value])
		}
	}
}

// TestInstead: what is there instead of a header, in the words of rules.
func TestInstead(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]field.Value{
		"tcp": why.Header(field.TCP), "gre": why.Protocol(47), "ip_protocol 253": why.Protocol(253), "incomplete udp": why.Protocol(17),
		"later fragments of udp": why.LaterFragment(17), "ipv6-frag": why.Next(44), "incomplete icmp6": why.Next(58), "ip6_next 254": why.Next(254),
		"lldp": why.EtherType(0x88cc), "eth_type 0x1234": why.EtherType(0x1234), "incomplete arp": why.EtherType(0x0806),
		"neither ip nor ip6": why.NoIP(),
	} {
		if got := why.Instead(v); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
