package packetset

import (
	"testing"

	"repacket/internal/field"
)

// TestNeedsOfQuotes: by hand, what a message and a quote say where the headers are there that it
// quotes (semantics.md 5.4).
func TestNeedsOfQuotes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		of   Headers
		want map[string]field.Set
	}{
		{HeadersOf(field.IP, field.ICMP, field.QuotedIP), map[string]field.Set{
			"icmp_type": field.NewSet(between(3, 4), between(11, 12)), "quoted_ip_ver": val(4), "ip_protocol": val(1),
		}},
		{HeadersOf(field.IP, field.ICMP, field.QuotedIP, field.QuotedTCP), map[string]field.Set{
			"quoted_ip_protocol": val(6), "quoted_ip_offset": val(0), "quoted_ip_hl": field.NewSet(between(5, 15)),
			"quoted_ip_tot_len": field.NewSet(single(0), between(40, 65535)),
		}},
		{HeadersOf(field.IP6, field.ICMP6, field.QuotedIP6, field.QuotedICMP6), map[string]field.Set{
			"icmp6_type": field.NewSet(between(1, 4)), "quoted_ip6_next": val(58), "quoted_ip6_len": field.NewSet(single(0), between(4, 65535)),
		}},
	} {
		got := map[string]field.Set{}
		for _, k := range Needs(c.of) {
			got[k.Field.Name] = k.In
		}
		for name, want := range c.want {
			if !got[name].Equal(want) {
				t.Errorf("%v: %s is in %v, want %v", c.of.List(), name, got[name], want)
			}
		}
	}
}
