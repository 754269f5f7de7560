package cli

import (
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/run"
)

var rewriteWords = strings.Fields("-i eth1 if udp_dest 443 then udp_dest 8080")

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

// Not on a terminal there is the line that names the hook, and the summary.
func TestRunTellsHookAndSummary(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		f := newFake(t, rewriteWords...)
		f.kernel.count(run.Count{Matched: 10, MatchedBytes: 460, Rewritten: 10, RewrittenBytes: 460})
		f.start()
		f.await(&f.stderr, "native XDP\n")
		f.clock.set(30*time.Second + 2*time.Millisecond)
		f.send(signal)
		if got := f.wait(); got != exitDone {
			t.Errorf("%v: exit status %d, want 0", signal, got)
		}
		wantText(t, "stderr", f.stderr.String(), "eth1: native XDP\nrewrite 10 pkts in 30.002 s\n")
		wantText(t, "stdout", f.stdout.String(), "")
		if f.kernel.closed != 1 {
			t.Errorf("%v: closed %d times, want once", signal, f.kernel.closed)
		}
	}
}

// Nothing is attached before the signals are caught that end a run.
func TestSignalsAreCaughtBefore(t *testing.T) {
	t.Parallel()
	f := newFake(t, rewriteWords...)
	var caught atomic.Bool
	proved := make(chan struct{})
	f.Signals = func(bool) <-chan os.Signal {
		<-proved
		caught.Store(true)
		return f.signals
	}
	f.kernel.starting = func(ready func()) {
		close(proved)
		if ready(); !caught.Load() {
			t.Error("attached before signals are caught")
		}
	}
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.send(syscall.SIGINT)
	f.wait()
}

// On a terminal the line is refreshed, and the summary stands in its place.
func TestRunRefreshesTheLineOnATerminal(t *testing.T) {
	t.Parallel()
	f := newFake(t, rewriteWords...)
	f.tty = true
	f.vars["NO_COLOR"] = "1"
	f.kernel.count(run.Count{Matched: 3, Rewritten: 3})
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.beat(1001 * time.Millisecond)
	f.await(&f.stderr, "rewrite 3 pkts in 1.001 s")
	f.kernel.count(run.Count{Matched: 12, Rewritten: 11})
	f.beat(2 * time.Second)
	f.await(&f.stderr, "rewrite 11 pkts in 2.000 s")
	f.send(syscall.SIGINT)
	f.wait()
	wantText(t, "stderr", f.stderr.String(), "eth1: native XDP\nCtrl-C to stop\n"+
		"rewrite 3 pkts in 1.001 s\rrewrite 11 pkts in 2.000 s\rrewrite 11 pkts in 2.000 s\n")
}

func TestRunEndsWhenTheLimitIsReached(t *testing.T) {
	t.Parallel()
	f := newFake(t, append([]string{"-c", "5", "--for", "1m"}, rewriteWords...)...)
	f.kernel.count(run.Count{Matched: 5, Rewritten: 5})
	close(f.kernel.done)
	status, _, stderr := f.run()
	if status != exitDone {
		t.Errorf("exit status %d, want 0", status)
	}
	wantText(t, "stderr", stderr, "eth1: native XDP\nrewrite 5 pkts in 0.000 s\n")
	if j := f.kernel.jobs[0]; j.Limit != 5 || j.For != time.Minute || j.Hook != run.Auto || j.Interface != "eth1" {
		t.Errorf("the job is %+v", j)
	}
}

// TestHowToStopIsSaid: to a person on a terminal, and to nobody else.
func TestHowToStopIsSaid(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flag string
		tty  bool
		want int
	}{{"-v", true, 1}, {"-v", false, 0}, {"-q", true, 0}, {"--json", true, 0}} {
		f := newFake(t, append([]string{tt.flag}, rewriteWords...)...)
		f.tty = tt.tty
		f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
		close(f.kernel.done)
		_, stdout, stderr := f.run()
		if got := strings.Count(stdout+stderr, "Ctrl-C"); got != tt.want {
			t.Errorf("%s, terminal: %v: said %d times, want %d:\n%s", tt.flag, tt.tty, got, tt.want, stderr)
		}
	}
}

