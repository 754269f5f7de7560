package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"repacket/internal/run"
)

func TestAttach(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"attach -i eth1 if all then ip_ttl 64", "-a -i eth1 if all then ip_ttl 64", "if all then ip_ttl 64 -i eth1 -a"} {
		f := newFake(t, strings.Fields(args)...)
		status, stdout, stderr := f.run()
		if status != exitDone || stdout != "" {
			t.Errorf("%s: exit status %d, stdout %q", args, status, stdout)
		}
		wantText(t, "stderr", stderr, "eth1: native XDP\nattached until: repacket detach -i eth1\n")
		if len(f.kernel.jobs) != 1 || f.kernel.jobs[0].Program.Source != "if all then ip_ttl 64" {
			t.Errorf("%s: the jobs are %+v", args, f.kernel.jobs)
		}
	}
}

// TestAttachLimited: what is attached says when it stops acting.
func TestAttachLimited(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{
		"--for 2s":      " (acts for 2s, then lets all pass)",
		"-c 5":          " (acts on 5 packets, then lets all pass)",
		"-c 5 --for 1m": " (acts on 5 packets within 1m, then lets all pass)",
	} {
		_, _, stderr := newFake(t, strings.Fields("attach -i eth1 "+flags+" if all then ip_ttl 64")...).run()
		wantText(t, flags, stderr, "eth1: native XDP\nattached until: repacket detach -i eth1"+want+"\n")
	}
}

func TestDetach(t *testing.T) {
	t.Parallel()
	const nothing = "eth1: nothing of Repacket is attached, packets that leave\n"
	for _, tt := range []struct {
		args, stdout, stderr string
		more                 []run.Attached
	}{
		{"detach -i eth1", "", "eth1: detached\n", nil},
		{"-d -i eth1", "", "eth1: detached\n", nil},
		{"detach -i eth1 -Q out", "", nothing + "eth1: rules on packets that come in go on until: repacket detach -i eth1 -Q in\n", nil},
		{
			"detach -i eth1", "", "eth1: detached\neth1: rules on packets that leave go on while their process runs: repacket list\n",
			[]run.Attached{{Target: run.Target{Interface: "eth0", Direction: run.Out}}, {Target: run.Target{Interface: "eth1", Direction: run.Out}, PID: 7}},
		},
		{
			"detach -j -i eth1", `{"version":1,"event":"detached","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in","found":true,"stays":"out"}` + "\n", "",
			[]run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.Out}}},
		},
		{"detach", "", "eth0: the interface of the default route (choose with -i)\neth0: nothing of Repacket is attached\n", nil},
		{"detach -j -i eth0", `{"version":1,"event":"detached","time":"2023-11-14T22:13:20Z","interface":"eth0","direction":"in","found":false}` + "\n", "", nil},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		f.kernel.attached = append([]run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.In}}}, tt.more...)
		status, stdout, stderr := f.run()
		if status != exitDone {
			t.Errorf("%s: exit status %d, want 0", tt.args, status)
		}
		wantText(t, "stdout", stdout, tt.stdout)
		wantText(t, "stderr", stderr, tt.stderr)
	}
}

func TestDetachTakesNoRules(t *testing.T) {
	t.Parallel()
	status, _, stderr := newFake(t, strings.Fields("detach -i eth1 if all")...).run()
	if status != exitUsage {
		t.Errorf("exit status %d, want 2", status)
	}
	wantText(t, "stderr", stderr, "repacket: error: detach takes no \"if\"\n  hint: repacket detach --help\n")
}

