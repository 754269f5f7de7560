package cli

import (
	"io"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/why"
)

// miss is a test that failed, by its place, and what was seen there, value by value.
type miss struct {
	test int
	miss why.Miss
	seen []why.Seen
}

// explained are the counts of rules that have matched so often, and missed so.
func explained(t *testing.T, rules string, matched []uint64, misses ...miss) []run.RuleCount {
	t.Helper()
	p, err := rule.CheckWith(rules, rule.Options{Open: func(string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("old,new\n10.0.0.1,10.0.0.2\n")), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	tests := why.Tests(p)
	sums := make([]why.Sum, len(tests)*int(why.Misses))
	for _, m := range misses {
		for _, s := range m.seen {
			var c why.Count
			c.Add(s.Value, s.Packets)
			sums[why.Slot(m.test, m.miss)].Add(&c)
		}
	}
	counts := make([]run.RuleCount, len(p.Written))
	for i, w := range p.Written {
		counts[i].RuleText = run.RuleText{Name: w.Name, Text: w.Text}
		counts[i].Set(matched[i], 0)
	}
	run.Explain(counts, tests, sums, matched)
	return counts
}

func seen(v uint64, packets uint64) why.Seen { return why.Seen{Value: field.V(v), Packets: packets} }

// as is what is seen of a header that is there instead.
func as(v field.Value, packets uint64) why.Seen { return why.Seen{Value: v, Packets: packets} }

// TestWhyText: each way in which a test fails has its words.
func TestWhyText(t *testing.T) {
	t.Parallel()
	nobody := []uint64{0}
	one := func(m why.Miss, s ...why.Seen) []miss { return []miss{{0, m, s}} }
	for _, c := range []struct {
		rules   string
		matched []uint64
		misses  []miss
		want    string
	}{
		{"if udp_dest 443 then udp_dest 8080", nobody, []miss{
			{0, why.NoHeader, []why.Seen{as(why.Header(field.TCP), 3900), as(why.Header(field.ICMP), 200)}},
			{0, why.Failed, []why.Seen{seen(53, 70), seen(123, 42)}},
		}, "0 of 4,212 matched: 4,100 had no udp (3,900 tcp, 200 icmp), 112 had udp_dest other than 443: most often 53, 123"},
		{"if udp_dest 443", []uint64{7}, nil, "7 of 7 matched"},
		{"if udp_dest 443", nobody, nil, ""},
		{
			"if tcp", nobody, one(why.NoHeader, as(why.Protocol(47), 9), as(why.LaterFragment(6), 8), as(why.EtherType(0x88cc), 7),
				as(why.Next(59), 6), as(why.Header(field.ARP), 5), as(why.Header(field.UDP), 4), as(why.Header(field.ICMP), 3)),
			"0 of 42 matched: 42 had no tcp (9 gre, 8 later fragments of tcp, 7 lldp, 6 ipv6-nonxt, 5 arp, 7 others)",
		},
		{"if tcp", nobody, one(why.NoHeader, as(why.Header(field.UDP), 1), as(why.NoIP(), 1)), "0 of 2 matched: 2 had no tcp (1 udp, 1 neither ip nor ip6)"},
		{"if vlan", nobody, one(why.NoHeader, seen(0, 5)), "0 of 5 matched: 5 had no vlan"},
		{"if dport 53", nobody, []miss{
			{0, why.NoHeader, []why.Seen{as(why.Header(field.ICMP), 5)}}, {0, why.Failed, []why.Seen{seen(443, 1)}},
		}, "0 of 6 matched: 5 had no tcp or udp (5 icmp), 1 had dport other than 53: all 443"},
		{"if not udp", nobody, one(why.Failed, seen(0, 5)), "0 of 5 matched: 5 had udp"},
		{"if not udp_dest 53", nobody, one(why.Failed, seen(53, 5)), "0 of 5 matched: 5 had udp_dest 53"},
		{"if udp_dest ne 53", nobody, one(why.Failed, seen(53, 5)), "0 of 5 matched: 5 had udp_dest 53"},
		{
			"if udp_dest 53,5353", nobody, one(why.Failed, seen(1, 50), seen(2, 40), seen(3, 30), seen(4, 20)),
			"0 of 140 matched: 140 had udp_dest other than 53, 5353: most often 1, 2, 3",
		},
		{"if udp_dest 20000-50000", nobody, one(why.Failed, seen(443, 5)), "0 of 5 matched: 5 had udp_dest outside 20000-50000: all 443"},
		{"if ip_ttl le 5", nobody, one(why.Failed, seen(64, 5)), "0 of 5 matched: 5 had ip_ttl above 5: all 64"},
		{"if ip_ttl gt 5", nobody, one(why.Failed, seen(1, 5)), "0 of 5 matched: 5 had ip_ttl below 6: all 1"},
		{"if ip_src 10.0.0.0/8", nobody, one(why.Failed, seen(0xc0000201, 5)), "0 of 5 matched: 5 had ip_src outside 10.0.0.0/8: all 192.0.2.1"},
		{
			"if ip6_src 2001:db8::1", nobody, one(why.Failed, why.Seen{Value: field.Value{Hi: 0x20010db8 << 32, Lo: 2}, Packets: 5}),
			"0 of 5 matched: 5 had ip6_src other than 2001:db8::1: all 2001:db8::2",
		},
		{"if tcp_syn on", nobody, one(why.Failed, seen(0, 5)), "0 of 5 matched: 5 had tcp_syn off"},
		{"if tcp_flags syn", nobody, one(why.Failed, seen(0x10, 5), seen(0x18, 4)), "0 of 9 matched: 9 had tcp_flags other than syn: most often ack, psh-ack"},
		{"if tcp_mss gt 1400", nobody, one(why.NoField, seen(0, 5)), "0 of 5 matched: 5 had no tcp_mss"},
		{"if icmp_id 7", nobody, one(why.NoField, seen(3, 5)), "0 of 5 matched: 5 had no icmp_id (icmp_type all destination-unreachable)"},
		{
			"if tcp_seq 5", nobody, one(why.Failed, seen(9, 1), seen(11, 1), seen(13, 1), seen(1000, 97)),
			"0 of 100 matched: 100 had tcp_seq other than 5: most often 1000",
		},
		{"if (udp_dest 53 or udp_dest 123)", nobody, one(why.Failed, seen(0, 112)), "0 of 112 matched: 112 failed (udp_dest 53 or udp_dest 123)"},
		{"if not (udp or tcp)", nobody, one(why.Failed, seen(0, 5)), "0 of 5 matched: 5 failed (not (udp or tcp))"},
		{"if udp chance 5%", nobody, []miss{{1, why.Failed, []why.Seen{seen(0, 95)}}}, "0 of 95 matched: 95 were not drawn (chance 5%)"},
		{"if udp then udp_check fix", nobody, []miss{{2, why.Failed, []why.Seen{seen(0, 5)}}}, "0 of 5 matched: 5 were not whole, as udp_check fix needs"},
		{"if all then udp_dest 8080", nobody, one(why.NoHeader, as(why.Header(field.TCP), 5)), "0 of 5 matched: 5 had no udp (5 tcp)"},
		{
			"if ip_dest @old then ip_dest @new from f", nobody,
			[]miss{{1, why.Failed, []why.Seen{seen(0x0a000009, 5)}}},
			"0 of 5 matched: 5 had ip_dest not in @old: all 10.0.0.9",
		},
		{"if ip_dest ne @old from f", nobody, one(why.Failed, seen(0x0a000001, 5)), "0 of 5 matched: 5 had ip_dest in @old: all 10.0.0.1"},
		{"if ip_dest @old ip_src @new from f", nobody, one(why.Failed, seen(0, 5)), "0 of 5 matched: 5 failed (ip_dest @old and ip_src @new)"},
		{"if udp_dest 443 ip_ttl 64", nobody, []miss{
			{0, why.Failed, []why.Seen{seen(53, 5)}}, {1, why.Failed, []why.Seen{seen(63, 2), seen(62, 1)}},
		}, "0 of 8 matched: 5 had udp_dest other than 443 (all 53), 3 had ip_ttl other than 64: most often 63, 62"},
		{"web: if udp_dest 443; if udp; if tcp", []uint64{300, 9, 0}, []miss{
			{0, why.Failed, []why.Seen{seen(53, 9)}},
			{0, why.NoHeader, []why.Seen{as(why.Header(field.ICMP), 4)}},
			{1, why.NoHeader, []why.Seen{as(why.Header(field.ICMP), 4)}},
			{2, why.NoHeader, []why.Seen{as(why.Header(field.ICMP), 4)}},
		}, "web: 300 of 313 matched: 4 had no udp (4 icmp), 9 had udp_dest other than 443: all 53\n" +
			"rule 2: 9 of 313 matched: 300 taken by rule 1 before, 4 had no udp (4 icmp)\n" +
			"rule 3: 0 of 313 matched: 309 taken by rules before, 4 had no tcp (4 icmp)"},
	} {
		var b strings.Builder
		r := &report{out: &output{stderr: &b}}
		r.reasons(explained(t, c.rules, c.matched, c.misses...))
		if got := strings.TrimSuffix(b.String(), "\n"); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.rules, got, c.want)
		}
	}
}

