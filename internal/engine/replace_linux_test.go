package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/testnet"
)

// TestReplaceOfARun: rules of the same words count on, rules that have gone keep
// what they had and go on when they come back, and the run keeps its hook.
func TestReplaceOfARun(t *testing.T) {
	const web, dns = "web: if udp_dest 443 then udp_dest 8080", "if udp_dest 53 then udp_dest 5353"
	onBeds(t, func(b *bed) {
		session := b.start(web, 0)
		replace := func(text string) {
			b.t.Helper()
			b.do(func() error { return replaced(session.Replace(checked(b.t, text))) })
		}
		want := func(counts ...uint64) {
			b.t.Helper()
			now, err := session.Counts()
			rules := now.Rules
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
		counts, err := session.Counts()
		rules := counts.Rules
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
		if len(listed) != 2 || listed[0] != 1 || listed[1] != 5 || session.Attachment().Hook != b.cfg.Hook {
			b.t.Errorf("listed %v at %s", listed, session.Attachment().Hook)
		}
		final, err := session.Close()
		check(b.t, err)
		if len(final.Rules) != 3 || final.Rules[1].Rewritten != 5 {
			b.t.Errorf("the end: %+v", final)
		}
		want(1, 5, 3)
		if err := replaced(session.Replace(checked(b.t, web))); err == nil {
			b.t.Error("rules were put into a run that has ended")
		}
	})
}

// listed is what list says that the rules have rewritten.
func (b *bed) listed() (out []uint64) {
	b.t.Helper()
	b.do(func() error {
		all, err := List("")
		if err != nil || len(all) != 1 {
			b.t.Errorf("listed %+v, %v", all, err)
			return err
		}
		for _, c := range all[0].Rules {
			out = append(out, c.Rewritten)
		}
		return nil
	})
	return out
}

// TestReplaceOfWhatIsAttached: the same by the interface's own program, attached
// where there is none, and detached as always.
func TestReplaceOfWhatIsAttached(t *testing.T) {
	const web, dns = "web: if udp_dest 443 then udp_dest 8080", "if udp_dest 53 then udp_dest 5353"
	onBeds(t, func(b *bed) {
		replace := func(text string, replaced bool) {
			b.t.Helper()
			b.do(func() error {
				a, err := replaceRules(b.with(text))
				if err == nil && (a.Replaced != replaced || a.Hook != b.cfg.Hook) {
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
		auto.Hook = run.Auto
		b.do(func() error {
			if _, err := advise(auto); err != nil {
				return err
			}
			a, err := replaceRules(auto)
			if err == nil && a.Hook != b.cfg.Hook {
				b.t.Errorf("at %s", a.Hook)
			}
			return err
		})
		b.do(func() error {
			done, err := Detach(b.cfg.Target)
			if !done.Found {
				b.t.Error("nothing was there to detach")
			}
			wantPrograms(b.t, b.cfg.Interface)
			return err
		})
	})
}

// TestReplaceRefused: whatever is refused, what was there stays and works on.
func TestReplaceRefused(t *testing.T) {
	const web = "web: if udp_dest 443 then udp_dest 8080"
	onBeds(t, func(b *bed) {
		session := b.start(web, 0)
		b.do(func() error {
			var taken *hook.TakenError
			for what, f := range map[string]func(run.Options) error{
				"replace": func(cfg run.Options) error { _, err := replaceRules(cfg); return err },
				"advise":  func(cfg run.Options) error { cfg.Replace = true; _, err := advise(cfg); return err },
			} {
				if err := f(b.with(web)); !errors.As(err, &taken) || taken.PID != os.Getpid() {
					b.t.Errorf("%s what a process holds: %v", what, err)
				}
			}
			var none *hook.NoInterfaceError
			if err := replaced(session.Replace(checked(b.t, "if udp then redirect nowhere0"))); !errors.As(err, &none) {
				b.t.Errorf("redirect to nowhere: %v", err)
			}
			if b.cfg.Hook == run.XDP { // the other end of the veth is elsewhere
				var unsupported *hook.UnsupportedError
				if err := replaced(session.Replace(checked(b.t, "if udp then reflect"))); !errors.As(err, &unsupported) {
					b.t.Errorf("what another hook could do: %v", err)
				}
			}
			session.opt.Broken = true
			var d *DifferenceError
			if err := replaced(session.Replace(checked(b.t, web))); !errors.As(err, &d) {
				b.t.Errorf("a broken program: %v", err)
			}
			return nil
		})
		b.stream(2, 443, 8080)
		counts, err := session.Close()
		check(b.t, err)
		if counts.Rules[0].Rewritten != 2 {
			b.t.Errorf("counted %+v", counts)
		}
		b.do(func() error {
			_, err := attachRules(b.with(web))
			if err != nil {
				return err
			}
			broken := b.with(web)
			broken.Broken = true
			var d *DifferenceError
			if _, err := replaceRules(broken); !errors.As(err, &d) {
				b.t.Errorf("a broken program: %v", err)
			}
			other := b.with(web)
			other.Hook = run.GenericXDP
			if b.cfg.Hook == run.GenericXDP {
				other.Hook = run.TC
			}
			if b.cfg.Direction == run.In {
				var usage *UsageError
				if _, err := replaceRules(other); !errors.As(err, &usage) {
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
			_, err := Detach(b.cfg.Target)
			return err
		})
	})
}

// TestLimitGoesOn: rules that take the place of others draw on the same number
// of packets and the same time.
func TestLimitGoesOn(t *testing.T) {
	const limit, burst = 500, 100
	onBeds(t, func(b *bed) {
		session := b.start("if udp_dest 443 then ip_ttl 9", limit)
		texts := []string{"if udp_dest 443 then ip_ttl 8", "if udp_dest 443 then ip_ttl 9"}
		for i := range 2 * limit / burst {
			b.stream(burst, 443, 443)
			b.do(func() error { return replaced(session.Replace(checked(b.t, texts[i%2]))) })
		}
		<-session.Done()
		_, err := session.Close()
		check(b.t, err)
		counts, err := session.Counts()
		rules := counts.Rules
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
			session, err := Start(cfg)
			if err != nil {
				return err
			}
			defer session.Close()
			// The time is over; the new rules must not have another one.
			if err := session.rules.loaded.SetDeadline(1); err != nil {
				return err
			}
			if err := replaced(session.Replace(checked(b.t, "if udp_dest 443"))); err != nil {
				return err
			}
			b.stream(2, 443, 443)
			counts, err := session.Counts()
			if counts.Rules[0].Matched != 0 {
				b.t.Errorf("counted %+v behind the deadline", counts)
			}
			return err
		})
	})
}

// TestCloseWhileReplacing: a run that ends waits for no self-test, and nothing is
// attached behind its end.
func TestCloseWhileReplacing(t *testing.T) {
	onBeds(t, func(b *bed) {
		session := b.start("if udp then ip_ttl 9", 0)
		p := checked(b.t, "if udp then ip_ttl 8")
		var replacing sync.WaitGroup
		for range 3 {
			replacing.Go(func() { _ = b.ns.Do(func() error { return replaced(session.Replace(p)) }) })
		}
		_, err := session.Close()
		check(b.t, err)
		replacing.Wait()
		b.do(func() error { wantPrograms(b.t, b.cfg.Interface); return nil })
	})
}

// TestNoDescriptorIsLeftByReplace: what is replaced is given back.
func TestNoDescriptorIsLeftByReplace(t *testing.T) {
	onBeds(t, func(b *bed) {
		session := b.start("if udp then ip_ttl 9", 1000)
		p := checked(b.t, "if udp then ip_ttl 8")
		replace := func() int {
			b.do(func() error { return replaced(session.Replace(p)) })
			all, err := os.ReadDir("/proc/self/fd")
			check(b.t, err)
			return len(all)
		}
		replace() // from here on the counters of the one before are open
		before := replace()
		if after := replace(); after != before {
			b.t.Errorf("%d descriptors are open, before it were %d", after, before)
		}
		_, err := session.Close()
		check(b.t, err)
	})
}

// TestPeersStay: what native XDP sends to a veth goes on arriving when other
// rules send it, and in the end the other end is bare again.
func TestPeersStay(t *testing.T) {
	ns := newNamespace(t)
	check(t, lab.Connect(ns, ns, lab.PairConfig{A: lab.End{Name: "v0"}, B: lab.End{Name: "v1"}}))
	sent := datagram(t, 1)
	port, err := testnet.OpenPort(ns, "v1", net.HardwareAddr(sent[6:12]))
	check(t, err)
	defer port.Close()
	check(t, ns.Do(func() error {
		session, err := Start(run.Options{Program: checked(t, "if udp then ip_ttl 9 reflect"), Target: run.Target{Interface: "v0"}, Hook: run.XDP})
		if err != nil {
			return err
		}
		for _, ttl := range []byte{8, 7} {
			check(t, replaced(session.Replace(checked(t, fmt.Sprintf("if udp then ip_ttl %d reflect", ttl)))))
			wantPrograms(t, "v1", hook.PeerName)
			check(t, port.Send(sent))
			got, err := port.Receive(time.Now().Add(patience))
			if err != nil || got[22] != ttl {
				t.Errorf("got %x, %v", got, err)
			}
		}
		_, err = session.Close()
		wantPrograms(t, "v0")
		wantPrograms(t, "v1")
		return err
	}))
}

// TestOvertaken: what detach has found and another process has replaced or taken
// off meanwhile is known as such, so that it looks again.
func TestOvertaken(t *testing.T) {
	pair := newPair(t, lab.PairConfig{})
	check(t, pair.B.Do(func() error {
		for name, meanwhile := range map[string]func(run.Options) error{
			"replaced": func(cfg run.Options) error { _, err := replaceRules(cfg); return err },
			"detached": func(run.Options) error { _, err := Detach(run.Target{Interface: "right"}); return err },
		} {
			cfg := run.Options{Program: checked(t, "if udp"), Target: run.Target{Interface: "right"}}
			_, err := replaceRules(cfg)
			check(t, err)
			i, err := hook.Interface("right")
			check(t, err)
			a, err := hook.Find(i.Index, run.In)
			check(t, err)
			check(t, meanwhile(cfg))
			if err := hook.Detach(a); !overtaken(err) {
				t.Errorf("%s: %v", name, err)
			}
			if done, err := Detach(run.Target{Interface: "right"}); done.Found != (name == "replaced") || err != nil {
				t.Errorf("%s: detach done.Found %v, %v", name, done.Found, err)
			}
			wantPrograms(t, "right")
		}
		return nil
	}))
}

// TestReplaceBehindANewName: an interface that has got another name since the run
// began is still the same.
func TestReplaceBehindANewName(t *testing.T) {
	pair := newPair(t, lab.PairConfig{})
	check(t, pair.B.Do(func() error {
		r, err := Start(run.Options{Program: checked(t, "if udp"), Target: run.Target{Interface: "right"}})
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName("right")
		check(t, err)
		check(t, errors.Join(netlink.LinkSetDown(link), netlink.LinkSetName(link, "lan0"), netlink.LinkSetUp(link)))
		check(t, replaced(r.Replace(checked(t, "if udp then udp_dest 53"))))
		if name, err := r.interfaceName(); name != "lan0" {
			t.Errorf("the interface is now called %q: %v", name, err)
		}
		wantPrograms(t, "lan0", hook.ProgramName)
		_, err = r.Close()
		return err
	}))
}
