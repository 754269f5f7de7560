package engine

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/bpf"
	"repacket/internal/run"
)

// TestRevertsUnderLoad: rules go back 100 times while a numbered stream passes. Every packet is
// rewritten by those before or by the new ones, none is lost, and each is counted once. Other packets
// go to another port by each, and tell when they change.
func TestRevertsUnderLoad(t *testing.T) {
	const reverts, burst, after = 25, 500, 20 * time.Millisecond // on each of four beds
	onBeds(t, func(b *bed) {
		const web = "web: if udp_dest 443 then udp_dest 8080" // is in both, so it counts on
		asked := b.askWho(53, 9001, 9002)
		b.replaceWith(b.with(web + " else if udp_dest 53 then udp_dest 9001"))
		next := b.reverting("if tcp then ip_ttl 3 else "+web+" else if udp_dest 53 then udp_dest 9002", after)
		next.Stay, next.Replace = true, true
		var stopped atomic.Bool
		var reverting sync.WaitGroup
		packets, done, seen := uint64(0), 0, 0
		reverting.Go(func() {
			defer stopped.Store(true)
			for range reverts {
				if err := b.ns.Do(func() error { return b.replaceLoaded(next) }); err != nil {
					b.t.Error(err)
					return
				}
				new, old, changed := asked.until(9001)
				seen += new
				l := b.one()
				switch {
				case old == 0:
					b.t.Error("the rules do not go back")
					return
				case l.Revert == nil || !l.Revert.Over:
					b.t.Errorf("packets meet the rules before, and list says %+v", l.Revert)
				case changed.Sub(l.Revert.At).Abs() > time.Second:
					b.t.Errorf("packets met the rules before from %v on, and list says %v", changed, l.Revert.At)
					return
				}
				done++
			}
			if seen == 0 {
				b.t.Error("no packet has met the new rules")
			}
		})
		for !stopped.Load() {
			b.stream(burst, 443, 8080)
			packets += burst
		}
		reverting.Wait()
		l := b.one()
		counted := map[string]uint64{}
		for _, r := range l.Rules {
			if !r.Gone { // what the new rules counted is of the last of them alone
				counted[r.Text] = r.Rewritten
			}
		}
		want := map[string]uint64{
			"if udp_dest 443 then udp_dest 8080": packets,
			"if udp_dest 53 then udp_dest 9001":  reverts, // the first packet that met it was the last
		}
		if diff := cmp.Diff(want, counted); done != reverts || diff != "" {
			b.t.Errorf("%d reverts; counted (-want +got):\n%s", done, diff)
		}
	})
}

// who asks by packets to one port which of two rules act on them: each sends them to another port.
type who struct {
	b    *bed
	send *net.UDPConn
	came chan uint16 // the port at which one has come
}

func (b *bed) askWho(to uint16, ports ...uint16) *who {
	host := b.pair.Config.B.Addr.Addr()
	w := &who{b: b, came: make(chan uint16, 1)}
	for _, port := range ports {
		var c *net.UDPConn
		check(b.t, b.pair.B.Do(func() (err error) {
			c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, port)))
			return err
		}))
		b.t.Cleanup(func() { c.Close() })
		go func() {
			for buf := make([]byte, 8); ; {
				if _, err := c.Read(buf); err != nil {
					return
				}
				w.came <- port
			}
		}()
	}
	check(b.t, b.pair.A.Do(func() (err error) {
		w.send, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, to)))
		return err
	}))
	b.t.Cleanup(func() { w.send.Close() })
	return w
}

// until asks until packets come at a port, and says how many have come at the other one before, and when
// the first came there; last is 0 where one is lost, or they never do.
func (w *who) until(port uint16) (others int, last uint16, at time.Time) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := w.send.Write([]byte("who")); err != nil {
			w.b.t.Error(err)
			return others, 0, at
		}
		select {
		case got := <-w.came:
			if got == port {
				return others, port, time.Now()
			}
			others++
		case <-time.After(patience):
			w.b.t.Error("a packet is lost, or came where neither rule sends it")
			return others, 0, at
		}
	}
	return others, 0, at
}

// replaceLoaded replaces what is attached without the self-test, which takes longer than all else.
func (b *bed) replaceLoaded(opt run.Options) error {
	s, err := Prepare(opt)
	if err != nil {
		return err
	}
	_, err = s.attachOnce()
	return err
}

// TestRevertIsTested: a program is compared with the reference before its deadline and behind, with
// all that a program can have.
func TestRevertIsTested(t *testing.T) {
	for _, texts := range [][2]string{
		{"if udp_dest 443 then udp_dest 8080", "if tcp_syn on then tcp_mss atmost 1360"},
		{"if ip_src 10.0.0.0/8 then ip_src random 10.1.0.0/16 else if udp then udp_check fix", "if chance 50% then ip_ttl -1 else if ip6 then ip6_hlim 9"},
		{"if udp_dest 20000-50000 then udp_dest 443 replies tracked", "if udp_dest 443 then udp_dest 20000 replies tracked else if tcp then drop"},
		{"if udp then ip_ttl 9", ""},
		{"", "if udp then udp_check fix"},
	} {
		p, was := nothing(), nothing()
		if texts[0] != "" {
			p = checked(t, texts[0])
		}
		if texts[1] != "" {
			was = checked(t, texts[1])
		}
		for _, o := range []LoadOptions{{}, {Fragments: true, Limit: 3}, {Hook: bpf.TC, Timed: true}} {
			o.Revert = &Reversion{Rules: was, With: LoadOptions{Limit: 2, Timed: !o.Timed}}
			if _, err := SelfTest(p, o, 200); err != nil {
				t.Errorf("%q, before %q, %+v: %v", texts[0], texts[1], o, err)
			}
		}
	}
}

// TestRevertToWrongRules: rules before that would not do what they say are found out.
func TestRevertToWrongRules(t *testing.T) {
	p, was := checked(t, "if udp_dest 443 then udp_dest 8080"), checked(t, "if udp then ip_ttl 9")
	o := LoadOptions{Revert: &Reversion{Rules: was}}
	l, err := Load(p, o)
	check(t, err)
	defer l.Close()
	o.Revert.Rules = checked(t, "if udp then ip_ttl 8")
	made := make(chan []trial, 1)
	made <- trials(o.Revert.Rules, o, 100, o.Revert.Rules)
	var d *DifferenceError
	if err := l.testFormer(o, made); !errors.As(err, &d) {
		t.Errorf("tested: %v", err)
	}
}

// TestTooLargeTogether: two sets of rules of which each fits are refused together, with their sizes.
func TestTooLargeTogether(t *testing.T) {
	var text strings.Builder
	for i := range 500 {
		text.WriteString("if ip_id " + strings.Repeat("1", 1+i%4) + " or not tcp_seq 5 then ip_ttl 9 ip_src 10.0.0.1\n")
	}
	p := checked(t, text.String())
	var together *bpf.TogetherError
	_, err := Load(p, LoadOptions{Revert: &Reversion{Rules: p}})
	if !errors.As(err, &together) || max(together.New, together.Former) > bpf.MaxInstructions || together.New+together.Former < bpf.MaxInstructions {
		t.Errorf("loaded: %v", err)
	}
}
