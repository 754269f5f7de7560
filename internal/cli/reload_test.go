package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"repacket/internal/run"
)

const (
	oldRules = "if udp_dest 443 then udp_dest 8080"
	newRules = "if udp_dest 443 then udp_dest 9090"
)

// fileRun is a run by a file.
type fileRun struct {
	*fake
	path string
}

// newFileRun is a run by a file with oldRules, not started yet.
func newFileRun(t *testing.T, args ...string) *fileRun {
	r := &fileRun{path: filepath.Join(t.TempDir(), "rules")}
	r.fake = newFake(t, append([]string{"-i", "eth1", "-f", r.path}, args...)...)
	r.write(oldRules)
	return r
}

func (r *fileRun) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// begin starts the run and waits until it has begun.
func (r *fileRun) begin() {
	r.t.Helper()
	r.start()
	if slices.Contains(r.Args, "--json") {
		r.await(&r.stdout, "attached")
	} else {
		r.await(&r.stderr, "native XDP\n")
	}
}

// end stops the run, and wants what it has told so far, the path as FILE.
func (r *fileRun) end(stderr string) {
	r.t.Helper()
	r.send(syscall.SIGINT)
	if got := r.wait(); got != exitDone {
		r.t.Errorf("exit status %d, want 0", got)
	}
	wantText(r.t, "stderr", strings.ReplaceAll(r.stderr.String(), r.path, "FILE"), stderr)
}

// awaitTimes waits until a text has been written to stderr so often.
func (r *fileRun) awaitTimes(text string, times int) {
	r.t.Helper()
	deadline := time.After(testPatience)
	for {
		written, more := r.stderr.watch()
		if strings.Count(written, text) >= times {
			return
		}
		select {
		case <-more:
		case <-deadline:
			r.t.Fatalf("%q was not written %d times; there is:\n%s", text, times, written)
		}
	}
}

func TestSIGHUPReadsTheFileAgain(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.begin()
	r.write(newRules)
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "as it is now")
	r.end("eth1: native XDP\neth1: replaced by the rules of FILE as it is now\n")
	if !slices.Equal(r.kernel.swapped, []string{newRules}) {
		t.Errorf("the rules were replaced by %q", r.kernel.swapped)
	}
}

func TestSIGHUPJSON(t *testing.T) {
	t.Parallel()
	r := newFileRun(t, "--json")
	r.begin()
	r.write(newRules)
	r.send(syscall.SIGHUP)
	r.await(&r.stdout, "replaced")
	r.write("if udp_dset 3")
	r.send(syscall.SIGHUP)
	r.await(&r.stdout, "refused")
	r.end("")
	wantText(t, "stdout", r.stdout.String(),
		`{"version":1,"event":"attached","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in","hook":"xdp","rules":[{"text":"`+oldRules+`"}]}`+"\n"+
			`{"version":1,"event":"replaced","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in","hook":"xdp","rules":[{"text":"`+newRules+`"}]}`+"\n"+
			`{"version":1,"event":"refused","time":"2023-11-14T22:13:20Z","message":"unknown word udp_dset","hint":"did you mean udp_dest?","file":"`+r.path+`","line":1,"column":4,"start":3,"end":11}`+"\n")
}

// Whatever is wrong with the new rules, the old ones go on.
func TestSIGHUPRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		err        error
		stderr     string
	}{
		{"broken", "if udp_dset 3", nil, "repacket: error: FILE:1:4: unknown word udp_dset\n    if udp_dset 3\n       ^~~~~~~~\n  hint: did you mean udp_dest?\n"},
		{"by the kernel", newRules, &Failure{Status: exitUnsupported, Err: errFake, Hint: "plug it in"}, "repacket: error: the kernel is gone\n  hint: plug it in\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newFileRun(t)
			r.kernel.swapErr = tt.err
			r.begin()
			r.write(tt.text)
			r.send(syscall.SIGHUP)
			r.await(&r.stderr, "go on\n")
			r.end("eth1: native XDP\n" + tt.stderr + "eth1: the rules before go on\n")
		})
	}
}

