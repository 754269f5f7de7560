package bpf_test

import (
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/test/quotes"
)

// answered are rules with replies, whose programs look into quotes in both directions.
var answered = []string{
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

// TestQuotesOfReplies holds both programs of rules with replies against the reference.
func TestQuotesOfReplies(t *testing.T) {
	for _, text := range answered {
		p := checked(t, text)
		for _, of := range []*rule.Program{p, p.Replies} {
			for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
				proves(t, of, engine.LoadOptions{Hook: h}, 1000)
			}
		}
	}
}

// TestQuotes holds programs over what ICMP errors quote against the reference.
func TestQuotes(t *testing.T) {
	for _, test := range quotes.Cases {
		t.Run(test.Name, func(t *testing.T) {
			p := test.Program()
			for _, link := range []field.Link{field.Ethernet, field.RawIP} {
				for _, o := range []engine.LoadOptions{{}, {Fragments: true}, {Limit: 1, Timed: true}, {Hook: bpf.TC}, {Hook: bpf.TC, Limit: 1, Timed: true}} {
					o.Link = link
					proves(t, p, o, 1000)
				}
			}
		})
	}
}
