package rule

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// TestPossible holds what semantics.md 3.6 lets a packet have.
func TestPossible(t *testing.T) {
	t.Parallel()
	for _, cond := range []string{
		"not eth", "not eth ip", "not eth udp ip6", "not eth ip_ver 4", "eth ip_ver 5", "not eth icmp6",
		"tcp", "tcp not ip", "tcp not ip6", "tcp vlan cvlan", "arp vlan cvlan", "ip6 udp", "cvlan ip6 tcp tcp_mss 5",
		"ip_protocol 6 not tcp", "ip_protocol 6 ip_ver 4 ip_hl 5 ip_offset 0 not tcp", "eth_type ipv4 not ip", "eth_type vlan not vlan",
		"eth_type vlan ip", "eth_type qinq vlan_type vlan cvlan_type ipv6 ip6", "vlan not ip not ip6 not arp",
		"ip6_next 0 tcp", "ip6_next 43 udp", "ip6_next 44 icmp6", "ip6_next 60 tcp", "ip6_next 6 tcp", "ip6_len 0 udp", "ip6_len 8 udp",
		"ip6_len 4 icmp6", "tcp_hlen 6 tcp_mss 5", "tcp_hlen 4 tcp", "ip_tot_len 0 tcp_mss 5", "ip_tot_len 44 tcp_mss 5", "ip6_len 24 tcp_mss 5",
		"icmp_type 0,8,13,14 icmp_id 5", "icmp_type 3 not icmp_id 5", "icmp_type 13 icmp_seq 5", "tcp_flags syn tcp_syn on tcp_nonce on",
		"tcp_flags 0-1 tcp_ack off", "ip_protocol 17 not udp ip", "(ip_protocol 17 or ip6) tcp", "ip_hl 4 ip", "ip_offset 5 not udp",
	} {
		if _, err := Check("if " + cond); err != nil {
			t.Errorf("%s: %v", cond, err)
		}
	}
}

// TestImpossible holds what it lets no packet have.
func TestImpossible(t *testing.T) {
	t.Parallel()
	for _, cond := range []string{
		"ip tcp ip6_hlim 5", "arp udp", "icmp ip6", "icmp6 ip", "cvlan not vlan", "vlan not eth", "arp not eth", "cvlan not eth",
		"tcp_mss 5 udp", "tcp_mss 5 not tcp", "ip_protocol 17 tcp ip", "ip_protocol 17 tcp", "ip ip6", "arp ip", "arp ip6", "tcp not ip not ip6",
		"icmp not ip", "icmp6 not ip6", "not eth ip_ver 5", "not eth ip_ver 6 ip_hl 5", "not eth arp",
		"eth_type ipv4 vlan", "eth_type ipv4 ip6", "eth_type arp ip", "vlan_type ipv4 ip6", "vlan_type ipv4 arp", "vlan_type vlan ip not cvlan",
		"cvlan_type vlan ip", "cvlan_type vlan tcp", "eth_type ipv6 tcp ip", "eth_type 0x1234 tcp eth",
		"ip6_next 17 tcp", "ip6_next 59 udp", "ip6_next 50 icmp6", "ip6_len 3 icmp6", "ip6_len 7 udp", "ip6_len 19 tcp", "ip6_len 23 tcp_mss 5",
		"tcp_hlen 5 tcp_mss 5", "ip_tot_len 43 tcp_mss 5", "icmp_type 3 icmp_id 5", "icmp_type 15 icmp_seq 5", "icmp_id 5 not icmp",
		"tcp_flags syn tcp_ack on", "tcp_flags 0 (tcp_syn on or tcp_fin on)", "ip6_src ::/1 ip6_src 8000::", "eth_src 02:00:00:00:00:00/24 eth_src 03:00:00:00:00:00",
		"ttl 5 arp", "dscp 1 not ip not ip6",
	} {
		if _, err := Check("if " + cond); err == nil {
			t.Errorf("%s: nothing can match that", cond)
		}
	}
}

