package bpf_test

import (
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
)

// TestProveRawIP is TestProve on a link without Ethernet.
func TestProveRawIP(t *testing.T) {
	for _, text := range []string{
		"if all then ip_ttl 9",
		"if ip6 then ip6_hlim 9",
		"if not ip not ip6 else if ip then ip_src 10.0.0.1",
		"if udp_dest 53 then udp_dest 5353 udp_check fix else if tcp_syn on then ttl 9",
		"if tcp_mss ge 1000 then tcp_mss 536 else if icmp6 then icmp6_check bad, ip6_src ::1 else if icmp then swap ip",
	} {
		for _, o := range []engine.LoadOptions{{}, {Fragments: true}, {Hook: bpf.TC}} {
			o.Link = field.RawIP
			proves(t, checked(t, text), o, 300)
		}
	}
}