// What was chosen without being asked for is told.
func TestRunTellsWhatItChose(t *testing.T) {
	t.Parallel()
	f := newFake(t, "if", "all")
	f.kernel.count(run.Count{Matched: 1})
	f.kernel.hook, f.kernel.note = run.TC, "tc: eth0 is a veth, where XDP would switch segmentation offload off"
	close(f.kernel.done)
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, "eth0: the interface of the default route (choose with -i)\n"+
		"eth0: tc (eth0 is a veth, where XDP would switch segmentation offload off)\nmatch 1 pkts in 0.000 s\n")
}

// When counting fails the run detaches and says why.
func TestCountingFails(t *testing.T) {
	t.Parallel()
	f := newFake(t, append([]string{"--json"}, rewriteWords...)...)
	f.kernel.countErr = errFake
	f.start()
	f.beat(time.Second)
	if got := f.wait(); got != exitFailed {
		t.Errorf("exit status %d, want 1", got)
	}
	if f.kernel.closed != 1 {
		t.Errorf("closed %d times, want once", f.kernel.closed)
	}
	f.await(&f.stdout, `"message":"the kernel is gone"`)
}

func TestRunJSON(t *testing.T) {
	t.Parallel()
	f := newFake(t, append([]string{"-j", "-c", "9"}, rewriteWords...)...)
	f.kernel.count(run.Count{Matched: 4, MatchedBytes: 240, Rewritten: 3, RewrittenBytes: 180})
	f.start()
	f.await(&f.stdout, "attached")
	f.beat(time.Second)
	f.await(&f.stdout, "stats")
	f.clock.set(1500 * time.Millisecond)
	close(f.kernel.done)
	f.wait()
	const rules = `"rules":[{"text":"if udp_dest 443 then udp_dest 8080"`
	const counts = `"matched":4,"matched_bytes":240,"rewritten":3,"rewritten_bytes":180,"dropped":0,"reflected":0,"redirected":0,"replies":0,"replies_bytes":0}`
	wantText(t, "stdout", f.stdout.String(),
		`{"version":1,"event":"attached","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in","hook":"xdp",`+rules+"}]}\n"+
			`{"version":1,"event":"stats","time":"2023-11-14T22:13:21Z","interface":"eth1","direction":"in","seconds":1,"total":{`+counts+","+rules+","+counts+"]}\n"+
			`{"version":1,"event":"summary","time":"2023-11-14T22:13:21.5Z","interface":"eth1","direction":"in","seconds":1.5,"ended":"count","total":{`+counts+","+rules+","+counts+"]}\n")
	wantText(t, "stderr", f.stderr.String(), "")
}