// TestCertain: what one rule leaves for the next is exact, for all headers.
func TestCertain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		early, late string
		covered     bool
	}{
		{"ip_protocol 6", "tcp_dest 80 ip", true},
		{"ip_protocol 6", "tcp_dest 80", false},
		{"tcp_dest 80", "tcp_dest 80 ip_protocol 6", true},
		{"ip or ip6", "udp", true},
		{"ip", "udp", false},
		{"ip or ip6 or arp", "tcp or icmp6 or arp_op 1", true},
		{"vlan", "cvlan_id 5", true},
		{"eth_type vlan,qinq", "vlan_id 7 tcp", true},
		{"eth_type vlan", "vlan_id 7 tcp", false},
		{"tcp", "tcp_mss 5", true},
		{"tcp_hlen ge 6", "tcp_mss 5", true},
		{"tcp_hlen ge 7", "tcp_mss 5", false},
		{"icmp_type 0,8,13,14", "icmp_id 5", true},
		{"icmp_type 0,8,13", "icmp_id 5", false},
		{"not icmp_id 5", "icmp_type 3", true},
		{"not icmp_id 5", "icmp_type 8", false},
		{"tcp_syn on", "tcp_flags syn-ack", true},
		{"ttl 5", "ip6_hlim 5", true},
		{"dport 53", "udp_dest 53 ip6", true},
		{"ip6_next 0,6,43,44,60", "tcp ip6", true},
		{"ip6_next 6", "tcp ip6", false},
		{"eth", "arp", true},
		{"eth", "ip", false},
		{"ip6_src 2001:db8::/32", "ip6_src 2001:db8:1::/48 udp", true},
		{"eth_src 02:00:00:00:00:00/16", "eth_src 02:00:ff:00:00:01", true},
	} {
		p := mustCheck(t, "if "+c.early+" then pass\nif "+c.late)
		got := slices.ContainsFunc(p.Warnings, func(w *syntax.Diagnostic) bool { return strings.HasPrefix(w.Msg, "never acts") })
		if got != c.covered {
			t.Errorf("%s takes all of %s: got %v, want %v", c.early, c.late, got, c.covered)
		}
	}
}

