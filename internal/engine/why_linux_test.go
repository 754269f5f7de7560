package engine

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/why"
	"repacket/test/needs"
)

// sixteen are as many rules as --why looks at, over all headers and of many tests each.
func sixteen() string {
	var list []string
	for i := range 16 {
		list = append(list, [...]string{
			"if ip_id %d ip_ttl ge 5 (udp_dest 53 or tcp_dest 80) then ip_ttl 9",
			"if tcp_mss gt 50%d tcp_syn on not ip_flag_df on ip_src 10.0.0.0/8 then tcp_mss 1%[1]d",
			"if ip6_src 2001:db8::%d ip6_hlim ne 7 dport 1000-60000 then udp_dest 5 udp_check fix",
			"if icmp_id 1%d00-60000 ip_id le 50000 then icmp_seq 3",
			"if not ip ip6_flow %d (ip6_hlim 7 or tcp or icmp6_type 1-9) then ip6_hlim 9",
		}[i%5])
		list[i] = fmt.Sprintf(list[i], i+1)
	}
	return strings.Join(list, " else ")
}

// TestWhyIsTested: the test before attaching compares why rules do not act, of all kinds of rules, also
// where packets are recorded, and the verifier takes as many rules as are looked at.
func TestWhyIsTested(t *testing.T) {
	needs.Kernel(t)
	rows := "a,b\n"
	for i := range 500 {
		rows += fmt.Sprintf("10.0.%d.%d,%d\n", i/250, i%250, i%256)
	}
	open := func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(rows)), nil }
	for _, source := range []string{
		sixteen(),
		"if vlan_id 5 vlan_pcp ne 7 udp then vlan_id 7 else if not cvlan eth_type ne 0x88cc ip_tos 1-77 then swap eth else if arp vlan then arp_op 3",
		"if ip_src @a then ip_src 192.0.2.1 ip_ttl @b from rows else if udp_dest @b ip_ttl 3 from rows else if ip_src @a udp_src @b from rows",
		"if udp_dest 443 chance 50% then ip_src random 10.0.0.0/8 else if tcp (chance 1/3 or tcp_dest 80) then tcp_seq random",
		"if tcp_dest 443 then tcp_dest 8080 replies else if udp_dest 20000-50000 then udp_dest 443 replies tracked",
		strings.Repeat("if udp_dest 53 ip_ttl 7 then ip_ttl 8;", 40),
	} {
		p, err := rule.CheckWith(source, rule.Options{Open: open})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []LoadOptions{{}, {Hook: bpf.TC, Record: &run.Recording{}}, {Limit: 1, Timed: true, Record: &run.Recording{Bytes: 1 << 18}}} {
			o.Why = true
			if tested, err := SelfTest(p, o, 100); err != nil || tested.Acted == 0 {
				report := ""
				if d, is := err.(*DifferenceError); is { //nolint:errorlint // as it is returned
					report = d.Report()
				}
				t.Errorf("%.60s at %v: %d acted, %v\n%s", source, o.Hook, tested.Acted, err, report)
			}
		}
	}
}

// TestWhyDiffers: what is counted wrong is found, whatever it is.
func TestWhyDiffers(t *testing.T) {
	t.Parallel()
	want := why.Sum{Packets: 5, Values: map[field.Value]uint64{field.V(53): 3, field.V(443): 2}}
	for text, c := range map[string]struct {
		got, want why.Sum
	}{
		"":                      {want, want},
		"4 packets, expected 5": {why.Sum{Packets: 4, Values: want.Values}, want},
		"443 seen in 3 packets, expected 2": {
			why.Sum{Packets: 5, Values: map[field.Value]uint64{field.V(443): 3}}, want,
		},
		"53 seen in 2 packets, expected 3": {
			why.Sum{Packets: 5, Values: map[field.Value]uint64{field.V(53): 2, field.V(443): 2}}, want,
		},
	} {
		if got := differs(c.got, c.want); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}
