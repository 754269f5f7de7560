package live

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"repacket/internal/engine"
	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/rule"
)

func (b *testbed) startLimited(text string, cfg engine.Config) *engine.Run {
	b.t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg.Program, cfg.Interface = p, b.pair.Config.B.Name
	var run *engine.Run
	err = b.pair.B.Do(func() (err error) {
		run, err = engine.Start(cfg)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return run
}

// TestLimitIsExact sends from every CPU at once more packets than the limit.
func TestLimitIsExact(t *testing.T) {
	const each = 1500
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.ip.TTL = 9
	rewritten := p.frame()
	for i, mode := range append(modes, modes...) {
		limit := []uint64{1, 1000}[i/len(modes)]
		run := b.startLimited("if udp then ip_ttl 9", engine.Config{Mode: mode, Limit: limit})
		var senders sync.WaitGroup
		for cpu := range runtime.NumCPU() {
			port := b.open(b.pair.A, b.pair.Config.A)
			senders.Go(func() { flood(t, port, cpu, sent, each) })
		}
		got := b.tally(runtime.NumCPU()*each, sent, rewritten)
		senders.Wait()
		<-run.Done()
		if c := b.stop(run); uint64(got) != limit || c.Rewritten != limit {
			t.Errorf("%s: %d packets were rewritten and %d counted, want %d", mode, got, c.Rewritten, limit)
		}
	}
}

// flood sends n frames from one CPU.
func flood(t *testing.T, port *lab.Port, cpu int, frame []byte, n int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	only.Set(cpu)
	check(t, unix.SchedGetaffinity(0, &before))
	check(t, unix.SchedSetaffinity(0, &only))
	defer func() { check(t, unix.SchedSetaffinity(0, &before)) }()
	for range n {
		check(t, sendAtLast(port, frame))
	}
}

// sendAtLast waits while the veth's ring is full, which drops the frame and
// says so.
func sendAtLast(port *lab.Port, frame []byte) error {
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		err := port.Send(frame)
		if !errors.Is(err, unix.ENOBUFS) || time.Now().After(deadline) {
			return err
		}
	}
}

// tally receives n frames, each of which must be one or the other, and says
// how many were the other.
func (b *testbed) tally(n int, one, other []byte) int {
	b.t.Helper()
	others := 0
	for range n {
		got, err := b.right.Receive(time.Now().Add(5 * time.Second))
		switch {
		case err != nil:
			b.t.Fatal(err)
		case bytes.Equal(got, other):
			others++
		case !bytes.Equal(got, one):
			b.t.Fatalf("got %x", got)
		}
	}
	return others
}

// TestTimeRunsOut: once the time is over packets pass untouched although the
// program is still attached. The kernel's coarse clock may lag by a tick.
func TestTimeRunsOut(t *testing.T) {
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.ip.TTL = 9
	rewritten := p.frame()
	for _, mode := range modes {
		run := b.startLimited("if udp then ip_ttl 9", engine.Config{Mode: mode, For: 300 * time.Millisecond})
		b.expect("in time", sent, rewritten)
		<-run.Done()
		deadline := time.Now().Add(time.Second)
		for !bytes.Equal(b.cross(sent), sent) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: packets are still rewritten a second after the time was over", mode)
			}
		}
		b.expect("out of time", sent, sent)
		b.stop(run)
	}
}

// TestAttachOutlives: what is attached rewrites until it is detached, is found
// again with its counts, and nobody else's program is touched.
func TestAttachOutlives(t *testing.T) {
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.udp.DstPort = 8080
	name := b.pair.Config.B.Name
	for _, mode := range modes {
		checked, err := rule.Check("web: " + portRule)
		if err != nil {
			t.Fatal(err)
		}
		inB := func(f func() error) { t.Helper(); check(t, b.pair.B.Do(f)) }
		inB(func() error {
			a, err := engine.Attach(engine.Config{Program: checked, Interface: name, Mode: mode})
			if err == nil && a.Mode != mode {
				t.Errorf("attached as %s, want %s", a.Mode, mode)
			}
			return err
		})
		b.expect("attached", sent, p.frame())
		inB(func() error { return b.listed(mode, uint64(len(sent))) })
		inB(func() error {
			found, err := engine.Detach(name, hook.In)
			if !found {
				t.Error("detach found nothing")
			}
			return err
		})
		b.expect("detached", sent, sent)
		inB(func() error {
			if l, err := engine.List(); err != nil || len(l) != 0 {
				t.Errorf("after detach: %v, %v", l, err)
			}
			return nil
		})
	}
}

// listed wants exactly the rule of TestAttachOutlives, with one packet counted.
func (b *testbed) listed(mode hook.Mode, size uint64) error {
	b.t.Helper()
	all, err := engine.List()
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Mode != mode || all[0].Meta.Source != "web: "+portRule {
		b.t.Errorf("listed: %+v", all)
		return nil
	}
	want := engine.Count{Matched: 1, MatchedBytes: size, Rewritten: 1, RewrittenBytes: size}
	if len(all[0].Counts) != 1 || all[0].Counts[0] != want {
		b.t.Errorf("counted %+v, want %+v", all[0].Counts, want)
	}
	return nil
}
