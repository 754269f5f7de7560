package engine

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"repacket/internal/hook"
	"repacket/internal/lab"
)

// spots are where rules are swapped: packets go from left to right.
var spots = []struct {
	mode hook.Mode
	dir  hook.Direction
}{{hook.Native, hook.In}, {hook.Generic, hook.In}, {hook.TC, hook.In}, {hook.TC, hook.Out}}

// bed is a veth pair with rules on one end.
type bed struct {
	t    *testing.T
	pair *lab.Pair
	ns   *lab.Namespace // of the end with the rules
	cfg  Config
}

// onBeds runs a test at each of the spots.
func onBeds(t *testing.T, test func(b *bed)) {
	for _, s := range spots {
		t.Run(s.mode.String()+" "+s.dir.String(), func(t *testing.T) {
			b := &bed{t: t, pair: newPair(t, lab.PairConfig{}), cfg: Config{Interface: "right", Mode: s.mode, Direction: s.dir}}
			b.ns = b.pair.B
			if s.dir == hook.Out {
				b.ns, b.cfg.Interface = b.pair.A, "left"
			}
			test(b)
		})
	}
}

// do calls f in the namespace of the rules.
func (b *bed) do(f func() error) {
	b.t.Helper()
	check(b.t, b.ns.Do(f))
}

func (b *bed) with(text string) Config {
	cfg := b.cfg
	cfg.Program = checked(b.t, text)
	return cfg
}

func (b *bed) start(text string, limit uint64) (r *Run) {
	b.t.Helper()
	cfg := b.with(text)
	cfg.Limit = limit
	b.do(func() (err error) {
		r, err = Start(cfg)
		return err
	})
	return r
}

const datagramSize = 64 // bytes of payload

// stream sends n numbered datagrams to a port. Each of them must arrive at
// another one, once and unbroken.
func (b *bed) stream(n int, to, arrives uint16) {
	b.t.Helper()
	check(b.t, b.trySend(n, to, arrives))
}

func (b *bed) trySend(n int, to, arrives uint16) error {
	host := b.pair.Config.B.Addr.Addr()
	_, err := lab.Stream(lab.StreamConfig{
		From: b.pair.A, To: b.pair.B, UDP: true,
		Dial: netip.AddrPortFrom(host, to), Listen: netip.AddrPortFrom(host, arrives),
		Bytes: n * datagramSize, Size: datagramSize, Timeout: time.Minute,
	})
	return err
}

// swapLoaded is Run.Replace without the proof, which takes longer than all the
// rest.
func swapLoaded(r *Run, cfg Config) error {
	cfg.Mode = r.cfg.Mode
	s, c, err := newSite(cfg)
	if err != nil {
		return err
	}
	l, err := Load(cfg.Program, s.options(c.Mode))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.old = r.record
	_, err = s.finish(l, c, r.take)
	return err
}

// TestSwapsUnderLoad: while rules are swapped, 1,000 times if 10 seconds are
// enough for it, every packet of a stream is rewritten by the old ones or by
// the new ones, none is lost, and each is counted once.
func TestSwapsUnderLoad(t *testing.T) {
	const most, burst = 1000, 2000
	onBeds(t, func(b *bed) {
		sets := []Config{
			b.with("one: if udp_dest 443 then udp_dest 8080 ip_ttl 9"),
			b.with("if tcp then ip_ttl 3 else two: if udp_dest 443 then ip_ttl 8 udp_dest 8080"),
		}
		run := b.start(sets[0].Program.Source, 0)
		var stopped atomic.Bool
		var swapping sync.WaitGroup
		swaps := 0
		began := time.Now()
		swapping.Go(func() {
			defer stopped.Store(true)
			for end := began.Add(10 * time.Second); swaps < most && time.Now().Before(end); swaps++ {
				next := sets[(swaps+1)%2]
				if err := b.ns.Do(func() error { return swapLoaded(run, next) }); err != nil {
					b.t.Error(err)
					return
				}
			}
		})
		packets := uint64(0)
		for !stopped.Load() {
			b.stream(burst, 443, 8080)
			packets += burst
		}
		swapping.Wait()
		b.t.Logf("%d swaps in %.1f s, %d packets", swaps, time.Since(began).Seconds(), packets)
		_, err := run.Close()
		check(b.t, err)
		rules, err := run.Rules()
		check(b.t, err)
		var sum Count
		counted := map[string]uint64{}
		for _, c := range rules {
			counted[c.Name] += c.Rewritten
			sum.Rewritten += c.Rewritten
			sum.RewrittenBytes += c.RewrittenBytes
		}
		// Ethernet, IPv4 and UDP headers are 14, 20 and 8 bytes.
		if sum.Rewritten != packets || sum.RewrittenBytes != packets*(14+20+8+datagramSize) {
			b.t.Errorf("counted %+v in all, want %d packets: %+v", sum, packets, rules)
		}
		if counted["one"] == 0 || counted["two"] == 0 {
			b.t.Errorf("not both sets have worked: %v", counted)
		}
	})
}

