package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// spots are where rules are swapped: packets go from left to right.
var spots = []struct {
	mode run.Hook
	dir  run.Direction
}{{run.XDP, run.In}, {run.GenericXDP, run.In}, {run.TC, run.In}, {run.TC, run.Out}}

// bed is a veth pair with rules on one end.
type bed struct {
	t    *testing.T
	pair *lab.Pair
	ns   *lab.Namespace // of the end with the rules
	cfg  run.Options
}

// onBeds runs a test at each of the spots.
func onBeds(t *testing.T, test func(b *bed)) {
	for _, s := range spots {
		t.Run(s.mode.String()+" "+s.dir.String(), func(t *testing.T) {
			b := &bed{t: t, pair: newPair(t, lab.PairConfig{}), cfg: run.Options{Target: run.Target{Interface: "right", Direction: s.dir}, Hook: s.mode}}
			b.ns = b.pair.B
			if s.dir == run.Out {
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

func (b *bed) with(text string) run.Options {
	cfg := b.cfg
	cfg.Program = checked(b.t, text)
	return cfg
}

func (b *bed) start(text string, limit uint64) (r *Session) {
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
	_, err := testnet.Stream(testnet.StreamConfig{
		From: b.pair.A, To: b.pair.B, UDP: true,
		Dial: netip.AddrPortFrom(host, to), Listen: netip.AddrPortFrom(host, arrives),
		Bytes: n * datagramSize, Size: datagramSize, Timeout: time.Minute,
	})
	return err
}

// swapLoaded is Session.Replace without the self-test, which takes longer than all the
// rest.
func swapLoaded(r *Session, cfg run.Options) error {
	cfg.Hook = r.opt.Hook
	s, err := Prepare(cfg)
	if err != nil {
		return err
	}
	for _, side := range s.sides() {
		if side.ahead, err = Load(side.opt.Program, side.options(side.choice.Hook)); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.swap(s)
}

// TestSwapsUnderLoad: while rules are swapped, 1,000 times if 10 seconds are
// enough for it, every packet of a stream is rewritten by the old ones or by
// the new ones, none is lost, and each is counted once.
func TestSwapsUnderLoad(t *testing.T) {
	const most, burst = 1000, 2000
	onBeds(t, func(b *bed) {
		sets := []run.Options{
			b.with("one: if udp_dest 443 then udp_dest 8080 ip_ttl 9"),
			b.with("if tcp then ip_ttl 3 else two: if udp_dest 443 then ip_ttl 8 udp_dest 8080"),
		}
		session := b.start(sets[0].Program.Source, 0)
		var stopped atomic.Bool
		var swapping sync.WaitGroup
		swaps := 0
		began := time.Now()
		swapping.Go(func() {
			defer stopped.Store(true)
			for end := began.Add(10 * time.Second); swaps < most && time.Now().Before(end); swaps++ {
				next := sets[(swaps+1)%2]
				if err := b.ns.Do(func() error { return swapLoaded(session, next) }); err != nil {
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
		_, err := session.Close()
		check(b.t, err)
		counts, err := session.Counts()
		rules := counts.Rules
		check(b.t, err)
		var sum run.Count
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
			_, err := attachRules(b.with(texts[0]))
			return err
		})
		var stopped atomic.Bool
		var work sync.WaitGroup
		work.Go(func() {
			defer stopped.Store(true)
			for i := range sets {
				cfg := b.with(texts[(i+1)%2])
				if err := b.ns.Do(func() error { _, err := replaceRules(cfg); return err }); err != nil {
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
			_, err := Detach(b.cfg.Target)
			return err
		})
	})
}
