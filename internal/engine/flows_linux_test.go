package engine

import (
	"errors"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/rule"
)

// tracked are rules that between them take every way to enter and to look up flows.
var tracked = []string{
	"if udp_dest 20000-50000 then udp_dest 443 replies tracked",
	"if tcp_dest 1-65535 then tcp_dest 443 ip_dest 10.0.0.1 replies tracked else if udp then ip6_dest 2001:db8::1 udp_dest 53 replies tracked",
	"if ip then ip_src 192.0.2.1 replies tracked",
	"if ip6 then ip6_src hash 2001:db8::/120 replies tracked",
	"if ip_ttl ge 0 then ip_src random 192.0.2.0/30, ip_ttl -1 replies tracked else if ip6 then ip6_dest random 2001:db8::/127, ip6_hlim 9 replies tracked",
	"if icmp then icmp_id 7 replies tracked else if icmp6_type 128 then ip6_dest 2001:db8::1 replies tracked",
	"if udp then swap ip, swap udp replies tracked else if tcp then swap tcp, tcp_check fix replies tracked",
	"if vlan_id 1-9 and udp then udp_src atmost 9000 replies tracked else if cvlan and ip then ip_dest 10.0.0.0/8 replies tracked",
	"if dport 1-40000 then dport atleast 30000 replies tracked; if ip_src 10.16.0.0/12 then ip_src 172.16.0.0/12 replies",
}

// TestTracked: the programs of rules that track flows do what the reference says, over sequences of
// packets and of their answers.
func TestTracked(t *testing.T) {
	for _, text := range tracked {
		t.Run(text, func(t *testing.T) {
			p, err := rule.Check(text)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []LoadOptions{{}, {Fragments: true}, {Hook: bpf.TC}} {
				for _, side := range []*rule.Program{p, p.Replies} {
					o.Answers = nil
					if side == p.Replies {
						o.Answers = p
					}
					tested, err := SelfTest(side, o, 1000)
					if d := (*DifferenceError)(nil); errors.As(err, &d) {
						t.Fatalf("replies %t, hook %d: %s", o.Answers != nil, o.Hook, d.Report())
					}
					if err != nil {
						t.Fatalf("replies %t: %+v", o.Answers != nil, err)
					}
					t.Logf("%t %+v", o.Answers != nil, tested)
					if tested.Acted == 0 || len(tested.Unreached) > 0 {
						t.Errorf("replies %t: %+v", o.Answers != nil, tested)
					}
				}
			}
		})
	}
}
