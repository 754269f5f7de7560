package run_test

import (
	"testing"

	"repacket/internal/rule"
	"repacket/internal/run"
)

// TestCountByVerdict: rewritten is all on which rules acted, and what became of the packets
// is counted besides.
func TestCountByVerdict(t *testing.T) {
	t.Parallel()
	var counts run.Counts
	for _, r := range []struct {
		dryRun  bool
		verdict rule.Verdict
		packets uint64
		want    run.Count
	}{
		{true, rule.Pass, 1, run.Count{Matched: 1, MatchedBytes: 60}},
		{false, rule.Pass, 2, run.Count{Matched: 2, MatchedBytes: 120, Rewritten: 2, RewrittenBytes: 120}},
		{false, rule.Drop, 4, run.Count{Matched: 4, MatchedBytes: 240, Rewritten: 4, RewrittenBytes: 240, Dropped: 4}},
		{false, rule.Reflect, 8, run.Count{Matched: 8, MatchedBytes: 480, Rewritten: 8, RewrittenBytes: 480, Reflected: 8}},
		{false, rule.ToInterface, 16, run.Count{Matched: 16, MatchedBytes: 960, Rewritten: 16, RewrittenBytes: 960, Redirected: 16}},
	} {
		c := run.RuleCount{DryRun: r.dryRun, Verdict: r.verdict}
		c.Set(r.packets, 60*r.packets)
		if c.Count != r.want {
			t.Errorf("%v: %+v, want %+v", r.verdict, c.Count, r.want)
		}
		counts.Rules = append(counts.Rules, c)
	}
	want := run.Count{
		Matched: 31, MatchedBytes: 1860, Rewritten: 30, RewrittenBytes: 1800, Dropped: 4, Reflected: 8, Redirected: 16,
	}
	if got := counts.Total(); got != want {
		t.Errorf("the total is %+v, want %+v", got, want)
	}
}