// TestReplaceOfARun: rules of the same words count on, rules that have gone keep
// what they had and go on when they come back, and the run keeps its hook.
func TestReplaceOfARun(t *testing.T) {
	const web, dns = "web: if udp_dest 443 then udp_dest 8080", "if udp_dest 53 then udp_dest 5353"
	onBeds(t, func(b *bed) {
		run := b.start(web, 0)
		replace := func(text string) {
			b.t.Helper()
			b.do(func() error { return run.Replace(checked(b.t, text)) })
		}
		want := func(counts ...uint64) {
			b.t.Helper()
			rules, err := run.Rules()
			check(b.t, err)
			var got []uint64
			for _, c := range rules {
				got = append(got, c.Rewritten)
			}
			if !slices.Equal(got, counts) {
				b.t.Errorf("counted %v, want %v: %+v", got, counts, rules)
			}
		}
		b.stream(3, 443, 8080)
		want(3)
		replace(dns + " else " + web)
		want(0, 3)
		b.stream(2, 53, 5353)
		b.stream(1, 443, 8080)
		want(2, 4)
		replace(dns)
		want(2, 4) // the second one has gone
		rules, err := run.Rules()
		check(b.t, err)
		if rules[0].Gone || !rules[1].Gone || rules[1].Name != "web" {
			b.t.Errorf("the rules are %+v", rules)
		}
		b.stream(1, 53, 5353)
		replace("if udp_dest 53 then ip_ttl 9 udp_dest 5353 else " + web)
		b.stream(1, 53, 5353)
		b.stream(1, 443, 8080)
		want(1, 5, 3)
		listed := b.listed()
		if len(listed) != 2 || listed[0] != 1 || listed[1] != 5 || run.Hook() != b.cfg.Mode {
			b.t.Errorf("listed %v at %s", listed, run.Hook())
		}
		final, err := run.Close()
		check(b.t, err)
		if len(final) != 2 || final[1].Rewritten != 5 {
			b.t.Errorf("the end: %+v", final)
		}
		want(1, 5, 3)
		if err := run.Replace(checked(b.t, web)); err == nil {
			b.t.Error("rules were put into a run that has ended")
		}
	})
}

// listed is what list says that the rules have rewritten.
func (b *bed) listed() (out []uint64) {
	b.t.Helper()
	b.do(func() error {
		all, err := List()
		if err != nil || len(all) != 1 {
			b.t.Errorf("listed %+v, %v", all, err)
			return err
		}
		for _, c := range all[0].Counts {
			out = append(out, c.Rewritten)
		}
		return nil
	})
	return out
}

