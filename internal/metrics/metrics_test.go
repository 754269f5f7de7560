package metrics_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"repacket/internal/metrics"
	"repacket/internal/run"
)

// count is what a rule has counted.
func count(name string, packets, bytes uint64) run.RuleCount {
	return run.RuleCount{
		RuleText: run.RuleText{Name: name, Text: "if udp_dest 443 then udp_dest 8080"},
		Count:    run.Count{Matched: packets, MatchedBytes: bytes},
	}
}

// on are rules on an interface.
func on(iface string, d run.Direction, rules ...run.RuleCount) run.Attached {
	return run.Attached{
		Target: run.Target{Interface: iface, Direction: d}, Hook: run.TC, Release: "0.9.0", Counts: run.Counts{Rules: rules},
	}
}

func written(t testing.TB, s metrics.Snapshot) string {
	var b bytes.Buffer
	if err := metrics.Write(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// samples are those that Prometheus's own parser finds.
func samples(t rapid.TB, text string) map[string]float64 {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	out := map[string]float64{}
	for name, f := range families {
		for _, m := range f.Metric {
			key := name
			for _, l := range m.Label {
				key += fmt.Sprintf(" %s=%q", l.GetName(), l.GetValue())
			}
			if _, twice := out[key]; twice {
				t.Fatalf("%s stands twice in\n%s", key, text)
			}
			out[key] = value(f.GetType(), m)
		}
	}
	return out
}

func value(kind dto.MetricType, m *dto.Metric) float64 {
	if kind == dto.MetricType_COUNTER {
		return m.GetCounter().GetValue()
	}
	return m.GetGauge().GetValue()
}

// example is a little of everything.
func example() metrics.Snapshot {
	replies := count("web", 7, 700)
	replies.HasReplies, replies.Replies = true, 5
	gone := count("old", 99, 99)
	gone.Gone = true
	tracked := on("eth1", run.In, replies, count("", 3, 180), gone)
	tracked.Replies = &run.RepliesAt{Direction: run.Out, Hook: run.TC}
	tracked.Hook = run.XDP
	tracked.Flows = &run.FlowUsage{Flows: 12, Room: 65536, Evicted: 2}
	tracked.Skipped = []run.Skipped{{Packets: 4, Reason: run.SkipBusy}}
	lost := uint64(8)
	return metrics.Snapshot{Programs: []run.Attached{tracked, on("eth2", run.Out, count("", 1, 60))}, EventsLost: &lost, Reloads: &metrics.Reloads{Replaced: 6, Refused: 9, At: time.Unix(1700000000, 5)}}
}

// TestWrite: each metric, and the labels of each sample.
func TestWrite(t *testing.T) {
	t.Parallel()
	want := map[string]float64{
		`repacket_rule_packets_total interface="eth1" direction="in" rule="web"`:           7,
		`repacket_rule_packets_total interface="eth1" direction="in" rule="2"`:             3,
		`repacket_rule_packets_total interface="eth2" direction="out" rule="1"`:            1,
		`repacket_rule_bytes_total interface="eth1" direction="in" rule="web"`:             700,
		`repacket_rule_bytes_total interface="eth1" direction="in" rule="2"`:               180,
		`repacket_rule_bytes_total interface="eth2" direction="out" rule="1"`:              60,
		`repacket_replies_total interface="eth1" direction="in" rule="web"`:                5,
		`repacket_flows interface="eth1" direction="in"`:                                   12,
		`repacket_flows_limit interface="eth1" direction="in"`:                             65536,
		`repacket_flows_evicted_total interface="eth1" direction="in"`:                     2,
		`repacket_events_lost_total`:                                                       8,
		`repacket_reload_success`:                                                          0,
		`repacket_reload_success_timestamp_seconds`:                                        1700000000,
		`repacket_reloads_total result="replaced"`:                                         6,
		`repacket_reloads_total result="refused"`:                                          9,
		`repacket_program_info interface="eth1" direction="in" hook="xdp" version="0.9.0"`: 1,
		`repacket_program_info interface="eth1" direction="out" hook="tc" version="0.9.0"`: 1,
		`repacket_program_info interface="eth2" direction="out" hook="tc" version="0.9.0"`: 1,
		`repacket_skipped_packets_total interface="eth1" direction="in" reason="busy"`:     4,
	}
	for _, of := range []string{`interface="eth1" direction="in"`, `interface="eth2" direction="out"`} {
		for _, reason := range strings.Fields("segments checksum headers tag limit collision busy torn") {
			key := fmt.Sprintf(`repacket_skipped_packets_total %s reason=%q`, of, reason)
			if _, known := want[key]; !known {
				want[key] = 0
			}
		}
	}
	if diff := cmp.Diff(want, samples(t, written(t, example()))); diff != "" {
		t.Error(diff)
	}
}

// TestText: the text itself, and that of nothing.
func TestText(t *testing.T) {
	t.Parallel()
	text := written(t, example())
	const want = `# HELP repacket_rule_packets_total Packets that a rule has matched.
# TYPE repacket_rule_packets_total counter
repacket_rule_packets_total{interface="eth1",direction="in",rule="web"} 7
repacket_rule_packets_total{interface="eth1",direction="in",rule="2"} 3
repacket_rule_packets_total{interface="eth2",direction="out",rule="1"} 1
# HELP repacket_rule_bytes_total Bytes`
	if !strings.HasPrefix(text, want) {
		t.Errorf("it begins\n%.600s", text)
	}
	if nothing := written(t, metrics.Snapshot{}); nothing != "" {
		t.Errorf("of nothing there is %q", nothing)
	}
}

// TestLint: Prometheus's own rules for names, units and helps are kept.
func TestLint(t *testing.T) {
	t.Parallel()
	problems, err := promlint.New(strings.NewReader(written(t, example()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestSameLabel: rules of one name, and an interface with more than one set of rules as after an
// attach that was interrupted, are added up; the parser takes no sample twice.
func TestSameLabel(t *testing.T) {
	t.Parallel()
	s := metrics.Snapshot{Programs: []run.Attached{
		on("eth1", run.In, count("dns", 1, 10), count("dns", 2, 20), count("4", 4, 40), count("", 8, 80)), on("eth1", run.In, count("dns", 16, 160)),
	}}
	got := samples(t, written(t, s))
	for key, want := range map[string]float64{
		`repacket_rule_packets_total interface="eth1" direction="in" rule="dns"`:          19,
		`repacket_rule_bytes_total interface="eth1" direction="in" rule="4"`:              120,
		`repacket_program_info interface="eth1" direction="in" hook="tc" version="0.9.0"`: 1,
	} {
		if got[key] != want {
			t.Errorf("%s: %v, want %v", key, got[key], want)
		}
	}
}

// TestRepliesAlone: what rewrites replies of rules that are gone is one program, and that of the rules
// none.
func TestRepliesAlone(t *testing.T) {
	t.Parallel()
	p := on("eth1", run.In, count("", 0, 0))
	p.Missing, p.Hook, p.Replies = run.RulesPart, run.Auto, &run.RepliesAt{Direction: run.Out, Hook: run.TC}
	got := samples(t, written(t, metrics.Snapshot{Programs: []run.Attached{p}}))
	for key := range got {
		if strings.HasPrefix(key, "repacket_program_info") && !strings.Contains(key, `direction="out" hook="tc"`) {
			t.Error(key)
		}
	}
	if got[`repacket_program_info interface="eth1" direction="out" hook="tc" version="0.9.0"`] != 1 {
		t.Error("the program of the replies is not there")
	}
}

// TestAnyNames: whatever an interface is called, the text can be parsed, has no sample twice and
// nothing that a terminal acts on, and holds neither the text of a rule nor an address or a port of it.
func TestAnyNames(t *testing.T) {
	t.Parallel()
	names := rapid.SliceOfN(rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune("\x1b\"\\\n{}=,#")))), 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		var s metrics.Snapshot
		for _, name := range append(names.Draw(t, "names"), string(rapid.SliceOfN(rapid.Byte(), 1, 15).Draw(t, "bytes"))) {
			s.Programs = append(s.Programs, on(name, run.In, count("", 1, 2)))
		}
		var b bytes.Buffer
		if err := metrics.Write(&b, s); err != nil {
			t.Fatal(err)
		}
		total := 0.0
		for key, n := range samples(t, b.String()) {
			if strings.HasPrefix(key, "repacket_rule_packets_total") {
				total += n
			}
		}
		if total != float64(len(s.Programs)) {
			t.Fatalf("%v packets in\n%s", total, b.String())
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("%q in\n%q", r, b.String())
			}
		}
		if strings.Contains(b.String(), "udp_dest") {
			t.Fatal("the text of a rule is there")
		}
	})
}

// BenchmarkWrite: the text of a scrape of 10,000 rules.
func BenchmarkWrite(b *testing.B) {
	var rules []run.RuleCount
	for i := range 10_000 {
		rules = append(rules, count("", uint64(i), 60*uint64(i)))
	}
	s := metrics.Snapshot{Programs: []run.Attached{on("eth1", run.In, rules...)}}
	b.ReportAllocs()
	for b.Loop() {
		b.SetBytes(int64(len(written(b, s))))
	}
}
