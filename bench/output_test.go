package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// TestParseIperf: reports of iperf3 3.12, and what it writes when something fails,
// where it exits with 0 all the same.
func TestParseIperf(t *testing.T) {
	file := func(name string) string {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, c := range []struct {
		name, text  string
		udp         bool
		gbits, lost float64
		want        string // part of the error
	}{
		{"TCP", file("iperf3-tcp.json"), false, 9.0447, 0, ""},
		{"UDP", file("iperf3-udp.json"), true, 3.8666, 65.687, ""}, // and not the 11.3 sent
		{"nobody there", `{"start":{},"intervals":[],"end":{},"error":"unable to connect to server: Connection refused"}`, false, 0, 0, "Connection refused"},
		{"no end", `{"start":{},"end":{}}`, false, 0, 0, "does not say what was received"},
		{"nothing came", `{"end":{"sum_received":{"bits_per_second":0,"packets":9}}}`, true, 0, 0, "does not say what was received"},
		{"TCP in place of UDP", file("iperf3-tcp.json"), true, 0, 0, "how many datagrams"},
		{"cut off", `{"start":`, false, 0, 0, "read the output of iperf3"},
		{"nothing", ``, false, 0, 0, "read the output of iperf3"},
	} {
		got, err := parseIperf([]byte(c.text), c.udp)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.want)
			}
			continue
		}
		if err != nil || math.Abs(got.gbits-c.gbits) > 0.001 || math.Abs(got.lost-c.lost) > 0.001 {
			t.Errorf("%s: got %+v, %v, want %v and %v lost", c.name, got, err, c.gbits, c.lost)
		}
	}
}