// No failure before the start leaves anything attached.
func TestRunFailsBeforeItStarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		args   string
		status int
		stderr string
	}{
		{"no rules", "-i eth1", 2, "repacket: error: no rules given\n  hint: for example: if udp_dest 443 then udp_dest 8080 (repacket --help tells more)\n"},
		{"no interface", "-i eth7 if all", 2, "repacket: error: there is no interface eth7\n"},
		{"dry run", "-n -i eth1 if all", 2, "repacket: error: names are never looked up: leave out -n\n"},
		{"any", "-i any if all", 2, "repacket: error: -i any: rules are attached to one interface at a time\n" +
			"  hint: one run for each interface: repacket -i eth0 RULES & repacket -i eth1 RULES\n"},
		{"both directions", "-Q inout if all", 2, "repacket: error: -Q inout: rules are attached to one direction at a time\n" +
			"  hint: one run for each direction: repacket -Q in RULES & repacket -Q out RULES\n"},
		{"drop without an interface", "if udp then drop", 2, "repacket: error: rules that drop, reflect or redirect need the interface spelled out\n  hint: -i IFACE\n"},
		{"direction", "-Q up if all", 2, "repacket: error: -Q takes in or out, not \"up\"\n  hint: -Q in or -Q out\n"},
		{"hook", "--hook xpd if all", 2, "repacket: error: --hook does not know \"xpd\"\n  hint: --hook auto, xdp, xdp-generic or tc\n"},
		{"color", "--color blue if all", 2, "repacket: error: --color does not know \"blue\"\n  hint: --color auto, always or never\n"},
		{"truth", "--quiet=maybe if all", 2, "repacket: error: --quiet takes true or false, not \"maybe\"\n"},
		{"two files", "-i eth1 -f a.txt -f b.txt", 2, "repacket: error: -f is given twice: a.txt and b.txt\n  hint: leave one of the two out\n"},
		{"both commands", "-a -d -i eth1", 2, "repacket: error: both attach and detach\n"},
		{"count", "-c 0 if all", 2, "repacket: error: -c takes a number of packets from 1 up, not \"0\"\n  hint: -c 10\n"},
		{"command", "atach -i eth1 if all", 2, "repacket: error: unknown command \"atach\"\n  hint: did you mean repacket attach?\n"},
		{"no shell", "completion fsh", 2, "repacket: error: there are no completions for fsh\n  hint: repacket completion bash, zsh, fish or powershell\n"},
		{"another tool's command", "Del -i eth1", 2, "repacket: error: unknown command \"Del\"\n  hint: did you mean repacket detach?\n"},
		{"help", "help atach", 2, "repacket: error: unknown command \"atach\"\n  hint: did you mean repacket attach?\n"},
		{"limit by clang", "-i eth1 -c 3 --backend clang if all", 2, "repacket: error: -c and --for do not work with --backend clang\n" +
			"  hint: the built-in compiler keeps both: leave out --backend\n"},
		{"backend", "-i eth1 --backend gcc if all", 2, "repacket: error: --backend does not know \"gcc\"\n  hint: --backend builtin or clang\n"},
		{"form", "compile --emit elf if all", 2, "repacket: error: --emit does not know \"elf\"\n  hint: --emit asm, c or object\n"},
		{"file and rules", "-i eth1 -f rules.txt if all", 2, "repacket: error: both -f and rules on the line\n" +
			"  hint: put them into rules.txt too, or leave out -f\n"},
		{"file and command", "chekc -f rules.txt", 2, "repacket: error: unknown command \"chekc\"\n  hint: did you mean repacket check?\n"},
		{"file without a name", "check -f", 2, "repacket: error: -f needs a value\n  hint: -f FILE\n"},
		{"file of list", "list -f rules.txt", 2, "repacket: error: -f means nothing to list\n  hint: repacket list --help lists its flags\n"},
		{"flag of others", "detach -i eth1 -c 3", 2, "repacket: error: -c means nothing to detach\n  hint: repacket detach --help lists its flags\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, strings.Fields(tt.args)...)
			status, stdout, stderr := f.run()
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			wantText(t, "stderr", stderr, tt.stderr)
			wantText(t, "stdout", stdout, "")
			if len(f.kernel.jobs) > 0 {
				t.Error("something was started")
			}
		})
	}
}

// TestLeaving: the direction is that of the job, of the line that names the hook
// and of the word behind a run in which nothing matched.
func TestLeaving(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "-Q", "out", "--hook", "tc", "if", "udp_dest", "53", "then", "udp_dest", "9")
	f.kernel.hook, f.kernel.note = run.TC, "tc: as asked"
	f.kernel.count(run.Count{})
	close(f.kernel.done)
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, "eth1: tc, packets that leave\nrewrite 0 pkts in 0.000 s\n"+
		"nothing matched: only packets that leave by eth1 are looked at (-Q in is for those that come in)\n")
	if len(f.kernel.jobs) != 1 || f.kernel.jobs[0].Direction != run.Out || f.kernel.jobs[0].Hook != run.TC {
		t.Errorf("the jobs are %+v", f.kernel.jobs)
	}
}

