package rule

import "testing"

// TestOneWay: rules that change an end of TCP connections in one direction only are told, with
// the way back where it is known.
func TestOneWay(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"if tcp_dest 443 then tcp_dest 8443":                                   "the way back, for the other direction: if tcp_src 8443 then tcp_src 443",
		"if dport 443 then dport 8443":                                         "the way back, for the other direction: if tcp_src 8443 then tcp_src 443",
		"if ip_dest 192.0.2.1 then ip_dest 192.0.2.2":                          "the way back, for the other direction: if ip_src 192.0.2.2 then ip_src 192.0.2.1",
		"if tcp ip_dest 10.0.0.0/8 then ip_dest 192.0.0.0/8":                   "a rule for ip_src in packets of the other direction is the way back",
		"if tcp_syn on then tcp_src random":                                    "a rule for tcp_dest in packets of the other direction is the way back",
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