// TestCommonRules: the rules that people ask for have no odd side.
func TestCommonRules(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"if ip_src 10.20.0.0/16 then ip_dscp af31",
		"if all then dscp 0",
		"if ecn ect0,ect1 chance 5% then ecn ce",
		"if all then ttl 65",
		"if all then ip_ttl atmost 60",
		"if tcp_syn on then tcp_mss atmost 1360",
		"if ip_flag_df on then ip_flag_df off",
		"if dport 53 then dport 5353",
		"if udp_dest 20000-50000 then udp_dest 443",
		"if tcp_dest 8000-8099 then tcp_dest +1000",
		"if ip_dest 203.0.113.0/24 then ip_dest 10.1.2.0/24",
		"if udp_dest 5201 then ip_src random 10.0.0.0/8",
		"if vlan_id 100 then vlan_id 200",
		"if udp_dest 7 then swap eth swap ip swap udp reflect",
		"if icmp_type echo-request then icmp_type echo-reply swap eth swap ip reflect",
		"if udp_dest 53 chance 1/100 then udp_check bad",
		"if udp then udp_check fix",
		"if tcp_src 80 tcp_syn off then tcp_window 0",
		"if tcp_dest 443 tcp_psh on then tcp_rst on",
		"if tcp_syn on tcp_ack off chance 5% then drop",
		"if tcp_dest 22 or arp then pass else drop",
	} {
		p := mustCheck(t, source)
		if len(p.Warnings) > 0 && source != spoilingExample {
			t.Errorf("%s: %s", source, p.Warnings[0].Format())
		}
		checkReprint(t, source, p)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for source, want := range map[string][]Rule{
		"if udp":                       {{}},
		"if udp then pass":             {{}},
		"if udp then drop":             {{Verdict: Drop}},
		"if udp then REFLECT":          {{Verdict: Reflect}},
		"if udp then redirect Eth1":    {{Verdict: ToInterface, Redirect: "Eth1"}},
		"if udp then redirect drop":    {{Verdict: ToInterface, Redirect: "drop"}},
		"if udp then redirect è":       {{Verdict: ToInterface, Redirect: "è"}},
		"if udp then redirect a;":      {{Verdict: ToInterface, Redirect: "a"}},
		"if udp else redirect if":      {{}, {Verdict: ToInterface, Redirect: "if"}},
		"if udp then pass else drop ;": {{}, {Verdict: Drop}},
	} {
		p := mustCheck(t, source)
		var got []Rule
		verdicts := false
		for _, r := range p.Rules {
			got = append(got, Rule{Verdict: r.Verdict, Redirect: r.Redirect})
			verdicts = verdicts || r.Verdict != Pass
			if look := p.Written[r.Index].DryRun; look != (r.Verdict == Pass) {
				t.Errorf("%s: rule %d looks only: %v", source, r.Index+1, look)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (- want, + got)\n%s", source, diff)
		}
		if p.Verdicts() != verdicts {
			t.Errorf("%s: verdicts: %v, want %v", source, p.Verdicts(), verdicts)
		}
	}
}

func TestClosing(t *testing.T) {
	t.Parallel()
	const source = "ssh: if tcp_dest 22 then pass  else  ttl 5,  reflect ;"
	p := mustCheck(t, source)
	want := []Written{
		{Name: "ssh", Text: "if tcp_dest 22 then pass", Span: Span{Start: 0, End: 29}, DryRun: true},
		{Text: "else ttl 5, reflect", Span: Span{Start: 31, End: strings.Index(source, " ;")}, Verdict: Reflect},
	}
	if diff := cmp.Diff(want, p.Written, cmpopts.IgnoreFields(Written{}, "Cond")); diff != "" {
		t.Errorf("(- want, + got)\n%s", diff)
	}
	if len(p.Rules) != 3 || p.Rules[1].Index != 1 || p.Rules[2].Index != 1 {
		t.Fatalf("rules: %+v", p.Rules)
	}
	if _, all := p.Rules[1].Cond.(All); !all {
		t.Errorf("the condition of the last else is %T", p.Rules[1].Cond)
	}
}

// TestSwaps: each copy of a rule swaps the same headers.
func TestSwaps(t *testing.T) {
	t.Parallel()
	p := mustCheck(t, "if all then ttl 5 swap eth, swap udp and reflect")
	if len(p.Rules) != 2 {
		t.Fatalf("rules: %+v", p.Rules)
	}
	for _, r := range p.Rules {
		want := []Swap{{Proto: field.Eth}, {Proto: field.UDP}}
		if diff := cmp.Diff(want, r.Swaps, same); diff != "" || r.Verdict != Reflect || len(r.Actions) != 1 {
			t.Errorf("%+v\n%s", r, diff)
		}
	}
}

// TestOnly: a field that is there only on some messages is found on these
// only, in tests and where it is set (RFC 792: echo 8 and 0, timestamp 13, 14).
func TestOnly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := frame{has: map[field.Protocol]bool{field.IP: true, field.ICMP: true}, bytes: map[field.Protocol][]byte{field.ICMP: make([]byte, 8)}}
		kind, id := rapid.ByteRange(0, 20).Draw(t, "type"), rapid.ByteRange(0, 1).Draw(t, "id")
		p.bytes[field.ICMP][0], p.bytes[field.ICMP][5] = kind, id
		there := kind == 0 || kind == 8 || kind == 13 || kind == 14
		for source, want := range map[string]bool{
			"if icmp_id 1":                       there && id == 1,
			"if not icmp_id 1":                   !there || id != 1,
			"if icmp_id ne 1":                    there && id != 1,
			"if icmp_id 1 or icmp_id 0":          there,
			"if not (icmp_id 1 icmp_seq 0)":      !there || id != 1,
			"if all then icmp_id 5":              there,
			"if icmp then icmp_seq 5":            there,
			"if icmp or tcp then icmp_id 5":      there,
			"if not icmp_id 1 then icmp_id 5":    there && id != 1,
			"if icmp then icmp_code 0":           true,
			"if icmp_seq 0 then icmp_type 3":     there,
			"if icmp else icmp_seq 0, icmp_id 1": true,
		} {
			prog, err := Check(source)
			if err != nil {
				t.Fatalf("%s: %v", source, err)
			}
			if got := acts(prog.Rules[0], p); got != want {
				t.Fatalf("%s on type %d, id %d: %v, want %v", source, kind, id, got, want)
			}
		}
	})
}

