package cli

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"repacket/internal/rule"
	"repacket/internal/run"
)

// TestRevertAfter: what is attached says when it goes back, and to what.
func TestRevertAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, stdout, stderr string }{
		{
			"attach -i eth1 --revert-after 90s if all then ip_ttl 64", "",
			"eth1: native XDP\nattached; goes back to no rules in 1m30s, unless: repacket confirm -i eth1\n",
		},
		{
			"replace -i eth1 -Q out --for 1h --revert-after 60s if all then ip_ttl 64", "",
			"eth1: native XDP, packets that leave\nreplaced; goes back to the rules before in 1m0s, unless: repacket confirm -i eth1 -Q out (acts for 1h, then lets all pass)\n",
		},
		{
			"replace -j -i eth1 -Q out --revert-after 60s if all then ip_ttl 64",
			`{"version":1,"event":"replaced","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"out","hook":"xdp","revert_after":60,"rules":[{"text":"if all then ip_ttl 64"}]}` + "\n", "",
		},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		f.kernel.attached = []run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.Out}}}
		status, stdout, stderr := f.run()
		if status != exitDone || f.kernel.jobs[0].RevertAfter == 0 {
			t.Errorf("%s: exit status %d, the job is %+v", tt.args, status, f.kernel.jobs)
		}
		wantText(t, tt.args, stdout, tt.stdout)
		wantText(t, tt.args, stderr, tt.stderr)
	}
}

// TestRevertAfterRefused: nothing is attached.
func TestRevertAfterRefused(t *testing.T) {
	t.Parallel()
	const duration = "repacket: error: --revert-after takes a duration "
	for args, want := range map[string]string{
		"attach --revert-after 0 if all":                     duration + "above 0, not \"0\"\n",
		"replace --revert-after -5s if all":                  duration + "above 0, not \"-5s\"\n",
		"replace --revert-after 1d if all":                   duration + "such as 30s, 5m or 24h, not \"1d\"\n  hint: in hours: --revert-after 24h\n",
		"attach --revert-after 1m --backend clang if all":    "repacket: error: --revert-after does not work with --backend clang\n  hint: the built-in compiler puts both sets of rules in one program: leave out --backend\n",
		"-i eth1 --revert-after 1m if all":                   "repacket: error: --revert-after is about rules that take the place of others, and a run without a file has none\n  hint: -f FILE has rules that SIGHUP reads again; repacket attach and replace take --revert-after too\n",
		"-r in.pcap --revert-after 1m if all":                "repacket: error: --revert-after is for live packets, and -r reads them from a file\n  hint: leave out --revert-after\n",
		"detach --revert-after 1m":                           "repacket: error: --revert-after means nothing to detach\n  hint: repacket detach --help lists its flags\n",
		"confirm --revert-after 1m -i eth1":                  "repacket: error: --revert-after means nothing to confirm\n  hint: repacket confirm --help lists its flags\n",
		"confirm eth1":                                       "repacket: error: confirm takes no \"eth1\"\n  hint: repacket confirm -i eth1\n",
		"attach -i eth1 --revert-after 1m --revert-after 2m": "repacket: error: --revert-after is given twice: 1m and 2m\n  hint: leave one of the two out\n",
	} {
		f := newFake(t, strings.Fields(args)...)
		if status, _, stderr := f.run(); status != exitUsage || stderr != want || len(f.kernel.jobs) > 0 {
			t.Errorf("%s: exit status %d, stderr\n%s\nwant\n%s", args, status, stderr, want)
		}
	}
}

func TestConfirm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, stdout, stderr string }{
		{"confirm -i eth1", "", "eth1: confirmed\n"},
		{"confirm -Q out", "", "eth0: the interface of the default route (choose with -i)\neth0: confirmed, packets that leave\n"},
		{"confirm -j -i eth1", `{"version":1,"event":"confirmed","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in"}` + "\n", ""},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		status, stdout, stderr := f.run()
		if status != exitDone {
			t.Errorf("%s: exit status %d", tt.args, status)
		}
		wantText(t, tt.args, stdout, tt.stdout)
		wantText(t, tt.args, stderr, tt.stderr)
	}
	f := newFake(t, "confirm", "-i", "eth1")
	f.kernel.err = errors.New("there is nothing to confirm")
	if status, _, stderr := f.run(); status != exitFailed || stderr != "repacket: error: there is nothing to confirm\n" {
		t.Errorf("exit status %d, stderr %q", status, stderr)
	}
}

