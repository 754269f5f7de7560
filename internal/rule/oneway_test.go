package rule

import "testing"

// TestOneWay: rules that change an end of TCP connections in one direction only are told, with
// replies where there is an inverse, else with the way back where that is known.
func TestOneWay(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"if tcp_dest 443 then tcp_dest 8443":                                   "the other direction gets the old value back: if tcp_dest 443 then tcp_dest 8443 replies",
		"if dport 443 then dport 8443":                                         "the other direction gets the old value back: if dport 443 then dport 8443 replies",
		"if ip_dest 192.0.2.1 then ip_dest 192.0.2.2":                          "the other direction gets the old value back: if ip_dest 192.0.2.1 then ip_dest 192.0.2.2 replies",
		"if tcp ip_dest 10.0.0.0/8 then ip_dest 192.0.0.0/8":                   "the other direction gets the old value back: if tcp ip_dest 10.0.0.0/8 then ip_dest 192.0.0.0/8 replies",
		"if tcp_dest 443 ip_ttl 5 or tcp_dest 444 then tcp_dest 8443":          "the other direction gets the old value back: if tcp_dest 443 ip_ttl 5 or tcp_dest 444 then tcp_dest 8443 replies tracked",
		"if tcp_dest 443 then tcp_dest 8443 replies":                           "",
		"if tcp_syn on then tcp_src random":                                    "the other direction gets the old value back: if tcp_syn on then tcp_src random replies tracked",
		"if tcp then swap eth, tcp_dest 1":                                     "a rule for tcp_src in packets of the other direction is the way back",
		"if udp_dest 443 then udp_dest 8443":                                   "",
		"if udp ip_dest 192.0.2.1 then ip_dest 192.0.2.2":                      "",
		"if tcp_dest 443 then tcp_dest 8443; if tcp_src 8443 then tcp_src 443": "",
		"if tcp_dest 7 then swap tcp":                                          "",
		"if tcp_dest 7 then tcp_dest tcp_src":                                  "",
		"if tcp_dest 7 then tcp_dest +0":                                       "",
		"if tcp_dest 7 then ip_dscp ef":                                        "",
		"if tcp_dest 7":                                                        "",
	} {
		p, err := Check(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		got := ""
		if p.OneWay != nil {
			got = p.OneWay.Hint
		}
		if got != want {
			t.Errorf("%s: %q, want %q", written, got, want)
		}
	}
}
