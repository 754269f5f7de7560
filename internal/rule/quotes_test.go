package rule_test

import (
	"slices"
	"testing"

	"repacket/internal/rule"
)

// TestQuoteRules: the rules for ICMP errors, by hand: of the other direction first, then those in front of
// the rule.
func TestQuoteRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text           string
		packets, reply []string
	}{
		{
			"if tcp_dest 443 then tcp_dest 8080 replies",
			[]string{"if quoted_tcp_dest 8080 then quoted_tcp_dest 443"},
			[]string{"if quoted_tcp_src 443 then quoted_tcp_src 8080"},
		},
		{
			"if ip_dest 192.0.2.1 then ip_dest 10.0.0.1 replies",
			[]string{
				"if quoted_ip_dest 10.0.0.1 and ip_src 10.0.0.1 then quoted_ip_dest 192.0.2.1, ip_src 192.0.2.1",
				"if quoted_ip_dest 10.0.0.1 then quoted_ip_dest 192.0.2.1",
			},
			[]string{
				"if quoted_ip_src 192.0.2.1 and ip_dest 192.0.2.1 then quoted_ip_src 10.0.0.1, ip_dest 10.0.0.1",
				"if quoted_ip_src 192.0.2.1 then quoted_ip_src 10.0.0.1",
			},
		},
		{
			"if udp_dest 1-9 ip_ttl 3 then ip_dest random, udp_src 7 replies tracked",
			[]string{"if quoted_udp_dest 1-9 and quoted_ip and quoted_udp_src 7, of a flow that is tracked, then quoted_ip_dest as it was, ip_src as it was, quoted_udp_src as it was"},
			[]string{"if quoted_udp_src 1-9 and quoted_ip, of a flow that is tracked, then quoted_ip_src as it was, ip_dest as it was, quoted_udp_dest as it was"},
		},
		{
			"if vlan_id 5 udp_dest 53 then vlan_id 6 replies",
			[]string{"if quoted_udp_dest 53 and vlan_id 6 and (quoted_ip or quoted_ip6) then vlan_id 5"},
			[]string{"if vlan_id 5 and quoted_udp_src 53 and (quoted_ip or quoted_ip6) then vlan_id 6"},
		},
	} {
		p, err := rule.Check(c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		for _, of := range []struct {
			p    *rule.Program
			want []string
		}{{p.Replies, c.packets}, {p, c.reply}} {
			var got []string
			for _, r := range of.p.Rules {
				if r.Quote {
					got = append(got, r.Print())
				}
			}
			if !slices.Equal(got, of.want) || !of.p.Rules[0].Quote || of.p.Rules[len(of.p.Rules)-1].Quote {
				t.Errorf("%s: %q, want %q, in front", c.text, got, of.want)
			}
		}
	}
}

// TestQuoteRulesKeepTheOrder: rules without replies that stand before one with them see errors first.
func TestQuoteRulesKeepTheOrder(t *testing.T) {
	t.Parallel()
	p, err := rule.Check("if icmp then drop; if udp_dest 53 then udp_dest 54 replies; if udp_dest 55 then udp_dest 56 replies")
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	for _, r := range p.Rules {
		n := r.Index
		if r.Quote {
			n += 10
		}
		order = append(order, n)
	}
	if want := []int{0, 11, 12, 1, 2}; !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
}