// TestWhySpread: values of which none is frequent are examples.
func TestWhySpread(t *testing.T) {
	t.Parallel()
	m := miss{0, why.Failed, nil}
	for i := range uint64(30) {
		m.seen = append(m.seen, seen(1000+i, 10))
	}
	w := explained(t, "if tcp_seq 5", []uint64{0}, m)[0].Why
	if got, want := strings.Join(whyParts("", w), " "), "0 of 300 matched: 300 had tcp_seq other than 5: such as 1000, 1001, 1002"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestWhyWraps at the width of a terminal.
func TestWhyWraps(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	r := &report{out: &output{stderr: &b, live: true}, width: func() int { return 60 }}
	r.reasons(explained(t, "if udp_dest 443", []uint64{0}, miss{0, why.NoHeader, []why.Seen{as(why.Header(field.TCP), 3900)}},
		miss{0, why.Failed, []why.Seen{seen(53, 112)}}))
	wantText(t, "stderr", b.String(), "0 of 4,012 matched: 3,900 had no udp (3,900 tcp),\n  112 had udp_dest other than 443: all 53\n")
}

// TestWhyJSON: as JSON numbers are numbers.
func TestWhyJSON(t *testing.T) {
	t.Parallel()
	counts := explained(t, "if udp_dest 443; if tcp_syn on ip_src 10.0.0.0/8 then ip_ttl 5", []uint64{3, 0},
		miss{0, why.NoHeader, []why.Seen{as(why.Header(field.TCP), 5)}}, miss{0, why.Failed, []why.Seen{seen(53, 2), seen(123, 1)}},
		miss{1, why.Failed, []why.Seen{seen(0, 4)}}, miss{2, why.Failed, []why.Seen{seen(0xc0000201, 1)}},
	)
	wantText(t, "JSON", string(jsonLine(counts[0].Why)), `{"packets":11,"matched":3,"taken":0,"missed":[`+
		`{"packets":5,"test":"udp_dest 443","failed":"header","seen":[{"value":"tcp","packets":5}]},`+
		`{"packets":3,"test":"udp_dest 443","failed":"test","seen":[{"value":53,"packets":2},{"value":123,"packets":1}]}]}`+"\n")
	wantText(t, "JSON", string(jsonLine(counts[1].Why)), `{"packets":8,"matched":0,"taken":3,"missed":[`+
		`{"packets":4,"test":"tcp_syn on","failed":"test","seen":[{"value":false,"packets":4}]},`+
		`{"packets":1,"test":"ip_src 10.0.0.0/8","failed":"test","seen":[{"value":"192.0.2.1","packets":1}]}]}`+"\n")
}

// TestWhyRefused where nobody would be told, and by clang; and of many rules it is noted which ones
// are looked at.
func TestWhyRefused(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"attach --why -i eth1 if udp": "repacket: error: attach ends when the rules are attached, so it does not say why they do not act\n" +
			"  hint: a run counts why: repacket --why RULES, without then where packets are to stay as they are\n",
		"-i eth1 --why --backend clang if udp": "repacket: error: --why does not work with --backend clang\n" +
			"  hint: the built-in compiler counts why: leave out --backend\n",
	} {
		f := newFake(t, strings.Fields(args)...)
		status, _, stderr := f.run()
		if wantText(t, "stderr", stderr, want); status != exitUsage || len(f.kernel.jobs) > 0 {
			t.Errorf("%s: status %d, %d jobs", args, status, len(f.kernel.jobs))
		}
	}
	f := newFake(t, "-i", "eth1", "--why", strings.Repeat("if udp_dest 1 then drop;", 17))
	f.kernel.count(make([]run.Count, 17)...)
	close(f.kernel.done)
	_, _, stderr := f.run()
	if want := "note: --why looks at the first 16 rules, and there are 17\n"; !strings.Contains(stderr, want) {
		t.Errorf("%q is not in\n%s", want, stderr)
	}
	if len(f.kernel.jobs) != 1 || !f.kernel.jobs[0].Why {
		t.Error("the run does not ask why")
	}
}

// TestWhyTooLarge: rules that are too much with --why may fit without.
func TestWhyTooLarge(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "--why", "if udp")
	f.kernel.err = &bpf.TooLargeError{Instructions: 40000}
	status, _, stderr := f.run()
	wantText(t, "stderr", stderr, "repacket: error: the rules come to 40000 instructions, and a program can have 32767\n"+
		"  hint: they may fit without --why, which asks their tests again; else "+run.TooLargeHint+"\n")
	if status != exitUnsupported {
		t.Errorf("status %d", status)
	}
}