func TestSIGHUPWithoutTheFile(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.begin()
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "go on\n")
	r.end("eth1: native XDP\nrepacket: error: FILE: there is no such file\neth1: the rules before go on\n")
}

// Rules on the line or from stdin cannot be read again: SIGHUP ends a run, whether its
// terminal is there or not.
func TestSIGHUPWithoutFile(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{rewriteWords, {"-i", "eth1", "-f", "-"}} {
		f := newFake(t, args...)
		f.Stdin = strings.NewReader(oldRules)
		f.kernel.count(run.Count{Matched: 1, Rewritten: 1})
		f.start()
		f.await(&f.stderr, "native XDP\n")
		f.send(syscall.SIGHUP)
		if got := f.wait(); got != exitDone || f.kernel.closed != 1 {
			t.Errorf("%v: exit status %d, closed %d times", args, got, f.kernel.closed)
		}
		wantText(t, "stderr", f.stderr.String(), "eth1: native XDP\nrewrite 1 pkts in 0.000 s\n")
	}
}

// A shell passes SIGHUP on before its terminal is gone, and only then ends itself. So
// the terminal is looked at again: behind the reload, and as long as the run goes on.
func TestTerminalGoesAfterSIGHUP(t *testing.T) {
	t.Parallel()
	t.Run("while the rules are replaced", func(t *testing.T) {
		t.Parallel()
		r := newFileRun(t)
		r.kernel.swap = make(chan struct{})
		r.begin()
		r.send(syscall.SIGHUP)
		<-r.kernel.swap
		r.hungUp.Store(true)
		r.kernel.swap <- struct{}{}
		if got := r.wait(); got != exitDone || r.kernel.closed != 1 {
			t.Errorf("exit status %d, closed %d times", got, r.kernel.closed)
		}
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		r := newFileRun(t)
		r.begin()
		r.send(syscall.SIGHUP)
		r.await(&r.stderr, "as it is now")
		r.hungUp.Store(true)
		r.beat(time.Second)
		if got := r.wait(); got != exitDone || r.kernel.closed != 1 {
			t.Errorf("exit status %d, closed %d times", got, r.kernel.closed)
		}
	})
}

// SIGHUP also tells that the terminal has been closed, and that ends a run.
func TestClosedTerminalStops(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.begin()
	r.hungUp.Store(true)
	r.send(syscall.SIGHUP)
	if got := r.wait(); got != exitDone || len(r.kernel.swapped) > 0 || r.kernel.closed != 1 {
		t.Errorf("exit status %d, replaced by %q", got, r.kernel.swapped)
	}
}

// A signal while rules are being tested is not lost, and they keep no run from
// its end.
func TestSIGHUPWhileReplacing(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.kernel.swap = make(chan struct{})
	r.begin()
	r.send(syscall.SIGHUP)
	<-r.kernel.swap
	r.send(syscall.SIGHUP)
	r.write(newRules)
	r.kernel.swap <- struct{}{}
	<-r.kernel.swap
	r.kernel.swap <- struct{}{}
	r.await(&r.stderr, "as it is now\neth1: replaced")
	r.send(syscall.SIGHUP)
	r.end("eth1: native XDP\n" + strings.Repeat("eth1: replaced by the rules of FILE as it is now\n", 2))
	if !slices.Equal(r.kernel.swapped, []string{oldRules, newRules}) {
		t.Errorf("the rules were replaced by %q", r.kernel.swapped)
	}
}

// A file that cannot be read to its end keeps no run from its own.
func TestSIGHUPWhileReading(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.begin()
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(r.path, 0o600); err != nil {
		t.Fatal(err)
	}
	r.send(syscall.SIGHUP)
	r.send(syscall.SIGUSR1)
	r.await(&r.stderr, "0 pkts in")
	close(r.kernel.done)
	if got := r.wait(); got != exitDone {
		t.Errorf("exit status %d, want 0", got)
	}
}

