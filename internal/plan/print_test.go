package plan

import (
	"slices"
	"testing"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// TestWords: what a plan does is told in the words of the language, fields that
// share a load or a store side by side.
func TestWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want []string
	}{
		{"if udp_dest 443 then udp_dest 8080", []string{"udp_dest 443", "udp_check follows", "udp_dest 8080"}},
		{"if tcp_syn on tcp_ack off then tcp_fin on", []string{"tcp_syn on tcp_ack off", "tcp_check follows", "tcp_fin on"}},
		{"if icmp_code ne 3,5 icmp_type 8 then icmp_check 0xcafe", []string{"icmp_code ne 3,5", "icmp_type echo-request", "icmp_check 0xcafe"}},
		{"if ip_dscp 8-15 ip_src 10.0.0.0/8 then ip_dscp ef ip_ecn 3", []string{"ip_dscp 8-15", "ip_src 10.0.0.0/8", "ip_check follows", "ip_dscp ef ip_ecn ce"}},
		{"if tcp_dest 1,5-9,70-80 then ip_check fix", []string{"tcp_dest 1,5-9,70-80", "whole ip header", "ip_check fix"}},
		{"if udp then udp_check bad", []string{"whole udp datagram over ip", "udp_check bad"}},
	} {
		p, err := rule.Check(test.text)
		if err != nil {
			t.Fatal(err)
		}
		chains := Build(p, field.Ethernet).Chains() // what is common first
		s := chains[0].Steps[0]
		got := condWords(s.Cond)
		for _, sum := range s.Sums {
			got = append(got, sum.String())
		}
		for _, w := range s.Writes {
			got = append(got, w.String())
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s\ngot  %q\nwant %q", test.text, got, test.want)
		}
	}
}

func condWords(c Cond) []string {
	switch c := c.(type) {
	case And:
		var out []string
		for _, x := range c {
			out = append(out, condWords(x)...)
		}
		return out
	case Test:
		return []string{c.String()}
	case WholeDatagram:
		return []string{c.String()}
	case WholeHeader:
		return []string{c.String()}
	}
	return nil
}
