package top

import (
	"math"
	"strings"
	"testing"
	"time"

	"repacket/internal/run"
)

// start is when the tests begin.
var start = time.Unix(1700000000, 0)

// after is the time so many seconds later.
func after(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// rules are those of an interface, each with its name, and what they have counted.
func rules(iface string, names string, counts ...uint64) run.Attached {
	p := run.Attached{Target: run.Target{Interface: iface}, Hook: run.TC, Release: "0.9.0", ProgramID: 7}
	for i, name := range strings.Split(names, ",") {
		p.Rules = append(p.Rules, run.RuleCount{
			RuleText: run.RuleText{Name: name, Text: "if udp_dest " + strings.Repeat("4", i+1)},
			Count:    run.Count{Matched: counts[i], MatchedBytes: 100 * counts[i]},
		})
	}
	return p
}

// rates are the packets a second of rows, by label.
func rates(rows []row) map[string]float64 {
	out := map[string]float64{}
	for _, r := range rows {
		out[r.label] = r.packets
	}
	return out
}

// TestRates: 300 packets in 2 seconds are 150 a second; the bytes and the share follow.
func TestRates(t *testing.T) {
	t.Parallel()
	var table table
	table.add(start, []run.Attached{rules("eth1", "web,", 1000, 50)})
	for label, rate := range rates(table.rows) {
		if rate != 0 {
			t.Errorf("%s has a rate of %v before there is one", label, rate)
		}
	}
	table.add(after(2), []run.Attached{rules("eth1", "web,", 1300, 150)})
	web, second := table.rows[0], table.rows[1]
	if web.packets != 150 || web.bytes != 15000 || web.share != 0.75 || second.label != "2" || second.packets != 50 || second.share != 0.25 {
		t.Errorf("%+v\n%+v", web, second)
	}
	table.add(after(3), []run.Attached{rules("eth1", "web,", 1300, 151)})
	if h := table.rows[0].history; len(h) != 2 || h[0] != 150 || h[1] != 0 {
		t.Errorf("the history is %v", h)
	}
}

// TestRatesBeginAnew: rules that were replaced, or whose counts fell, have no rate of what was before.
func TestRatesBeginAnew(t *testing.T) {
	t.Parallel()
	var table table
	table.add(start, []run.Attached{rules("eth1", "web", 1000)})
	table.add(after(1), []run.Attached{rules("eth1", "web", 10)})
	if r := table.rows[0]; r.packets != 0 || len(r.history) != 0 {
		t.Errorf("%+v", r)
	}
	table.add(after(2), []run.Attached{rules("eth1", "dns", 5000)})
	if r := table.rows[0]; r.packets != 0 {
		t.Errorf("%+v", r)
	}
	gone := rules("eth1", "web,old", 1, 2)
	gone.Rules[1].Gone = true
	table.add(after(3), []run.Attached{gone})
	if len(table.rows) != 1 {
		t.Errorf("rules that are gone are shown: %+v", table.rows)
	}
}

// TestHistoryIsBounded: no more is kept than is shown.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	var table table
	for i := range 200 {
		table.add(after(float64(i)), []run.Attached{rules("eth1", "web", uint64(i*i))})
	}
	h := table.rows[0].history
	if len(h) != kept || h[kept-1] != 199*199-198*198 {
		t.Errorf("%d rates, the last %v", len(h), h[len(h)-1])
	}
}

func labels(rows []row) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.in.Interface+"/"+r.label)
	}
	return strings.Join(all, " ")
}

// TestShown: the orders, and a filter over everything.
func TestShown(t *testing.T) {
	t.Parallel()
	var table table
	one := func(web, dns, bulk uint64) []run.Attached {
		bytes := rules("eth0", "bulk", bulk)
		bytes.Rules[0].MatchedBytes *= 100
		bytes.Namespace, bytes.PID, bytes.Direction = "blue", 4711, run.Out
		return []run.Attached{rules("eth1", "web,dns", web, dns), bytes}
	}
	table.add(start, one(0, 90, 0))
	table.add(after(1), one(50, 100, 20))
	for by, want := range map[order]string{
		byPackets: "eth1/web eth0/bulk eth1/dns", byBytes: "eth0/bulk eth1/web eth1/dns",
		byTotal: "eth1/dns eth1/web eth0/bulk", byPlace: "eth1/web eth1/dns eth0/bulk", // "" is before blue
	} {
		if got := labels(table.shown("", by)); got != want {
			t.Errorf("by %v: %s, want %s", by, got, want)
		}
	}
	for filter, want := range map[string]string{
		"WEB": "eth1/web", "eth0": "eth0/bulk", "udp_dest 44": "eth1/dns", "4711": "eth0/bulk", "blue": "eth0/bulk",
		"out": "eth0/bulk", "0.9.0": "eth1/web eth0/bulk eth1/dns", "tcp": "",
	} {
		if got := labels(table.shown(filter, byPackets)); got != want {
			t.Errorf("filter %s: %q, want %q", filter, got, want)
		}
	}
}

func TestSparkline(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []float64
		want   string
	}{
		{nil, "    "},
		{[]float64{0, 0}, "  ▁▁"},
		{[]float64{0, 1, 7}, " ▁▂█"},
		{[]float64{0, 0.001, 1000}, " ▁▂█"}, // what is there is seen
		{[]float64{99, 1, 2, 3, 4}, "▃▅▆█"}, // what has left does not count
	} {
		if got := sparkline(tt.values, 4); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.values, got, tt.want)
		}
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{
		0: "0", 0.4: "0", 12: "12", 999: "999", 999.6: "1.00k", 1000: "1.00k", 1234: "1.23k", 12345: "12.3k", 123456: "123k",
		999400: "999k", 999600: "1.00M", 99.99e6: "100M", 1e9: "1.00G", 2.5e12: "2.50T", math.MaxUint64: "18.4E",
	} {
		if got := short(value); got != want {
			t.Errorf("%v: %s, want %s", value, got, want)
		}
	}
}