// TestOnlyOnce: the guards of two fields of one kind are one.
func TestOnlyOnce(t *testing.T) {
	t.Parallel()
	r := mustCheck(t, "if ip_ttl 5 then icmp_id 5 icmp_seq 6").Rules[0]
	and, ok := r.Cond.(And)
	if !ok || len(and.X) != 2 {
		t.Fatalf("%+v", r.Cond)
	}
	guard := and.X[1].(Test)
	if guard.Field.Name != "icmp_type" || !guard.In.Equal(field.MustByName("icmp_id").Only.In) {
		t.Errorf("%+v", guard)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]field.Range{
		"eth_src aa:bb:cc:dd:ee:ff":                       {Lo: field.V(0xaabbccddeeff), Hi: field.V(0xaabbccddeeff)},
		"eth_src AA-BB-CC-DD-EE-0f":                       {Lo: field.V(0xaabbccddee0f), Hi: field.V(0xaabbccddee0f)},
		"eth_src 01:00:5e:00:00:00/25":                    {Lo: field.V(0x01005e000000), Hi: field.V(0x01005e7fffff)},
		"eth_src 01-00-5e-00-00-00/25":                    {Lo: field.V(0x01005e000000), Hi: field.V(0x01005e7fffff)},
		"eth_src 00:00:00:00:00:05-00:00:00:00:01:00":     {Lo: field.V(5), Hi: field.V(256)},
		"ip6_src ::1":                                     {Lo: field.V(1), Hi: field.V(1)},
		"ip6_src 2001:db8::/32":                           {Lo: field.Value{Hi: 0x20010db8 << 32}, Hi: field.Value{Hi: 0x20010db8ffffffff, Lo: 1<<64 - 1}},
		"ip6_src fe80::-fe80::1:0":                        {Lo: field.Value{Hi: 0xfe80 << 48}, Hi: field.Value{Hi: 0xfe80 << 48, Lo: 1 << 16}},
		"ip6_src ::ffff:10.0.0.1":                         {Lo: field.V(0xffff0a000001), Hi: field.V(0xffff0a000001)},
		"ip6_src ::ffff:10.0.0.0/104":                     {Lo: field.V(0xffff0a000000), Hi: field.V(0xffff0affffff)},
		"ip6_src le ::ff":                                 {Hi: field.V(255)},
		"ip6_src ge ffff:ffff:ffff:ffff:ffff:ffff:ffff::": {Lo: field.Value{Hi: 1<<64 - 1, Lo: 0xffffffffffff0000}, Hi: field.Ones(128)},
		"ip6_src gt ffff:ffff:ffff:ffff:ffff:ffff:ffff::": {Lo: field.Value{Hi: 1<<64 - 1, Lo: 0xffffffffffff0001}, Hi: field.Ones(128)},
		"ip6_src lt 0:0:0:1::":                            {Hi: field.V(1<<64 - 1)},
		"arp_spa 10.0.0.0/8":                              {Lo: field.V(0x0a000000), Hi: field.V(0x0affffff)},
		"arp_tha ff:ff:ff:ff:ff:ff":                       {Lo: field.Ones(48), Hi: field.Ones(48)},
	} {
		in := mustCheck(t, "if "+source).Rules[0].Cond.(Test).In
		if len(in) != 1 || in[0] != want {
			t.Errorf("%s: %v, want %v", source, in, want)
		}
	}
}
