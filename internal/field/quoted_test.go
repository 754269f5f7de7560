package field

import (
	"slices"
	"strings"
	"testing"
)

// TestQuotedFields: what has a twin in a quote is in its IP header, in the first 8 bytes behind it, or
// the checksum of TCP; no word of the language is one.
func TestQuotedFields(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"ip_src": true, "ip_ver": true, "ip6_dest": true, "tcp_dest": true, "tcp_seq": true, "udp_check": true, "icmp_id": true, "icmp6_type": true,
		"tcp_check": true, "tcp_ack_seq": false, "tcp_flags": false, "tcp_mss": false, "vlan_id": false, "arp_spa": false, "eth_type": false,
	} {
		f := MustByName(name)
		q := Quoted(f)
		if (q != nil) != want {
			t.Errorf("%s has a twin: %v", name, q != nil)
		}
		if q == nil {
			continue
		}
		if q.Bit != f.Bit || q.Width != f.Width || q.Proto != QuotedHeader(f.Proto) || Unquoted(q.Proto) != f.Proto || Unquote(q) != f {
			t.Errorf("%s: %+v", name, q)
		}
		if _, word := ByName(q.Name); word || MustByName(q.Name) != q {
			t.Errorf("%s is a word of the language: %v", q.Name, word)
		}
	}
	for _, p := range Protocols() {
		if p.IsQuoted() {
			t.Errorf("%v is a protocol of the language", p)
		}
	}
	for _, f := range Fields() {
		if strings.HasPrefix(f.Name, "quoted_") || f.Proto.IsQuoted() {
			t.Errorf("%s is a field of the language", f.Name)
		}
	}
}

// TestQuotedCovers: by hand, the checksums in the quote that cover a field, and that of the message,
// which covers all of it.
func TestQuotedCovers(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]Cover{
		"ip_src":     {{"quoted_ip_check", false, 1}, {"quoted_tcp_check", true, 1}, {"quoted_udp_check", true, 1}, {"icmp_check", false, 1}},
		"ip_ttl":     {{"quoted_ip_check", false, 256}, {"icmp_check", false, 256}},
		"ip_check":   {{"icmp_check", false, 1}},
		"ip6_src":    {{"quoted_tcp_check", true, 1}, {"quoted_udp_check", true, 1}, {"quoted_icmp6_check", true, 1}, {"icmp6_check", false, 1}},
		"udp_dest":   {{"quoted_udp_check", false, 1}, {"icmp_check", false, 1}, {"icmp6_check", false, 1}},
		"icmp_id":    {{"quoted_icmp_check", false, 1}, {"icmp_check", false, 1}},
		"icmp6_type": {{"quoted_icmp6_check", false, 256}, {"icmp6_check", false, 256}},
	} {
		if got := Quoted(MustByName(name)).Covers; !slices.Equal(got, want) {
			t.Errorf("the twin of %s is covered by %v, want %v", name, got, want)
		}
	}
}
