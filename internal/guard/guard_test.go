package guard

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// ssh is a session from 192.0.2.7 to this machine, on an interface that is known.
func ssh() Connection {
	return Connection{
		Name: "the ssh session", Protocol: field.TCP, Established: true,
		Here: netip.MustParseAddrPort("192.0.2.1:22"), There: netip.MustParseAddrPort("192.0.2.7:51234"),
		Link: Link{Ethernet: true, Tags: [][]uint16{{}}, NextHop: netip.MustParseAddr("192.0.2.254"), Own: macOf(1), Hop: macOf(2), From: macOf(2)},
	}
}

// ssh6 is the same over IPv6.
func ssh6() Connection {
	c := ssh()
	c.Here, c.There = netip.MustParseAddrPort("[2001:db8::1]:22"), netip.MustParseAddrPort("[2001:db8:7::7]:51234")
	c.Link.NextHop = netip.MustParseAddr("fe80::fe")
	return c
}

func macOf(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }

func tagged(c Connection, ids ...uint16) Connection {
	c.Link.Tags = [][]uint16{ids}
	return c
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		rules  string
		c      Connection
		leaves bool
		want   string // the message, "" if the connection survives
	}{
		// The classic mistakes.
		{"if all then drop", ssh(), false, "rule 1 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if all then drop", ssh(), true, "rule 1 would drop the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if all then drop", ssh6(), false, "rule 1 would drop the ssh session: tcp 2001:db8:7::7.51234 > 2001:db8::1.22"},
		{"if tcp_dest 80 or arp then pass else drop", ssh(), false, "rule 2 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp_dest 80 or icmp6 then pass else drop", ssh6(), false, "rule 2 would drop the ssh session: tcp 2001:db8:7::7.51234 > 2001:db8::1.22"},
		{"if tcp_dest 22 then pass else drop", ssh(), false, "rule 2 would drop ARP of the ssh session: arp 192.0.2.254 > 192.0.2.1"},
		{"if tcp_dest 22 then pass else drop", ssh6(), false, "rule 2 would drop neighbor discovery of the ssh session: icmp6 fe80::fe > 2001:db8::1, neighbor discovery"},
		{"if tcp_src 22 then pass else drop", ssh(), true, "rule 2 would drop ARP of the ssh session: arp 192.0.2.1 > 192.0.2.254"},
		{"if tcp_dest 22 then tcp_dest 2222", ssh(), false, "rule 1 would change tcp_dest of the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp_src 22 then tcp_src 2222", ssh6(), true, "rule 1 would change tcp_src of the ssh session: tcp 2001:db8::1.22 > 2001:db8:7::7.51234"},
		{"if dport 1-1024 then dport +1000", ssh(), false, "rule 1 would change tcp_dest of the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if ip_src 192.0.2.0/24 then ip_src 10.0.0.0/24", ssh(), false, "rule 1 would change ip_src of the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if ip6_dest 2001:db8:7::/48 then ip6_dest 2001:db8:8::/48", ssh6(), true, "rule 1 would change ip6_dest of the ssh session: tcp 2001:db8::1.22 > 2001:db8:7::7.51234"},
		{"if arp_spa 192.0.2.254 then arp_spa 192.0.2.9", ssh(), false, "rule 1 would change arp_spa of ARP of the ssh session: arp 192.0.2.254 > 192.0.2.1"},
		{"if all then ip_ttl 1", ssh(), true, "rule 1 would change ip_ttl of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if all then ttl 1", ssh6(), true, "rule 1 would change ip6_hlim of the ssh session: tcp 2001:db8::1.22 > 2001:db8:7::7.51234"},
		{"if vlan_id 7 then vlan_id 8", tagged(ssh(), 7), false, "rule 1 would change vlan_id of the ssh session: vlan 7, tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if vlan then drop", tagged(ssh6(), 7, 8), true, "rule 1 would drop the ssh session: vlan 7, vlan 8, tcp 2001:db8::1.22 > 2001:db8:7::7.51234"},

		// Other harm.
		{"if all then reflect", ssh(), false, "rule 1 would reflect the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp then redirect eth2", ssh(), false, "rule 1 would redirect the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp then swap eth", ssh(), false, "rule 1 would swap the eth ends of the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp chance 1% then drop", ssh(), false, "rule 1 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp chance 1% then pass else drop", ssh(), false, "rule 2 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if not chance 99% then drop", ssh(), false, "rule 1 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if arp then drop", ssh(), false, "rule 1 would drop ARP of the ssh session: arp 192.0.2.254 > 192.0.2.1"},
		{"if icmp6 then drop", ssh6(), false, "rule 1 would drop neighbor discovery of the ssh session: icmp6 fe80::fe > 2001:db8::1, neighbor discovery"},
		{"if ip6 then ip6_hlim 64", ssh6(), true, "rule 1 would change ip6_hlim of neighbor discovery of the ssh session: icmp6 2001:db8::1 > fe80::fe, neighbor discovery"},
		{"if eth_src 02:00:00:00:00:02 then drop", ssh(), false, "rule 1 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if ip_flag_df off then ip_flag_df on", ssh(), true, "rule 1 would change ip_flag_df of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if tcp then ip_dscp ef ip_check ip_check", ssh(), true, "rule 1 would change ip_check of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if tcp then tcp_check bad", ssh(), true, "rule 1 would change tcp_check of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if tcp then ip_ttl -1", ssh(), false, "rule 1 would change ip_ttl of the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if ip_tot_len lt 60 then drop", ssh(), false, "rule 1 would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"mine: if tcp_rst on then drop", ssh(), false, "rule mine would drop the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},
		{"if tcp_dest 443 then tcp_dest 22 replies", ssh(), false, "replies to rule 1 would change tcp_src of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if tcp_dest 8000-8099 then tcp_dest 22 replies tracked", ssh(), false, "replies to rule 1 would change tcp_src of the ssh session: tcp 192.0.2.1.22 > 192.0.2.7.51234"},
		{"if tcp_dest 20-30 then tcp_dest 443 replies tracked", ssh(), false, "rule 1 would change tcp_dest of the ssh session: tcp 192.0.2.7.51234 > 192.0.2.1.22"},

		// Rules that a connection survives.
		{"if udp then drop", ssh(), false, ""},
		{"if udp_dest 443 then udp_dest 8080", ssh(), false, ""},
		{"if tcp_dest 22 or arp or icmp6 then pass else drop", ssh(), false, ""},
		{"if tcp_dest 22 or arp or icmp6 then pass else drop", ssh6(), false, ""},
		{"if tcp_src 22 or arp or icmp6 then pass else drop", ssh6(), true, ""},
		{"if tcp_dest 22 then pass else if ip or ip6 then drop", ssh(), false, ""},
		{"if ip_src 192.0.2.7 then pass else if tcp then drop", ssh(), false, ""},
		{"if ip_src 192.0.2.8 then drop", ssh(), false, ""},
		{"if tcp then ip_dscp ef ip_ecn 0", ssh(), true, ""},
		{"if ip6 then ip6_flow hash", ssh6(), true, ""},
		{"if ip then ip_tos 0", ssh(), true, ""},
		{"if all then ip_ttl 64", ssh(), true, ""},
		{"if all then ip_ttl atleast 32", ssh(), false, ""},
		{"if ip_ttl gt 64 then ip_ttl -1", ssh(), false, ""},
		{"if ip_ttl gt 64 then ip_ttl random 32-255", ssh(), false, ""},
		{"if tcp or udp then ttl 65", ssh6(), true, ""},
		{"if ip then ip_flag_df off", ssh(), true, ""},
		{"if ip then ip_flags 0", ssh(), true, ""},
		{"if tcp then tcp_check fix", ssh(), true, ""},
		{"if tcp_dest 22 then tcp_dest 22", ssh(), false, ""},
		{"if tcp then ip_ver 4 ip_hl 5", ssh(), true, ""},
		{"if tcp_dest 22 then tcp_dest atmost 22", ssh(), false, ""},
		{"if ip_src 192.0.2.7 then ip_src 192.0.2.0/24", ssh(), false, ""},
		{"if tcp_syn on and tcp_mss ge 1361 then tcp_mss atmost 1360", ssh(), true, ""},
		{"if ip_offset gt 0 then drop", ssh(), false, ""},
		{"if vlan_id 100 then vlan_id 200", ssh(), false, ""},
		{"if vlan_id 100 then vlan_id 200", tagged(ssh(), 7), false, ""},
		{"if cvlan then drop", tagged(ssh(), 7), false, ""},
		{"if arp_spa 192.0.2.9 then drop", ssh(), false, ""},
		{"if arp then drop", ssh6(), false, ""},
		{"if icmp then drop", ssh6(), false, ""},
		{"if icmp6 then drop", ssh(), false, ""},
		{"if icmp6_type 128 then drop", ssh6(), false, ""},
		{"if eth_src 02:00:00:00:00:09 then drop", ssh(), false, ""},
		{"if tcp_dest 443 then tcp_dest 8080 replies", ssh(), false, ""},
		{"if tcp_dest 20000-50000 then tcp_dest 443 replies tracked", ssh(), false, ""},
		{"if udp_dest 20000-50000 then udp_dest 22 replies tracked", ssh(), false, ""},
	}
	for _, test := range tests {
		p, err := rule.Check(test.rules)
		if err != nil {
			t.Fatalf("%s: %v", test.rules, err)
		}
		got := ""
		if d := Check(p, test.leaves, []Connection{test.c}); d != nil {
			got = d.Msg
		}
		if got != test.want {
			t.Errorf("%s, leaves %v:\ngot  %s\nwant %s", test.rules, test.leaves, got, test.want)
		}
		if test.want != "" && !Harmful(p) {
			t.Errorf("%s is harmful", test.rules)
		}
	}
}