// TestReplaceOfWhatIsAttached: the same by the interface's own program, put on
// where there is none, and taken off as always.
func TestReplaceOfWhatIsAttached(t *testing.T) {
	const web, dns = "web: if udp_dest 443 then udp_dest 8080", "if udp_dest 53 then udp_dest 5353"
	onBeds(t, func(b *bed) {
		replace := func(text string, replaced bool) {
			b.t.Helper()
			b.do(func() error {
				a, err := Replace(b.with(text))
				if err == nil && (a.Replaced != replaced || a.Mode != b.cfg.Mode) {
					b.t.Errorf("%+v, want replaced: %v", a, replaced)
				}
				return err
			})
		}
		want := func(counts ...uint64) {
			b.t.Helper()
			if got := b.listed(); !slices.Equal(got, counts) {
				b.t.Errorf("counted %v, want %v", got, counts)
			}
		}
		replace(web, false)
		b.stream(3, 443, 8080)
		for range 3 { // what is kept is handed on
			replace(web, true)
		}
		want(3)
		replace(dns+" else "+web, true)
		b.stream(2, 53, 5353)
		b.stream(1, 443, 8080)
		want(2, 4)
		replace(dns+" else if tcp then ip_ttl 9", true)
		want(2, 0)
		replace(web+" else "+dns, true) // web begins again
		want(0, 2)
		// Whatever the hook would be, it is the one where they are.
		auto := b.with(web)
		auto.Mode = hook.Auto
		b.do(func() error {
			if _, err := Advise(auto); err != nil {
				return err
			}
			a, err := Replace(auto)
			if err == nil && a.Mode != b.cfg.Mode {
				b.t.Errorf("at %s", a.Mode)
			}
			return err
		})
		b.do(func() error {
			found, err := Detach(b.cfg.Interface, b.cfg.Direction)
			if !found {
				b.t.Error("nothing was there to detach")
			}
			wantPrograms(b.t, b.cfg.Interface)
			return err
		})
	})
}

// TestListNeverGoesBack: who looks while rules are replaced under load never
// sees less than before, and in the end every packet is counted.
func TestListNeverGoesBack(t *testing.T) {
	const sets, packets = 6, 4000
	texts := [2]string{
		"web: if udp_dest 443 then udp_dest 8080",
		"web: if udp_dest 443 then udp_dest 8080 else if tcp then ip_ttl 9",
	}
	onBeds(t, func(b *bed) {
		b.do(func() error {
			_, err := Attach(b.with(texts[0]))
			return err
		})
		var stopped atomic.Bool
		var work sync.WaitGroup
		work.Go(func() {
			defer stopped.Store(true)
			for i := range sets {
				cfg := b.with(texts[(i+1)%2])
				if err := b.ns.Do(func() error { _, err := Replace(cfg); return err }); err != nil {
					b.t.Error(err)
				}
			}
		})
		var streams sync.WaitGroup
		sent := uint64(0)
		streams.Go(func() {
			for !stopped.Load() {
				if err := b.trySend(packets, 443, 8080); err != nil {
					b.t.Error(err)
				}
				sent += packets
			}
		})
		last := uint64(0)
		for !stopped.Load() {
			got := b.listed()
			if len(got) == 0 || got[0] < last {
				b.t.Fatalf("listed %v behind %d", got, last)
			}
			last = got[0]
		}
		work.Wait()
		streams.Wait()
		if got := b.listed()[0]; got != sent {
			b.t.Errorf("counted %d packets of %d", got, sent)
		}
		b.do(func() error {
			_, err := Detach(b.cfg.Interface, b.cfg.Direction)
			return err
		})
	})
}

// TestReplaceRefused: whatever is refused, what was there stays and works on.
func TestReplaceRefused(t *testing.T) {
	const web = "web: if udp_dest 443 then udp_dest 8080"
	onBeds(t, func(b *bed) {
		run := b.start(web, 0)
		b.do(func() error {
			var taken *hook.ErrTaken
			for what, f := range map[string]func(Config) error{
				"replace": func(cfg Config) error { _, err := Replace(cfg); return err },
				"advise":  func(cfg Config) error { cfg.Replace = true; _, err := Advise(cfg); return err },
			} {
				if err := f(b.with(web)); !errors.As(err, &taken) || taken.PID != os.Getpid() {
					b.t.Errorf("%s what a process holds: %v", what, err)
				}
			}
			var none *hook.ErrNoInterface
			if err := run.Replace(checked(b.t, "if udp then redirect nowhere0")); !errors.As(err, &none) {
				b.t.Errorf("redirect to nowhere: %v", err)
			}
			if b.cfg.Mode == hook.Native { // the other end of the veth is elsewhere
				var unsupported *hook.ErrUnsupported
				if err := run.Replace(checked(b.t, "if udp then reflect")); !errors.As(err, &unsupported) {
					b.t.Errorf("what another hook could do: %v", err)
				}
			}
			run.cfg.Broken = true
			var d *Difference
			if err := run.Replace(checked(b.t, web)); !errors.As(err, &d) {
				b.t.Errorf("a broken program: %v", err)
			}
			return nil
		})
		b.stream(2, 443, 8080)
		counts, err := run.Close()
		check(b.t, err)
		if counts[0].Rewritten != 2 {
			b.t.Errorf("counted %+v", counts)
		}
		b.do(func() error {
			_, err := Attach(b.with(web))
			if err != nil {
				return err
			}
			broken := b.with(web)
			broken.Broken = true
			var d *Difference
			if _, err := Replace(broken); !errors.As(err, &d) {
				b.t.Errorf("a broken program: %v", err)
			}
			other := b.with(web)
			other.Mode = hook.Generic
			if b.cfg.Mode == hook.Generic {
				other.Mode = hook.TC
			}
			if b.cfg.Direction == hook.In {
				var usage *UsageError
				if _, err := Replace(other); !errors.As(err, &usage) {
					b.t.Errorf("another hook: %v", err)
				}
			}
			return nil
		})
		b.stream(2, 443, 8080)
		if got := b.listed(); got[0] != 2 {
			b.t.Errorf("listed %v", got)
		}
		b.do(func() error {
			_, err := Detach(b.cfg.Interface, b.cfg.Direction)
			return err
		})
	})
}

