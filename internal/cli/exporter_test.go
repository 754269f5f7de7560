package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"repacket/internal/run"
)

// scrape is what a run or the exporter serves, at the address that it has told.
func scrape(t *testing.T, f *fake) (status int, text string) {
	t.Helper()
	f.await(&f.stderr, "/metrics\n")
	address := regexp.MustCompile(`metrics: (\S+)`).FindStringSubmatch(f.stderr.String())[1]
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// wantLines expects lines among those of a text.
func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("%s is not there:\n%s", line, text)
		}
	}
}

// TestRunServesMetrics: a run serves what it counts as long as it runs.
func TestRunServesMetrics(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "--metrics", "0", "web: if udp_dest 443 then udp_dest 8080 else if udp_dest 53")
	f.kernel.skipped = []run.Skipped{{Packets: 12, Reason: run.SkipSegments, Why: "they are large"}}
	f.start()
	f.await(&f.stderr, "/metrics\n")
	f.kernel.count(run.Count{Matched: 7, MatchedBytes: 700}, run.Count{Matched: 3, MatchedBytes: 180})
	release, _ := buildVersion()
	status, text := scrape(t, f)
	if status != 200 {
		t.Errorf("status %d", status)
	}
	wantLines(
		t, text, `repacket_rule_packets_total{interface="eth1",direction="in",rule="web"} 7`,
		`repacket_rule_bytes_total{interface="eth1",direction="in",rule="2"} 180`,
		`repacket_skipped_packets_total{interface="eth1",direction="in",reason="segments"} 12`, `repacket_events_lost_total 0`,
		fmt.Sprintf(`repacket_program_info{interface="eth1",direction="in",hook="xdp",version=%q} 1`, release),
	)
	address := regexp.MustCompile(`http://([^/]*)/`).FindStringSubmatch(f.stderr.String())[1]
	f.send(os.Interrupt)
	if status := f.wait(); status != exitDone {
		t.Errorf("exit status %d", status)
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Errorf("something listens at %s when the run is over", address)
	}
}

// TestExporter: it serves all that is attached, until a signal; what fails is said to who scrapes.
func TestExporter(t *testing.T) {
	t.Parallel()
	f := newFake(t, "exporter", "--metrics", "0")
	f.kernel.attached = []run.Attached{{
		Target: run.Target{Interface: "eth1"}, Hook: run.XDP, Release: "0.9.0",
		Counts: run.Counts{Rules: []run.RuleCount{{Count: run.Count{Matched: 7, MatchedBytes: 700}}}},
	}}
	f.start()
	_, text := scrape(t, f)
	wantLines(t, text, `repacket_rule_packets_total{interface="eth1",direction="in",rule="1"} 7`,
		`repacket_program_info{interface="eth1",direction="in",hook="xdp",version="0.9.0"} 1`)
	if strings.Contains(text, "events_lost") {
		t.Error("it cannot know of lost events")
	}
	f.send(os.Interrupt)
	if status := f.wait(); status != exitDone {
		t.Errorf("exit status %d", status)
	}
}

// TestExporterFails: who may not list rules serves nothing.
func TestExporterFails(t *testing.T) {
	t.Parallel()
	f := newFake(t, "exporter", "--metrics", "0")
	f.kernel.err = usage("", "not allowed")
	if status, _, stderr := f.run(); status != exitUsage || stderr != "repacket: error: not allowed\n" {
		t.Errorf("%d, %q", status, stderr)
	}
}

// TestMetricsTaken: a port that another listens on, and an address that is not ours, are told before
// anything is attached.
func TestMetricsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for at, want := range map[string]struct {
		status int
		text   string
	}{
		l.Addr().String():  {exitTaken, "another program listens there\n  hint: ss -ltnp "},
		"192.0.2.77:10473": {exitUsage, "this machine does not have the address 192.0.2.77\n  hint: ip address lists those"},
	} {
		for _, args := range [][]string{{"-i", "eth1", "if udp"}, {"exporter"}} {
			f := newFake(t, append(args, "--metrics", at)...)
			status, _, stderr := f.run()
			if status != want.status || !strings.Contains(stderr, "metrics cannot be served at "+at+": "+want.text) {
				t.Errorf("%v: %d, %s", f.Args, status, stderr)
			}
			if len(f.kernel.jobs) != 0 {
				t.Errorf("%v: something was attached", f.Args)
			}
		}
	}
}

func TestMetricsErrors(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-i eth1 --metrics :9100 if udp":    "--metrics :9100 does not say for whom\n  hint: 127.0.0.1:9100 for this machine alone, [::]:9100 for all that reach it",
		"-i eth1 --metrics eth0 if udp":     `--metrics takes a port, or ADDRESS:PORT, not "eth0"`,
		"exporter --metrics x.org:1":        `--metrics takes a port, or ADDRESS:PORT, not "x.org:1"`,
		"-r x --metrics 1 if udp":           "--metrics is for live packets, and -r reads them from a file",
		"attach -i eth1 --metrics 1 if udp": "--metrics means nothing to attach",
		"exporter eth1":                     `exporter takes no "eth1"`,
	} {
		f := newFake(t, strings.Fields(args)...)
		status, _, stderr := f.run()
		if status != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d, %s", args, status, stderr)
		}
	}
}

// TestMetricsJSON: with --json where metrics are served is an event.
func TestMetricsJSON(t *testing.T) {
	t.Parallel()
	f := newFake(t, "exporter", "--metrics", "0", "--json")
	f.start()
	f.await(&f.stdout, `"event":"metrics"`)
	f.await(&f.stdout, `"address":"127.0.0.1:`)
	f.send(os.Interrupt)
	f.wait()
}