// TestHarmful: rules that no connection depends on need no connection to be looked for.
func TestHarmful(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"if tcp_dest 22":                        false,
		"if tcp then pass":                      false,
		"if all then ip_ttl 64":                 false,
		"if ip6 then ip6_flow hash ip6_dscp ef": false,
		"if ip then ip_flag_df off":             false,
		"if ip then ip_ttl 31":                  true,
		"if ip6 then ip6_hlim 64":               true,
		"if ip_ttl gt 9 then drop":              true,
		"if udp_dest 5 then udp_dest 6 replies": true,
	} {
		p, err := rule.Check(text)
		if err != nil {
			t.Fatal(err)
		}
		if Harmful(p) != want {
			t.Errorf("%s: harmful %v", text, !want)
		}
	}
}

// TestProtected: without an interface nothing is known of tags and neighbors.
func TestProtected(t *testing.T) {
	t.Parallel()
	tests := []struct {
		end   string
		here  bool
		rules string
		want  string
	}{
		{"192.0.2.9:5432", false, "if tcp_src 5432 then drop", "tcp 192.0.2.9.5432 > any"},
		{"192.0.2.9:5432", true, "if tcp_dest 5432 then drop", "tcp any > 192.0.2.9.5432"},
		{"192.0.2.9:5432", false, "if udp then drop", "udp 192.0.2.9.5432 > any"},
		{"192.0.2.9:5432", false, "if vlan then drop", "tcp 192.0.2.9.5432 > any"},
		{"192.0.2.9:5432", false, "if arp then drop", "arp any > any"},
		{"192.0.2.9:5432", true, "if arp then drop", "arp any > 192.0.2.9"},
		{"192.0.2.9:5432", false, "if tcp_syn on then drop", "tcp 192.0.2.9.5432 > any"},
		{"192.0.2.9:5432", false, "if ip_src 192.0.2.8 then drop", ""},
		{"192.0.2.9:5432", true, "if ip_src 192.0.2.8 then drop", "tcp any > 192.0.2.9.5432"},
		{"192.0.2.9:5432", true, "if tcp_dest 5433 then drop", ""},
		{"192.0.2.9:5432", false, "if icmp then drop", ""},
		{"192.0.2.9", false, "if icmp then drop", "ip 192.0.2.9 > any"},
		{"192.0.2.9", false, "if ip_offset gt 0 then drop", "ip 192.0.2.9 > any"},
		{"192.0.2.9", false, "if icmp6 then drop", ""},
		{"2001:db8::9", false, "if udp then drop", "ip6 2001:db8::9 > any"},
		{"2001:db8::9", true, "if udp then drop", "ip6 any > 2001:db8::9"},
		{"[2001:db8::9]:53", false, "if icmp6_type 135 then drop", "icmp6 any > any, neighbor discovery"},
		{"[2001:db8::9]:53", true, "if icmp6_type 135 then drop", "icmp6 any > 2001:db8::9, neighbor discovery"},
		{"[2001:db8::9]:53", true, "if ip6_dest 2001:db8::8 then drop", ""},
		{"[2001:db8::9]:53", false, "if arp then drop", ""},
	}
	for _, test := range tests {
		p, err := rule.Check(test.rules)
		if err != nil {
			t.Fatal(err)
		}
		var e End
		if at, err := netip.ParseAddrPort(test.end); err == nil {
			e = End{at.Addr(), at.Port()}
		} else {
			e.Addr = netip.MustParseAddr(test.end)
		}
		got := ""
		if d := Check(p, false, e.Connections(test.here)); d != nil {
			_, got, _ = strings.Cut(d.Msg, e.String()+": ")
		}
		if got != test.want {
			t.Errorf("%s, here %v, %s: got %q, want %q", test.end, test.here, test.rules, got, test.want)
		}
	}
}