func TestDumpedPackets(t *testing.T) {
	for text, want := range map[string]int{
		"4400 packets captured\n4402 packets received by filter\n0 packets dropped by kernel\n": 4402,
		"1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n":         1,
		"tcpdump: listening on right\n": -1,
		"":                              -1,
	} {
		got, err := dumpedPackets(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

// TestAwaitEvent: lines as the manual has them.
func TestAwaitEvent(t *testing.T) {
	const run = `{"version":1,"event":"warning","message":"both ends"}
{"version":1,"event":"attached","interface":"right","direction":"in","hook":"tc","note":"tc: right is a veth"}
{"version":1,"event":"stats","total":{"matched":1,"rewritten":1}}
{"version":1,"event":"summary","ended":"signal","total":{"matched":3,"matched_bytes":141,"rewritten":2,"rewritten_bytes":94}}
`
	events := json.NewDecoder(strings.NewReader(run))
	attached, err := awaitEvent(events, "attached")
	if err != nil || attached.Hook != "tc" {
		t.Errorf("attached: %+v, %v", attached, err)
	}
	summary, err := awaitEvent(events, "summary")
	if err != nil || summary.Total.Rewritten != 2 {
		t.Errorf("summary: %+v, %v", summary, err)
	}
	if _, err := awaitEvent(events, "summary"); err == nil || !strings.Contains(err.Error(), "ended without") {
		t.Errorf("after the end: %v", err)
	}
	failed := `{"version":1,"event":"error","status":5,"message":"right is taken"}`
	if _, err := awaitEvent(json.NewDecoder(strings.NewReader(failed)), "attached"); err == nil || !strings.Contains(err.Error(), "right is taken") {
		t.Errorf("an error: %v", err)
	}
	if _, err := awaitEvent(json.NewDecoder(strings.NewReader("repacket: no")), "attached"); err == nil {
		t.Error("what is no JSON is no error")
	}
}

// TestCounts: what the hooks must have counted of what was sent.
func TestCounts(t *testing.T) {
	stream := outgoing{packets: 10, segments: 400}                 // of packets that stand for many
	datagrams := outgoing{packets: 90, segments: 100, dropped: 10} // of packets of one each
	holes := outgoing{packets: 8, segments: 400, dropped: 2}
	for _, c := range []struct {
		sent    outgoing
		hook    string
		counted int
		right   bool
	}{
		{stream, "tc", 400, true},
		{stream, "tc", 399, false},
		{stream, "tc", 401, false},
		{stream, "tc", 10, false},
		{stream, "xdp-generic", 10, true},
		{stream, "xdp-generic", 400, false},
		{stream, "xdp", 9, false},
		{datagrams, "tc", 90, true},
		{datagrams, "tc", 89, false},
		{datagrams, "tc", 100, false},
		{datagrams, "xdp", 90, true},
		{holes, "tc", 398, true}, // two segments were dropped
		{holes, "tc", 308, true}, // two of 46 segments were
		{holes, "tc", 307, false},
		{holes, "tc", 399, false},
		{holes, "xdp-generic", 8, true},
		{outgoing{}, "tc", 0, true},
	} {
		if err := c.sent.check(c.hook, c.counted); (err == nil) != c.right {
			t.Errorf("%+v at %s, %d counted: %v", c.sent, c.hook, c.counted, err)
		}
	}
	if got, want := (outgoing{9, 8, 7}).since(outgoing{5, 3, 1}), (outgoing{4, 5, 6}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDescribe(t *testing.T) {
	now := time.Date(2026, 11, 30, 9, 5, 0, 0, time.UTC)
	amd := "processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t\t: fpu sse hypervisor lahf_lm\n\nprocessor\t: 1\nmodel name\t: AMD EPYC 7B13\nflags\t\t: fpu hypervisor\n"
	for _, c := range []struct {
		name, cpuinfo, load string
		want, not           []string
	}{
		{
			"a virtual machine", amd, "0.12 3.00 4.00 1/99 1234\n",
			[]string{"machine  AMD EPYC 7B13, CPUs: 2, a virtual machine\n", "kernel   Linux 6.18.1, ", "date     2026-11-30 09:05 UTC\n", "load     0.12 "},
			[]string{"other programs"},
		},
		{"no model", "processor\t: 0\nBogoMIPS\t: 50.00\n", "7.50 0 0 1/2 3\n", []string{", CPUs: 1\n", "other programs are running"}, []string{"virtual"}},
	} {
		got, err := describe(c.cpuinfo, c.load, "6.18.1", now)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", c.name, want, got)
			}
		}
		for _, not := range c.not {
			if strings.Contains(got, not) {
				t.Errorf("%s: %q is in\n%s", c.name, not, got)
			}
		}
	}
	if _, err := describe(amd, "", "6.18.1", now); err == nil {
		t.Error("no load is no error")
	}
}

func TestCheckTools(t *testing.T) {
	all := []part{{name: "count", tools: []string{"clang"}}, {name: "live", tools: []string{"nft"}}, {name: "start", tools: []string{"clang", "nft"}}, {name: "tables"}}
	has := func(tools ...string) func(string) (string, error) {
		return func(tool string) (string, error) {
			if strings.Contains(strings.Join(tools, " "), tool) {
				return "/usr/bin/" + tool, nil
			}
			return "", errors.New("not found")
		}
	}
	if err := checkTools(all, has("clang", "nft")); err != nil {
		t.Error(err)
	}
	if err := checkTools(all[3:], has()); err != nil {
		t.Error(err)
	}
	const want = `not installed: count needs clang, live needs nft, start needs clang and nft
  hint: apt-get install clang libbpf-dev nftables
  hint: without them: bench -part tables`
	if err := checkTools(all, has()); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	const nftOnly = "not installed: live needs nft\n  hint: apt-get install nftables"
	if err := checkTools(all[1:2], has("clang")); err == nil || err.Error() != nftOnly {
		t.Errorf("got\n%v\nwant\n%s", err, nftOnly)
	}
	for _, p := range parts() {
		for _, tool := range p.tools {
			if debianPackage[tool] == "" {
				t.Errorf("%s needs %s, of no known package", p.name, tool)
			}
		}
	}
}

func TestAskedParts(t *testing.T) {
	for asked, want := range map[string]string{
		"":                partNames(),
		"ping":            "ping",
		"ping,throughput": "throughput, ping",
	} {
		got, err := askedParts(asked)
		if list := names(got, func(p part) string { return p.name }); err != nil || list != want {
			t.Errorf("%q: got %s, %v, want %s", asked, list, err, want)
		}
	}
	for asked, want := range map[string]string{"ping,pong": `"pong"`, "ping,ping": `"ping"`, ",": `""`} {
		if _, err := askedParts(asked); err == nil || !strings.Contains(err.Error(), "no part "+want) {
			t.Errorf("%q: got %v, want an error of %s", asked, err, want)
		}
	}
}

// TestTables: what was measured, in columns.
func TestTables(t *testing.T) {
	pings := []*pinged{{name: "nothing"}, {name: "tcpdump"}, {name: "rule"}}
	for i := range 16 {
		base := 6 + 0.1*float64(i%4)
		pings[0].us = append(pings[0].us, base)
		pings[1].us = append(pings[1].us, base+1)
		pings[2].us = append(pings[2].us, base+0.25*float64(i%2*2-1))
	}
	if allTold(pings) || !allTold(pings[:2]) {
		t.Error("only tcpdump is told apart from nothing")
	}
	pings[2].control = true
	if !allTold(pings) {
		t.Error("a control keeps the rounds going")
	}
	ways := []*transfer{
		{name: "no rules", rate: []float64{10, 20, 10, 20, 10, 20}, lost: []float64{0}, sent: outgoing{packets: 7, segments: 9}},
		{name: "--hook xdp", rate: []float64{5, 10, 5, 10, 4, 10}, lost: []float64{12.5}, sent: outgoing{packets: 7, segments: 9}, counted: 7},
	}
	filters := []*filter{
		{name: "nothing", ns: []float64{100, 200, 100}},
		{name: "ours", like: nftRule, ns: []float64{110, 220, 110}},
		{name: nftRule, ns: []float64{220, 440, 220}},
	}
	for _, c := range []struct{ got, want string }{
		{pingTable(pings, 64, 16), `64 bytes, 16 rounds in turn    µs  lowest  highest                    added, µs
nothing                      6.15    6.00     6.30
tcpdump                      7.15    7.00     7.30       +1.00 (+1.00 to +1.00)
rule                         6.15    5.75     6.55  cannot tell: -0.25 to +0.25
`},
		{transferTable(ways, true), `UDP, as fast as it goes  Gbit/s  lowest  highest  to no rules   interval  packets sent  segments  counted  lost, %
no rules                  15.00   10.00    20.00                                     7         9               0.0
--hook xdp                 7.50    4.00    10.00         0.50  0.40–0.50             7         9        7     12.5
`},
		{liveTable(filters).String(), `             ns a packet  lowest  highest  over nothing  to nothing  to nft's
nothing            100.0   100.0    200.0
ours               110.0   110.0    220.0          10.0        1.10      0.50
nft, 1 rule        220.0   220.0    440.0         120.0        2.20
`},
	} {
		if c.got != c.want {
			t.Errorf("got\n%s\nwant\n%s", c.got, c.want)
		}
	}
}
