package engine

import (
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/needs"
)

// TestRecordsAreTested: the test before attaching compares what is recorded too, of all
// kinds of rules, at each hook.
func TestRecordsAreTested(t *testing.T) {
	needs.Kernel(t)
	for _, source := range []string{
		"if all",
		"if udp_dest 443 then udp_dest 8080",
		"if udp then udp_check fix ip_ttl 3 else if icmp then icmp_check bad",
		"if ip then ip_src random 10.0.0.0/8 ip_ttl -1; if ip6 then ip6_hlim 9 ip6_flow hash",
		"if vlan then vlan_id 7 vlan_pcp 1",
		"if tcp_syn on then tcp_mss atmost 1200 reflect; if arp then drop",
	} {
		p, err := rule.Check(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []LoadOptions{{}, {Fragments: true}, {Hook: bpf.TC}} {
			for _, limits := range []run.Recording{{}, {Rate: 1000}, {Every: 3, Most: 5}, {Bytes: 300}, {Bytes: 1 << 18}} {
				o.Record = &limits
				tested, err := SelfTest(p, o, 300)
				if err != nil || tested.Acted == 0 {
					t.Errorf("%s at %v, fragments %t, limits %+v: %d acted, %v", source, o.Hook, o.Fragments, limits, tested.Acted, err)
				}
			}
		}
	}
}