// TestRows: rules from a file are held against the connection row by row.
func TestRows(t *testing.T) {
	t.Parallel()
	const sheet = "port,to,hops\n443,8443,64\n22,2222,9\n80,8080,1\n"
	for text, want := range map[string]string{
		"if tcp_dest @port then tcp_dest @to from ports.csv":                          "tcp 192.0.2.7.51234 > 192.0.2.1.22",
		"if tcp_dest @port and tcp_src 1-1023 then tcp_dest @to from ports.csv":       "",
		"if udp_dest @port then udp_dest @to from ports.csv":                          "",
		"if tcp_dest @to then tcp_dest @port from ports.csv":                          "",
		"if tcp_dest ne @port then drop from ports.csv":                               "tcp 192.0.2.7.51234 > 192.0.2.1.22",
		"if tcp_dest @port then ip_ttl @hops from ports.csv":                          "tcp 192.0.2.7.51234 > 192.0.2.1.22",
		"if tcp_dest 22 or tcp_dest @port then pass from ports.csv if tcp then drop":  "",
		"if tcp_dest @port then pass from ports.csv if tcp then drop":                 "",
		"if tcp_dest @to then pass from ports.csv if tcp then drop":                   "tcp 192.0.2.7.51234 > 192.0.2.1.22",
		"if tcp_src @to and tcp_dest @port then pass from ports.csv if tcp then drop": "tcp 192.0.2.7.51234 > 192.0.2.1.22",
	} {
		p, err := rule.CheckWith(text, rule.Options{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(sheet)), nil }})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := ""
		if d := Check(p, false, []Connection{ssh()}); d != nil {
			_, got, _ = strings.Cut(d.Msg, "the ssh session: ")
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// TestManyRows: of many rows only those are looked at that the connection can meet.
func TestManyRows(t *testing.T) {
	t.Parallel()
	var sheet strings.Builder
	sheet.WriteString("address\n")
	for i := range 60000 {
		fmt.Fprintf(&sheet, "10.1.%d.%d\n", i>>8, i&255)
	}
	for text, want := range map[string]bool{
		"if ip_src @address then drop from many.csv":                                    false,
		"if ip_src @address or tcp_dest 22 then drop from many.csv":                     true,
		"if not ip_src @address then drop from many.csv":                                true,
		"if ip_src @address then pass from many.csv if ip_src 10.1.0.0/17 then drop":    false,
		"if ip_dest @address then pass from many.csv if ip_src 192.0.2.0/24 then ttl 9": true,
	} {
		p, err := rule.CheckWith(text, rule.Options{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(sheet.String())), nil }})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := Check(p, false, []Connection{ssh()}) != nil; got != want {
			t.Errorf("%s: refused %v", text, got)
		}
	}
	// A connection whose other end is not known may meet all of them.
	p, err := rule.CheckWith("if ip_src @address then drop from many.csv", rule.Options{Open: func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(sheet.String())), nil }})
	if err != nil {
		t.Fatal(err)
	}
	any := ssh()
	any.There = netip.AddrPortFrom(Any(any.There.Addr()), 0)
	if Check(p, false, []Connection{any}) == nil {
		t.Error("nobody knows where the connection comes from, and the rule is let through")
	}
}
