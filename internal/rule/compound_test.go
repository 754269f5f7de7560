package rule

import (
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// TestProtocolAndFieldWithBlank: a field whose name is written with a blank, by any of its
// spellings, is that field, in tests, in actions and as an operand.
func TestProtocolAndFieldWithBlank(t *testing.T) {
	t.Parallel()
	for _, f := range field.Fields() {
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			prefix, rest, _ := strings.Cut(name, "_")
			if f.Proto.Header().Name == "" {
				continue
			}
			value := syntax.Example(f)
			for _, form := range []string{
				"if NAME VALUE", "if not (NAME VALUE)", "if PROTO or NAME VALUE", "if NAME VALUE and NAME ne VALUE or NAME VALUE",
				"if all then NAME VALUE", "if all then set NAME VALUE", "if all then NAME set VALUE", "if all then NAME = VALUE", "if all then NAME NAME",
				"if PROTO then NAME VALUE", "if PROTO else NAME VALUE", "if PROTO else set NAME VALUE",
			} {
				if _, value := f.Names.Lookup(prefix); value && strings.Contains(form, "NAME NAME") {
					continue // vlan is a value of vlan_type
				}
				write := func(name string) string {
					return strings.NewReplacer("NAME", name, "VALUE", value, "PROTO", prefix).Replace(form)
				}
				want, wantErr := Check(write(name))
				got, err := Check(write(prefix + " " + rest))
				switch {
				case wantErr != nil && err != nil: // a field that no rule can set
				case wantErr != nil || err != nil:
					t.Errorf("%s: %v, with a blank: %v", write(name), wantErr, err)
				case reprint(got) != reprint(want):
					t.Errorf("%s is %s, with a blank %s", write(name), reprint(want), reprint(got))
				}
			}
		}
	}
}

// TestProtocolBesideField: where a protocol has a meaning of its own it keeps it.
func TestProtocolBesideField(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"if udp then swap ip dport 53":                  "if udp then udp_dest 53, swap ip",
		"if udp then swap ip ttl 5":                     "if udp then ip_ttl 5, swap ip",
		"if ip_protocol udp dport 53":                   "if ip_protocol udp and (tcp_dest 53 or udp_dest 53)",
		"if ip_protocol eq tcp,udp dport 53":            "if ip_protocol tcp,udp and (tcp_dest 53 or udp_dest 53)",
		"if eth_type arp op 1":                          "",
		"if ip ttl 5 udp dport 53 then ip ttl 6":        "if ip_ttl 5 and udp_dest 53 then ip_ttl 6",
		"if udp then redirect ip ttl 5":                 "",
		"if all then ip_src ip daddr udp sport 5":       "if all then ip_src ip_dest, udp_src 5",
		"if all then ip_protocol ip_ttl udp dport 53":   "if all then ip_protocol ip_ttl, udp_dest 53",
		"if all then udp_src random udp dport 53":       "if all then udp_src random, udp_dest 53",
		"if udp then ip_protocol random udp dport 53":   "if udp then ip_protocol random, udp_dest 53",
		"if all then ip ttl atmost 60 udp dport 53":     "if all then ip_ttl atmost 60, udp_dest 53",
		"if not udp and dport 53":                       "if not udp and (tcp_dest 53 or udp_dest 53)",
		"udp: if tcp dport 22 then pass tcp: if tcp":    "if tcp_dest 22 else if tcp",
		"if IP TTL 64 and Udp.DPORT 5 then IP Id 7":     "if ip_ttl 64 and udp_dest 5 then ip_id 7",
		"if vlan id 5 or icmp type 8 then set ip ttl 5": "if vlan_id 5 or icmp_type echo-request then ip_ttl 5",
		"if tcp flags syn then tcp window set 0":        "if tcp_flags syn then tcp_window 0",
	} {
		p, err := Check(written)
		switch {
		case want == "" && written == "if udp then redirect ip ttl 5":
			if err != nil || p.Rules[0].Redirect != "ip" {
				t.Errorf("%s: %v", written, err)
			}
		case want == "":
			if err == nil {
				t.Errorf("%s is %s", written, reprint(p))
			}
		case err != nil:
			t.Errorf("%s: %v", written, err)
		default:
			if got := reprint(p); got != want {
				t.Errorf("%s is %s, want %s", written, got, want)
			}
		}
	}
}

// TestNotBeforeProtocolAndField: behind not there are two meanings, and both are told.
func TestNotBeforeProtocolAndField(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"if not udp dport 53": "if not udp_dport 53|if not udp and dport 53",
		"if not ip ttl 5":     "if not ip_ttl 5|if not ip and ttl 5",
		"if not vlan id 5":    "if not vlan_id 5",
	} {
		if got := strings.Join(fixesOf(written), "|"); got != want {
			t.Errorf("%s leads to %s, want %s", written, got, want)
		}
	}
}
