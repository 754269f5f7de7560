package rule

import (
	"fmt"
	"strings"
	"testing"
)

// TestFarApart: what stands 10,000 rules behind the rule that takes its packets
// is found, both places are told, and nothing else is.
func TestFarApart(t *testing.T) {
	t.Parallel()
	const (
		hosts  = "if ip_dest 10.0.%[2]d.%[1]d udp_dest %[3]d then ip_dest 10.1.%[2]d.%[1]d\n"
		nets   = "if ip_dest 10.%[2]d.%[1]d.0/24 then ip_ttl %[1]d\n"
		ranges = "if udp_dest %[3]d-%[3]d,20000 ip_ttl %[1]d then ip_id %[3]d\n"
	)
	for _, c := range []struct{ rules, last, want string }{
		{hosts, "if ip_dest 10.0.19.136 udp_dest 5100 then ip_ttl 5", "never acts: line 5001 takes"},
		{hosts, "if ip_dest 10.0.19.136 udp_dest 5100 then ip_dest 10.1.19.136", "says the same as line 5001"},
		{hosts, "if ip_dest 10.0.19.136 udp_dest 5101 then ip_ttl 5", ""},
		{nets, "if ip_dest 10.19.136.0/25 then ip_ttl 5", "never acts: line 5001 takes"},
		{nets, "if ip_dest 10.19.136.7 udp_dest 5 then ip_ttl 5", "never acts: line 5001 takes"},
		{nets, "if ip_dest 10.19.136.0/24 then ip_ttl 136", "says the same as line 5001"},
		{nets, "if ip_dest 10.19.136.0/23 then ip_ttl 5", ""},
		{nets, "if ip_dest 10.200.0.1 then ip_ttl 5", ""},
		{ranges, "if ip_ttl 136 udp_dest 20000,5100 then ip_id 6", "never acts: line 5001 takes"},
	} {
		p := mustCheck(t, lines(c.rules)+c.last)
		var got []string
		for _, w := range p.Warnings {
			line, column := w.Position()
			got = append(got, fmt.Sprintf("%d:%d: %s", line, column, w.Msg))
		}
		none := c.want == "" && len(got) == 0
		if !none && (len(got) != 1 || c.want == "" || !strings.HasPrefix(got[0], "10001:1: "+c.want)) {
			t.Errorf("%s: %q, want %q", c.last, got, c.want)
		}
	}
}