// TestLimitGoesOn: rules that take the place of others draw on the same number
// of packets and the same time.
func TestLimitGoesOn(t *testing.T) {
	const limit, burst = 500, 100
	onBeds(t, func(b *bed) {
		run := b.start("if udp_dest 443 then ip_ttl 9", limit)
		texts := []string{"if udp_dest 443 then ip_ttl 8", "if udp_dest 443 then ip_ttl 9"}
		for i := range 2 * limit / burst {
			b.stream(burst, 443, 443)
			b.do(func() error { return run.Replace(checked(b.t, texts[i%2])) })
		}
		<-run.Done()
		_, err := run.Close()
		check(b.t, err)
		rules, err := run.Rules()
		check(b.t, err)
		sum := uint64(0)
		for _, c := range rules {
			sum += c.Rewritten
		}
		if sum != limit {
			b.t.Errorf("acted on %d packets, want %d", sum, limit)
		}
	})
}

func TestTimeGoesOn(t *testing.T) {
	onBeds(t, func(b *bed) {
		cfg := b.with("if udp")
		cfg.For = time.Hour
		b.do(func() error {
			run, err := Start(cfg)
			if err != nil {
				return err
			}
			defer run.Close()
			// The time is over; the new rules must not have another one.
			if err := run.loaded.SetDeadline(1); err != nil {
				return err
			}
			if err := run.Replace(checked(b.t, "if udp_dest 443")); err != nil {
				return err
			}
			b.stream(2, 443, 443)
			counts, err := run.Counts()
			if counts[0].Matched != 0 {
				b.t.Errorf("counted %+v behind the deadline", counts)
			}
			return err
		})
	})
}

// TestCloseWhileReplacing: a run that ends waits for no proof, and nothing is
// put on behind its end.
func TestCloseWhileReplacing(t *testing.T) {
	onBeds(t, func(b *bed) {
		run := b.start("if udp then ip_ttl 9", 0)
		p := checked(b.t, "if udp then ip_ttl 8")
		var replacing sync.WaitGroup
		for range 3 {
			replacing.Go(func() { _ = b.ns.Do(func() error { return run.Replace(p) }) })
		}
		_, err := run.Close()
		check(b.t, err)
		replacing.Wait()
		b.do(func() error { wantPrograms(b.t, b.cfg.Interface); return nil })
	})
}

// TestNoDescriptorIsLeftByReplace: what is replaced is given back.
func TestNoDescriptorIsLeftByReplace(t *testing.T) {
	onBeds(t, func(b *bed) {
		run := b.start("if udp then ip_ttl 9", 1000)
		p := checked(b.t, "if udp then ip_ttl 8")
		replace := func() int {
			b.do(func() error { return run.Replace(p) })
			all, err := os.ReadDir("/proc/self/fd")
			check(b.t, err)
			return len(all)
		}
		replace() // from here on the counters of the one before are open
		before := replace()
		if after := replace(); after != before {
			b.t.Errorf("%d descriptors are open, before it were %d", after, before)
		}
		_, err := run.Close()
		check(b.t, err)
	})
}