var twoAttached = []run.Attached{
	{Target: run.Target{Interface: "eth0", Direction: run.In}, Hook: run.XDP, Counts: run.Counts{Rules: []run.RuleCount{
		{RuleText: run.RuleText{Name: "web", Text: "if tcp_dest 80 then tcp_dest 8080"}, Count: run.Count{Matched: 12, MatchedBytes: 720, Rewritten: 12, RewrittenBytes: 720}},
		{RuleText: run.RuleText{Name: "", Text: "if udp"}, Count: run.Count{Matched: 3, MatchedBytes: 90}},
	}}},
	{Target: run.Target{Interface: "eth1", Direction: run.In}, Hook: run.GenericXDP, PID: 4711, Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if all"}}}}},
}

func TestList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args     string
		attached []run.Attached
		stdout   string
		stderr   string
	}{
		{"list", nil, "", "nothing of Repacket is attached\n"},
		{"list", twoAttached, `INTERFACE  DIRECTION  HOOK         UNTIL              PKTS  BYTES  RULES
eth0       in         xdp          detach               12    720  web: if tcp_dest 80 then tcp_dest 8080
                                                         3     90  if udp
eth1       in         xdp-generic  process 4711 ends     0      0  if all
`, ""},
		{"list -Q out", twoAttached, "", "nothing of Repacket is attached\n"},
		{"list -Q out", []run.Attached{{
			Target: run.Target{Interface: "eth1", Direction: run.Out}, Hook: run.TC, Counts: run.Counts{
				Rules:   []run.RuleCount{{RuleText: run.RuleText{Text: "if all then ip_id 5"}, Count: run.Count{Matched: 1, MatchedBytes: 60}}},
				Skipped: []run.Skipped{{Packets: 12, Why: "they are large"}},
			},
		}}, `INTERFACE  DIRECTION  HOOK  UNTIL   PKTS  BYTES  RULES
eth1       out        tc    detach     1     60  if all then ip_id 5
                                      12         skipped: they are large
`, ""},
		{"list", []run.Attached{
			{Target: run.Target{Interface: "eth0", Direction: run.In}, Hook: run.XDP, Over: run.LimitCount, Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if all"}, Count: run.Count{Matched: 5, MatchedBytes: 300}}}}},
			{Target: run.Target{Interface: "eth1", Direction: run.In}, Hook: run.XDP, PID: 1, PIDElsewhere: true, Over: run.LimitTime, Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if all"}}}}},
		}, `INTERFACE  DIRECTION  HOOK  UNTIL                                                    PKTS  BYTES  RULES
eth0       in         xdp   detach (-c is reached)                                      5    300  if all
eth1       in         xdp   process 1 of another PID namespace ends (--for is over)     0      0  if all
`, ""},
		{"list", []run.Attached{
			{Target: run.Target{Interface: "eth0"}, Hook: run.XDP, Replies: &run.RepliesAt{Direction: run.Out, Hook: run.TC}, Counts: run.Counts{
				Rules: []run.RuleCount{
					{RuleText: run.RuleText{Name: "web", Text: "if tcp_dest 443 then tcp_dest 8080 replies"}, HasReplies: true, Count: run.Count{Matched: 7, MatchedBytes: 420, Rewritten: 7, RewrittenBytes: 420, Replies: 6, RepliesBytes: 300}},
					{RuleText: run.RuleText{Text: "if udp"}, DryRun: true, Count: run.Count{Matched: 3, MatchedBytes: 90}},
				},
				Skipped: []run.Skipped{{Packets: 12, Why: "they are large"}},
			}},
			{
				Target: run.Target{Interface: "eth1", Direction: run.Out}, Missing: run.RulesPart, Replies: &run.RepliesAt{Direction: run.In, Hook: run.TC},
				Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if udp then udp_src 7 replies"}, HasReplies: true}}},
			},
			{
				Target: run.Target{Interface: "eth2"}, Hook: run.TC, Missing: run.RepliesPart,
				Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if udp then udp_src 7 replies"}, HasReplies: true}}},
			},
		}, `INTERFACE  DIRECTION        HOOK      UNTIL   PKTS  BYTES  REPLIES  RULES
eth0       in, replies out  xdp, tc   detach     7    420        6  web: if tcp_dest 443 then tcp_dest 8080 replies
                                                 3     90           if udp
                                                12                  skipped: they are large
eth1       out, replies in  none, tc  detach     0      0        0  if udp then udp_src 7 replies
eth2       in               tc        detach     0      0        0  if udp then udp_src 7 replies
`, `repacket: warning: eth1 rewrites replies of rules that are not attached: an attach or a detach was interrupted
  hint: to detach what is there: repacket detach -i eth1 -Q out
repacket: warning: eth2 has rules whose replies are not rewritten: an attach or a detach was interrupted
  hint: to detach what is there: repacket detach -i eth2
`},
		{"list -i eth1 --json", twoAttached, `{"version":1,"event":"program","time":"2023-11-14T22:13:20Z",` +
			`"interface":"eth1","direction":"in","hook":"xdp-generic","pid":4711,` +
			`"rules":[{"text":"if all","matched":0,"matched_bytes":0,"rewritten":0,"rewritten_bytes":0,"dropped":0,"reflected":0,"redirected":0,"replies":0,"replies_bytes":0}]}` + "\n", ""},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		f.kernel.attached = tt.attached
		status, stdout, stderr := f.run()
		if status != exitDone {
			t.Errorf("%s: exit status %d, want 0", tt.args, status)
		}
		wantText(t, "stdout", stdout, tt.stdout)
		wantText(t, "stderr", stderr, tt.stderr)
	}
}

// The demo is ended by a signal, and that is no failure.
func TestDemoStops(t *testing.T) {
	t.Parallel()
	f := newFake(t, "demo")
	f.Demo = func(ctx context.Context, out io.Writer) error {
		_, _ = io.WriteString(out, "started\n")
		<-ctx.Done()
		return ctx.Err()
	}
	f.start()
	f.await(&f.stdout, "started")
	f.send(syscall.SIGINT)
	if got := f.wait(); got != exitDone {
		t.Errorf("exit status %d, want 0", got)
	}
}

// Where there is no demo, no command promises one.
func TestNoDemo(t *testing.T) {
	t.Parallel()
	if _, stdout, _ := newFake(t, "--help").run(); strings.Contains(stdout, "demo") {
		t.Errorf("help speaks of a demo:\n%s", stdout)
	}
}

// TestDetachBoth: detach says what it has found of rules and their replies.
func TestDetachBoth(t *testing.T) {
	t.Parallel()
	const text, object = "eth1: detached", `"direction":"in","found":true`
	for _, tt := range []struct {
		done         run.Detached
		text, object string
	}{
		{run.Detached{Replies: true}, text + ", with their replies\n", object + `,"replies":"out"}`},
		{run.Detached{Missing: run.RulesPart}, text + ": only what rewrites replies was there, without its rules\n", object + `,"missing":"rules"}`},
		{run.Detached{Missing: run.RepliesPart}, text + ": only the rules were there, without what rewrites their replies\n", object + `,"missing":"replies"}`},
		{run.Detached{}, text + "\n", object + "}"},
	} {
		tt.done.Target, tt.done.Found = run.Target{Interface: "eth1"}, true
		for _, json := range []bool{false, true} {
			f := newFake(t, "detach", "-i", "eth1", fmt.Sprintf("--json=%v", json))
			f.kernel.detached = &tt.done
			_, stdout, stderr := f.run()
			if json {
				_, after, _ := strings.Cut(stdout, `"interface":"eth1",`)
				wantText(t, "stdout", after, tt.object+"\n")
			} else {
				wantText(t, "stderr", stderr, tt.text)
			}
		}
	}
}

// TestDetachUnsure: detach reports what it has detached, though the interface could
// not be inspected once more.
func TestDetachUnsure(t *testing.T) {
	t.Parallel()
	f := newFake(t, "detach", "-i", "eth1")
	f.kernel.attached = []run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.In}, Hook: run.XDP}}
	f.kernel.unsure = errors.New("no buffer space available")
	status, _, stderr := f.run()
	if status != exitDone {
		t.Errorf("exit status %d, want 0", status)
	}
	wantText(t, "stderr", stderr, "repacket: warning: eth1 could not be inspected again: no buffer space available\n"+
		"  hint: repacket list shows what is attached\neth1: detached\n")
}

// TestListTwoSets: two sets of rules for one direction are one too many, which list
// says; one for each direction are as they should be.
func TestListTwoSets(t *testing.T) {
	t.Parallel()
	f := newFake(t, "list")
	for _, where := range []struct {
		dir  run.Direction
		hook run.Hook
	}{{run.In, run.XDP}, {run.Out, run.TC}, {run.In, run.TC}} {
		f.kernel.attached = append(f.kernel.attached, run.Attached{
			Target: run.Target{Interface: "eth1", Direction: where.dir}, Hook: where.hook,
			Counts: run.Counts{Rules: []run.RuleCount{{RuleText: run.RuleText{Text: "if all"}}}},
		})
	}
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, "repacket: warning: eth1 has 2 sets of rules (xdp, tc) where there should be one: an attach was interrupted\n"+
		"  hint: to detach them: repacket detach -i eth1\n")
}
