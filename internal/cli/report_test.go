package cli

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"repacket/internal/run"
)

// Lines that stand in the place of a longer one cover it.
func TestSummaryCoversTheRefreshedLine(t *testing.T) {
	t.Parallel()
	f := newFake(t, strings.Fields("-i eth1 if ip then drop")...)
	f.tty = true
	f.vars["NO_COLOR"] = "1"
	f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
	f.kernel.skipped = []run.Skipped{{Packets: 1, Why: "x"}}
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.beat(12345 * time.Second)
	f.await(&f.stderr, "12345.000 s")
	f.send(syscall.SIGINT)
	f.wait()
	wantText(t, "stderr", f.stderr.String(), "eth1: native XDP\nCtrl-C to stop\ndrop 1 pkts in 12345.000 s\r"+
		"skipped: 1 pkts: x        \ndrop 1 pkts in 12345.000 s\n")
}

// Of several rules each has a line, by name or number. A rule without actions
// counts what it matched.
func TestSummaryByRule(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "web: if tcp_dest 80 then tcp_dest 8080 else if udp")
	f.kernel.count(
		run.Count{Matched: 1500, MatchedBytes: 90000, Rewritten: 1499, RewrittenBytes: 89940},
		run.Count{Matched: 7, MatchedBytes: 420})
	f.start()
	f.send(syscall.SIGINT)
	f.wait()
	wantText(t, "stderr", f.stderr.String(), `eth1: native XDP
web  1499 pkts  89940 bytes  if tcp_dest 80 then tcp_dest 8080
2       7 pkts    420 bytes  if udp
rewrite 1499 pkts in 0.000 s
`)
}

// TestSummaryCountsReplies: replies have a count of their own, where any rule has them.
func TestSummaryCountsReplies(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "web: if udp_dest 443 then udp_dest 8080 replies else if tcp")
	f.kernel.count(
		run.Count{Matched: 9, MatchedBytes: 540, Rewritten: 9, RewrittenBytes: 540, Replies: 12, RepliesBytes: 9000},
		run.Count{Matched: 7, MatchedBytes: 420})
	f.start()
	f.send(syscall.SIGINT)
	f.wait()
	wantText(t, "stderr", f.stderr.String(), `eth1: native XDP
eth1: replies: tc, packets that leave (it leaves)
web  9 pkts  540 bytes  12 replies  if udp_dest 443 then udp_dest 8080 replies
2    7 pkts  420 bytes              if tcp
rewrite 9 pkts, 12 replies in 0.000 s
`)
}

// TestRepliesLonger: who waits for the end of a run is told why it goes on behind its limit.
func TestRepliesLonger(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "-c", "1", "if udp_dest 443 then udp_dest 8080 replies")
	f.kernel.reached = make(chan run.Limit)
	f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
	f.start()
	f.kernel.reached <- run.LimitCount
	f.await(&f.stderr, "eth1: -c is reached; replies are rewritten for 3s more\n")
	close(f.kernel.done)
	if got := f.wait(); got != exitDone {
		t.Errorf("exit status %d, want 0", got)
	}
}

// TestSummaryNamesWhatWasDone: rewrite, drop, reflect and redirect stand in it when a rule
// does so, match when none does any of them.
func TestSummaryNamesWhatWasDone(t *testing.T) {
	t.Parallel()
	acted := func(n uint64) run.Count { return run.Count{Matched: n, Rewritten: n} }
	for _, tt := range []struct {
		rules  string
		counts []run.Count
		want   string
	}{
		{"if udp then drop", []run.Count{acted(94)}, "drop 94 pkts in 30.002 s\n"},
		{"if udp then drop", []run.Count{acted(0)}, "drop 0 pkts in 30.002 s\n"},
		{"if udp then swap ip reflect", []run.Count{acted(5)}, "reflect 5 pkts in 30.002 s\n"},
		{"if udp then ip_ttl 9 redirect eth0", []run.Count{acted(6)}, "redirect 6 pkts in 30.002 s\n"},
		{"if udp then ip_ttl 9 pass", []run.Count{acted(7)}, "rewrite 7 pkts in 30.002 s\n"},
		{"if udp then pass", []run.Count{{Matched: 8}}, "match 8 pkts in 30.002 s\n"},
		{
			"if udp then drop else if tcp then ip_ttl 9 else if icmp then drop else if arp",
			[]run.Count{acted(90), acted(10), acted(4), {Matched: 3}},
			"rewrite 10, drop 94 pkts in 30.002 s\n",
		},
		{
			"if arp then redirect eth0 else if icmp then reflect else if udp then drop else ip_ttl 9",
			[]run.Count{acted(1), acted(2), acted(3), acted(4)},
			"rewrite 4, drop 3, reflect 2, redirect 1 pkts in 30.002 s\n",
		},
	} {
		f := newFake(t, "-i", "eth1", tt.rules)
		f.kernel.count(tt.counts...)
		f.start()
		f.await(&f.stderr, "native XDP\n")
		f.clock.set(30*time.Second + 2*time.Millisecond)
		f.send(syscall.SIGINT)
		f.wait()
		if !strings.Contains(f.stderr.String(), "\n"+tt.want) {
			t.Errorf("%s: the summary is %q, want %q", tt.rules, f.stderr.String(), tt.want)
		}
	}
}

// SIGUSR1 prints the summary and the run goes on.
func TestSummaryOnDemand(t *testing.T) {
	t.Parallel()
	f := newFake(t, rewriteWords...)
	f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
	f.start()
	f.send(syscall.SIGUSR1)
	f.await(&f.stderr, "rewrite 1 pkts in 0.000 s\n")
	f.kernel.count(run.Count{Matched: 2, Rewritten: 2})
	f.send(syscall.SIGINT)
	if got := f.wait(); got != exitDone {
		t.Errorf("exit status %d, want 0", got)
	}
	wantText(t, "stderr", f.stderr.String(), "eth1: native XDP\nrewrite 1 pkts in 0.000 s\nrewrite 2 pkts in 0.000 s\n")
}
