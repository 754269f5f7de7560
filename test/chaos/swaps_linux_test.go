package chaos

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/test/needs"
)

// TestSwaps: rules are replaced by the command, and read again by a run, while a numbered stream
// passes. Every packet arrives once and meets the rules before or the new ones.
func TestSwaps(t *testing.T) {
	needs.Kernel(t)
	s := seed(t)
	swaps := amount(1000, 40, 6)
	for _, at := range hooks {
		t.Run(at.name, func(t *testing.T) {
			b := newBed(t, at, s)
			b.attach(oldRules)
			replaced := b.swapping(swaps/2, func(next string) { b.does("replace", "-q", "-i", b.ifname, next) })
			b.clean()
			r := b.startRun("-f", "rules")
			reread := b.swapping(swaps/2, r.reread)
			r.end()
			b.end()
			t.Logf("figure: at %s %d swaps by replace under %d packets (%d by old rules, %d by new ones), %d reloads under %d (%d, %d): %d lost, %d twice, %d untouched",
				at.name, swaps/2, replaced.sent(), replaced.met[byOld], replaced.met[byNew], swaps/2, reread.sent(), reread.met[byOld], reread.met[byNew],
				replaced.lost+reread.lost, replaced.twice+reread.twice, replaced.met[untouched]+reread.met[untouched])
		})
	}
}

// swapping has old and new rules take each other's place so often, and says what the packets of a
// stream meet, which lasts until both have met some.
func (b *bed) swapping(n int, swap func(next string)) tally {
	b.t.Helper()
	stop := make(chan struct{})
	streams := make(chan tally, 1)
	go func() {
		c, err := b.wire.stream(stop)
		b.check(err)
		streams <- c
	}()
	for i := range n {
		swap([]string{newRules, oldRules}[i%2])
	}
	close(stop)
	c := <-streams
	b.count(c)
	if c.met[untouched] > 0 {
		untouchedPackets.Add(int64(c.met[untouched]))
		b.t.Errorf("%d packets met no rules", c.met[untouched])
	}
	if c.met[byOld] == 0 || c.met[byNew] == 0 {
		b.t.Errorf("not both sets have acted: %+v", c)
	}
	return c
}

// running is a run that tells on a pipe what it does.
type running struct {
	*process
	lines *bufio.Reader
}

// event is a line of --json.
type event struct {
	Event   string
	Message string
}

// startRun starts a run with the old rules in the file rules, and waits until they act.
func (b *bed) startRun(args ...string) *running {
	b.t.Helper()
	b.rules(oldRules)
	read, write, err := os.Pipe()
	b.must(err)
	b.t.Cleanup(func() { read.Close() })
	p := b.prepare(nil, append([]string{"--json", "-i", b.ifname, "--hook", b.at.word}, args...)...)
	p.Stdout = write
	p.start()
	b.check(write.Close())
	giveUp := time.AfterFunc(30*patience, func() { _ = p.Process.Kill() }) // so that reading it ends
	b.t.Cleanup(func() { giveUp.Stop() })
	r := &running{p, bufio.NewReader(read)}
	r.await("attached")
	return r
}

// await reads until an event.
func (r *running) await(name string) {
	r.b.t.Helper()
	for {
		line, err := r.lines.ReadBytes('\n')
		if err != nil {
			r.b.t.Fatalf("waiting for %s: %v", name, err)
		}
		var e event
		r.b.must(json.Unmarshal(line, &e))
		if e.Event == name {
			return
		}
		if e.Event == "error" || e.Event == "refused" {
			r.b.t.Fatalf("waiting for %s: %s", name, line)
		}
	}
}

// rules writes the file of rules in one step, as a careful editor does.
func (b *bed) rules(text string) {
	b.t.Helper()
	name := filepath.Join(b.folder, "rules")
	b.must(os.WriteFile(name+".new", []byte(text+"\n"), 0o600))
	b.must(os.Rename(name+".new", name))
}

// reread has the run read other rules.
func (r *running) reread(next string) {
	r.b.t.Helper()
	r.b.rules(next)
	r.b.must(r.Process.Signal(unix.SIGHUP))
	r.await("replaced")
}

// end stops the run.
func (r *running) end() {
	r.b.t.Helper()
	r.b.must(r.Process.Signal(unix.SIGINT))
	r.await("summary")
	if status := r.status(); status != 0 {
		r.b.t.Errorf("the run ends with status %d: %s", status, r.out.String())
	}
	r.b.awaitNone()
}