// TestSkipped: what rules took and did not rewrite is told with the reason.
func TestSkipped(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "if", "all", "then", "ip_id", "9")
	f.kernel.count(run.Count{})
	f.kernel.skipped = []run.Skipped{{Packets: 12, Why: "they are large"}}
	close(f.kernel.done)
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, "eth1: native XDP\nskipped: 12 pkts: they are large\nrewrite 0 pkts in 0.000 s\n")
}

// TestSkippedJSON: it is a member of the summary.
func TestSkippedJSON(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-j", "-i", "eth1", "if", "all", "then", "ip_id", "9")
	f.kernel.count(run.Count{})
	f.kernel.skipped = []run.Skipped{{Packets: 12, Why: "they are large"}}
	close(f.kernel.done)
	_, stdout, _ := f.run()
	if want := `"skipped":[{"packets":12,"why":"they are large"}]}` + "\n"; !strings.HasSuffix(stdout, want) {
		t.Errorf("stdout is %s", stdout)
	}
}

// TestAdviceIsTold: before anything is attached, and once more where another
// hook was taken than the one that it is about.
func TestAdviceIsTold(t *testing.T) {
	t.Parallel()
	f := newFake(t, "-i", "eth1", "if", "all")
	f.kernel.count(run.Count{Matched: 1})
	f.kernel.advice = []run.Advice{{Note: true, Message: "it is large"}, {Message: "it is slow", Hint: "run"}}
	f.kernel.late = []run.Advice{{Message: "it is generic", Hint: "use tc"}}
	close(f.kernel.done)
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, `repacket: note: it is large
repacket: warning: it is slow
  hint: run
repacket: warning: it is generic
  hint: use tc
eth1: native XDP
match 1 pkts in 0.000 s
`)
}

// An error of the kernel's side ends with its own status and hint.
func TestStartFails(t *testing.T) {
	t.Parallel()
	for _, code := range []int{exitFailed, exitPrivilege, exitUnsupported, exitTaken} {
		f := newFake(t, rewriteWords...)
		f.kernel.err = &Failure{Status: code, Err: errFake, Hint: "plug it in"}
		status, _, stderr := f.run()
		if status != code {
			t.Errorf("exit status %d, want %d", status, code)
		}
		wantText(t, "stderr", stderr, "repacket: error: the kernel is gone\n  hint: plug it in\n")
	}
}

// TestSignalledTwice: who signals a process and then its group, as timeout does,
// gets the summary and status 0.
func TestSignalledTwice(t *testing.T) {
	t.Parallel()
	f := newFake(t, rewriteWords...)
	f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
	f.kernel.closing = make(chan struct{})
	f.Patience = time.Hour
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.send(syscall.SIGTERM)
	<-f.kernel.closing
	f.send(syscall.SIGTERM)
	f.kernel.closing <- struct{}{}
	if got := f.wait(); got != exitDone {
		t.Errorf("exit status %d, want 0", got)
	}
	f.await(&f.stderr, "rewrite 1 pkts in 0.000 s\n")
}

// TestSlowDetach: a run that has heard the signal is left to end, however long
// the kernel takes to give the interface back, unless it is asked once more.
func TestSlowDetach(t *testing.T) {
	t.Parallel()
	for _, more := range []bool{false, true} {
		slowDetach(t, more)
	}
}

func slowDetach(t *testing.T, more bool) {
	f := newFake(t, rewriteWords...)
	f.kernel.closing = make(chan struct{})
	f.Patience = 100 * time.Millisecond
	f.start()
	f.await(&f.stderr, "native XDP\n")
	f.send(syscall.SIGINT)
	<-f.kernel.closing
	select {
	case got := <-f.exit:
		t.Fatalf("exit status %d while the rules are detached", got)
	case <-time.After(2 * f.Patience):
	}
	if more {
		f.send(syscall.SIGINT)
		if got := f.wait(); got != exitFailed {
			t.Errorf("asked once more: exit status %d, want 1", got)
		}
		return
	}
	f.kernel.closing <- struct{}{}
	if got := f.wait(); got != exitDone {
		t.Errorf("exit status %d, want 0", got)
	}
}