// TestListReverting: how much time is left and what comes back, and what has come back since when.
func TestListReverting(t *testing.T) {
	t.Parallel()
	rules := func(gone bool, texts ...string) (c run.Counts) {
		for i, text := range texts {
			c.Rules = append(c.Rules, run.RuleCount{RuleText: run.RuleText{Text: text}, Count: run.Count{Matched: uint64(i + 1)}, Gone: gone && i == len(texts)-1})
		}
		return c
	}
	at := time.Unix(1700000060, 0).UTC()
	attached := []run.Attached{
		{
			Target: run.Target{Interface: "eth0"}, Hook: run.XDP, Counts: rules(false, "if udp"),
			Revert: &run.Revert{At: at, SecondsLeft: 41.7, Before: []run.RuleText{{Name: "web", Text: "if tcp"}, {Text: "if icmp"}}},
		},
		{Target: run.Target{Interface: "eth1"}, Hook: run.TC, PID: 7, Counts: rules(false, "if udp"), Revert: &run.Revert{At: at, SecondsLeft: 90}},
		{Target: run.Target{Interface: "eth2"}, Hook: run.TC, Counts: rules(true, "if tcp", "if udp"), Revert: &run.Revert{At: at, Over: true}},
		{Target: run.Target{Interface: "eth3"}, Hook: run.TC, Counts: rules(true, "if udp"), Revert: &run.Revert{At: at, Over: true}},
	}
	f := newFake(t, "list")
	f.kernel.attached = attached
	_, stdout, _ := f.run()
	wantText(t, "list", stdout, `INTERFACE  DIRECTION  HOOK  UNTIL                                                 PKTS  BYTES  RULES
eth0       in         xdp   detach (goes back in 42s unless confirmed)               1      0  if udp
                                                                                               before: web: if tcp
                                                                                               before: if icmp
eth1       in         tc    process 7 ends (goes back in 1m30s unless confirmed)     1      0  if udp
                                                                                               before: no rules
eth2       in         tc    detach (went back at 2023-11-14 22:14:20)                1      0  if tcp
                                                                                     2      0  not confirmed: if udp
eth3       in         tc    detach (went back at 2023-11-14 22:14:20)                          no rules: all packets pass
                                                                                     1      0  not confirmed: if udp
`)
	f = newFake(t, "list", "--json", "-i", "eth0")
	f.kernel.attached = attached
	_, stdout, _ = f.run()
	if want := `"hook":"xdp","revert":{"at":"2023-11-14T22:14:20Z","seconds_left":41.7,"before":[{"name":"web","text":"if tcp"},{"text":"if icmp"}]},"rules":`; !strings.Contains(stdout, want) {
		t.Errorf("there is no %s in %s", want, stdout)
	}
}

// TestReloadToBeConfirmed: a run says that the rules of its file wait to be confirmed, and what
// becomes of them.
func TestReloadToBeConfirmed(t *testing.T) {
	t.Parallel()
	settled := func(r *fileRun, s run.Settled, text string) {
		r.kernel.settled <- s
		if r.Args[len(r.Args)-1] == "--json" {
			r.await(&r.stdout, text)
		} else {
			r.await(&r.stderr, text)
		}
	}
	old, err := rule.Check("web: " + oldRules)
	if err != nil {
		t.Fatal(err)
	}
	r := newFileRun(t, "--revert-after", "60s")
	r.kernel.settled = make(chan run.Settled)
	r.begin()
	r.write(newRules)
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "as it is now")
	settled(r, run.Settled{Program: old}, "act again")
	settled(r, run.Settled{Confirmed: true, Program: old}, "stay")
	r.end("eth1: native XDP\neth1: replaced by the rules of FILE as it is now; goes back to the rules before in 1m0s, unless: repacket confirm -i eth1\n" +
		"eth1: nobody has confirmed the rules of FILE: those before act again\neth1: confirmed: the rules of FILE stay\n")

	r = newFileRun(t, "--revert-after", "60s", "--json")
	r.kernel.settled = make(chan run.Settled)
	r.begin()
	settled(r, run.Settled{Program: old}, `{"version":1,"event":"reverted","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in","rules":[{"name":"web","text":"`+oldRules+`"}]}`+"\n")
	settled(r, run.Settled{Confirmed: true, Program: old}, `{"version":1,"event":"confirmed",`)
	r.end("")
}