// The line that is refreshed makes room for what is told.
func TestSIGHUPOnATerminal(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.tty = true
	r.vars["NO_COLOR"] = "1"
	r.kernel.count(run.Count{})
	r.begin()
	r.beat(time.Second)
	r.await(&r.stderr, "1.000 s")
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "as it is now")
	r.end("eth1: native XDP\nCtrl-C to stop\nrewrite 0 pkts in 1.000 s\r" + strings.Repeat(" ", len("rewrite 0 pkts in 1.000 s")) +
		"\reth1: replaced by the rules of FILE as it is now\nrewrite 0 pkts in 1.000 s\n" +
		"nothing matched: only packets that come in on eth1 are looked at (-Q out is for those that leave)\n")
}

// What rules did that are gone counts still.
func TestSummaryOfRulesThatAreGone(t *testing.T) {
	t.Parallel()
	f := newFake(t, rewriteWords...)
	f.kernel.count(run.Count{Matched: 2, Rewritten: 2})
	f.kernel.former = []run.RuleCount{
		{RuleText: run.RuleText{Name: "web", Text: oldRules}, Count: run.Count{Matched: 40, Rewritten: 40}, Gone: true},
		{RuleText: run.RuleText{Name: "", Text: newRules}, Count: run.Count{Matched: 1, Rewritten: 1}, Gone: true},
	}
	close(f.kernel.done)
	_, _, stderr := f.run()
	wantText(t, "stderr", stderr, `eth1: native XDP
1            2 pkts  0 bytes  if udp_dest 443 then udp_dest 8080
web (gone)  40 pkts  0 bytes  if udp_dest 443 then udp_dest 8080
(gone)       1 pkts  0 bytes  if udp_dest 443 then udp_dest 9090
rewrite 43 pkts in 0.000 s
`)
}

func TestReplace(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, stdout, stderr string }{
		{"replace -i eth1 if all then ip_ttl 64", "", "eth1: native XDP\nreplaced; attached until: repacket detach -i eth1\n"},
		{"replace -i eth0 if all then ip_ttl 64", "", "eth0: native XDP\nattached until: repacket detach -i eth0\n"},
		{"replace -j -i eth1 if all", `{"version":1,"event":"replaced","time":"2023-11-14T22:13:20Z","interface":"eth1","direction":"in","hook":"xdp","rules":[{"text":"if all"}]}` + "\n", ""},
	} {
		f := newFake(t, strings.Fields(tt.args)...)
		f.kernel.attached = []run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.In}}}
		status, stdout, stderr := f.run()
		if status != exitDone {
			t.Errorf("%s: exit status %d, want 0", tt.args, status)
		}
		wantText(t, "stdout", stdout, tt.stdout)
		wantText(t, "stderr", stderr, tt.stderr)
		if j := f.kernel.jobs[0]; !j.Replace || !j.Stay {
			t.Errorf("%s: the job is %+v", tt.args, j)
		}
	}
}

// TestSIGHUPPipe: what is no file any more is not waited for, and a file that takes
// its place is read.
func TestSIGHUPPipe(t *testing.T) {
	t.Parallel()
	r := newFileRun(t)
	r.begin()
	if err := errors.Join(os.Remove(r.path), syscall.Mkfifo(r.path, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "the rules before go on\n")
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.write(newRules)
	r.send(syscall.SIGHUP)
	r.await(&r.stderr, "as it is now")
	r.end("eth1: native XDP\nrepacket: error: FILE: only a regular file can be read again\n" +
		"eth1: the rules before go on\neth1: replaced by the rules of FILE as it is now\n")
}

// TestSIGHUPRenamed: behind a reload everything tells the name that the interface has
// by now.
func TestSIGHUPRenamed(t *testing.T) {
	t.Parallel()
	r := newFileRun(t, "--json")
	r.kernel.count(run.Count{Matched: 1})
	r.begin()
	r.kernel.renamed = "eth0"
	r.send(syscall.SIGHUP)
	r.await(&r.stdout, "replaced")
	r.send(syscall.SIGINT)
	r.wait()
	if _, behind, _ := strings.Cut(r.stdout.String(), `"event":"replaced"`); strings.Count(behind, `"interface":"eth0"`) != 2 || strings.Contains(behind, "eth1") {
		t.Errorf("told:\n%s", behind)
	}
}
