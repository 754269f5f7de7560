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
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/testnet"
)

func (b *testbed) startLimited(text string, cfg run.Options) *engine.Session {
	b.t.Helper()
	p, err := rule.Check(text)
	if err != nil {
		b.t.Fatal(err)
	}
	ns, name := b.end(cfg.Direction)
	cfg.Program, cfg.Interface = p, name
	var session *engine.Session
	err = ns.Do(func() (err error) {
		session, err = engine.Start(cfg)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return session
}

// TestLimitIsExact sends from every CPU at once more packets than the limit.
func TestLimitIsExact(t *testing.T) {
	const each = 1500
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.ip.TTL = 9
	rewritten := p.frame()
	for i, s := range append(before, before...) {
		limit := []uint64{1, 1000}[i/len(before)]
		session := b.startLimited("if udp then ip_ttl 9", run.Options{Hook: s.mode, Target: run.Target{Direction: s.dir}, Limit: limit})
		var senders sync.WaitGroup
		for cpu := range runtime.NumCPU() {
			port := b.open(b.pair.A, b.pair.Config.A)
			senders.Go(func() { flood(t, port, cpu, sent, each) })
		}
		got := b.tally(runtime.NumCPU()*each, sent, rewritten)
		senders.Wait()
		<-session.Done()
		if c := b.stop(session); uint64(got) != limit || c.Rewritten != limit {
			t.Errorf("%s: %d packets were rewritten and %d counted, want %d", s, got, c.Rewritten, limit)
		}
	}
}

// flood sends n frames from one CPU.
func flood(t *testing.T, port *testnet.Port, cpu int, frame []byte, n int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var was, only unix.CPUSet
	only.Set(cpu)
	check(t, unix.SchedGetaffinity(0, &was))
	check(t, unix.SchedSetaffinity(0, &only))
	defer func() { check(t, unix.SchedSetaffinity(0, &was)) }()
	for range n {
		check(t, sendAtLast(port, frame))
	}
}

// sendAtLast waits while the veth's ring is full, which drops the frame and
// says so.
func sendAtLast(port *testnet.Port, frame []byte) error {
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
	for _, s := range before {
		session := b.startLimited("if udp then ip_ttl 9", run.Options{Hook: s.mode, Target: run.Target{Direction: s.dir}, For: 300 * time.Millisecond})
		b.expect("in time", sent, rewritten)
		<-session.Done()
		deadline := time.Now().Add(time.Second)
		for !bytes.Equal(b.cross(sent), sent) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: packets are still rewritten a second after the time was over", s)
			}
		}
		b.expect("out of time", sent, sent)
		b.stop(session)
	}
}

// TestAttachOutlives: what is attached rewrites until it is detached, is found
// again with its counts, and nobody else's program is touched.
func TestAttachOutlives(t *testing.T) {
	b := newTestbed(t)
	p := newPacket("udp")
	sent := p.frame()
	p.udp.DstPort = 8080
	for _, s := range before {
		ns, name := b.end(s.dir)
		checked, err := rule.Check("web: " + portRule)
		if err != nil {
			t.Fatal(err)
		}
		there := func(f func() error) { t.Helper(); check(t, ns.Do(f)) }
		there(func() error {
			prepared, err := engine.Prepare(run.Options{Stay: true, Program: checked, Target: run.Target{Interface: name, Direction: s.dir}, Hook: s.mode})
			if err != nil {
				return err
			}
			a, err := prepared.Attach()
			if err == nil && a.Hook != s.mode {
				t.Errorf("attached as %s, want %s", a.Hook, s)
			}
			return err
		})
		b.expect("attached", sent, p.frame())
		there(func() error { return b.listed(s, uint64(len(sent))) })
		there(func() error {
			done, err := engine.Detach(run.Target{Interface: name, Direction: s.dir})
			if !done.Found {
				t.Error("detach found nothing")
			}
			return err
		})
		b.expect("detached", sent, sent)
		there(func() error {
			if l, err := engine.List(""); err != nil || len(l) != 0 {
				t.Errorf("after detach: %v, %v", l, err)
			}
			return nil
		})
	}
}

// listed wants exactly the rule of TestAttachOutlives, with one packet counted.
func (b *testbed) listed(s site, size uint64) error {
	b.t.Helper()
	all, err := engine.List("")
	if err != nil {
		return err
	}
	if len(all) != 1 || all[0].Hook != s.mode || all[0].Direction != s.dir {
		b.t.Errorf("listed: %+v", all)
		return nil
	}
	want := run.RuleCount{
		RuleText: run.RuleText{Name: "web", Text: portRule},
		Count:    run.Count{Matched: 1, MatchedBytes: size, Rewritten: 1, RewrittenBytes: size},
	}
	if rules := all[0].Rules; len(rules) != 1 || rules[0] != want {
		b.t.Errorf("listed %+v, want %+v", rules, want)
	}
	return nil
}
