package engine

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"repacket/internal/hook"
	"repacket/internal/lab"
	"repacket/internal/run"
	"repacket/test/needs"
)

// ended closes a run that has matched nothing, and says what is known of the packets.
func ended(t *testing.T, r *Session) run.Traffic {
	t.Helper()
	counts, err := r.Close()
	check(t, err)
	if all := counts.Total(); all.Matched != 0 {
		t.Errorf("matched %d packets, want none", all.Matched)
	}
	traffic, err := r.Traffic()
	check(t, err)
	return traffic
}

// TestTrafficBesideRules: the packets that rules did not match are known, those before the
// run are none of them, and so is that there were none.
func TestTrafficBesideRules(t *testing.T) {
	needs.Kernel(t)
	onBeds(t, func(b *bed) {
		b.stream(4, 443, 443)
		silent := b.start("if tcp then ip_ttl 9", 0)
		b.do(func() error {
			if got := ended(b.t, silent); got.Seen != 0 || !got.Up || !got.Carrier || got.Bridge || got.Filters {
				b.t.Errorf("nobody sent: %+v", got)
			}
			return nil
		})
		session := b.start("if tcp then ip_ttl 9", 0)
		b.stream(5, 443, 443)
		b.do(func() error {
			if got := ended(b.t, session); got.Seen != 5 || got.Other != 0 || got.Interface != b.cfg.Interface {
				b.t.Errorf("5 packets were sent: %+v", got)
			}
			return nil
		})
	})
}

// TestTrafficOfTheOtherDirection is told too.
func TestTrafficOfTheOtherDirection(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	b := &bed{t: t, pair: pair, ns: pair.A, cfg: run.Options{Target: run.Target{Interface: "left"}}}
	session := b.start("if udp", 0)
	b.stream(3, 443, 443)
	b.do(func() error {
		if got := ended(t, session); got.Seen != 0 || got.Other != 3 {
			t.Errorf("3 packets left: %+v", got)
		}
		return nil
	})
}

// TestTrafficOfADownInterface: it says so, and so does one whose other end is down.
func TestTrafficOfADownInterface(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	down := func(name string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	}
	b := &bed{t: t, pair: pair, ns: pair.B, cfg: run.Options{Target: run.Target{Interface: "right"}}}
	session := b.start("if udp", 0)
	check(t, pair.A.Do(func() error { return down("left") }))
	b.do(func() error {
		if got := ended(t, session); !got.Up || got.Carrier {
			t.Errorf("the other end is down: %+v", got)
		}
		return nil
	})
	session = b.start("if udp", 0)
	b.do(func() error {
		check(t, down("right"))
		if got := ended(t, session); got.Up || got.Carrier || got.Seen != 0 {
			t.Errorf("it is down: %+v", got)
		}
		return nil
	})
}

// TestTrafficOfABridge: what a bridge forwards does not come in on the bridge, but on its
// ports.
func TestTrafficOfABridge(t *testing.T) {
	needs.Kernel(t)
	left, middle, right := newNamespace(t), newNamespace(t), newNamespace(t)
	ends := []lab.End{
		{Name: "left", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Addr: netip.MustParsePrefix("192.0.2.1/24")},
		{Name: "right", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, Addr: netip.MustParsePrefix("192.0.2.2/24")},
	}
	check(t, middle.Do(func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		return errors.Join(netlink.LinkAdd(bridge), netlink.LinkSetUp(bridge))
	}))
	for i, ns := range []*lab.Namespace{left, right} {
		port := lab.End{Name: "port-" + ends[i].Name}
		check(t, lab.Connect(ns, middle, lab.PairConfig{A: ends[i], B: port}))
		check(t, middle.Do(func() error {
			bridge, err := netlink.LinkByName("br0")
			check(t, err)
			l, err := netlink.LinkByName(port.Name)
			check(t, err)
			return netlink.LinkSetMaster(l, bridge)
		}))
	}
	pair := &lab.Pair{A: left, B: right, Config: lab.PairConfig{A: ends[0], B: ends[1]}}
	b := &bed{t: t, pair: pair, ns: middle, cfg: run.Options{Target: run.Target{Interface: "br0"}}}
	onBridge := b.start("if udp_dest 443", 0)
	b.cfg.Interface = "port-left"
	onPort := b.start("if udp_dest 443", 0)
	b.stream(3, 443, 443)
	b.do(func() error {
		got := ended(t, onBridge)
		if slices.Sort(got.Ports); !got.Bridge || !slices.Equal(got.Ports, []string{"port-left", "port-right"}) {
			t.Errorf("br0: %+v", got)
		}
		counts, err := onPort.Close()
		if counts.Total().Matched != 3 {
			t.Errorf("the port has matched %d packets, want 3", counts.Total().Matched)
		}
		return err
	})
}

// TestTrafficToNobody: packets to an address that ARP does not resolve never leave, and the
// address is known.
func TestTrafficToNobody(t *testing.T) {
	needs.Kernel(t)
	pair := newPair(t, lab.PairConfig{})
	b := &bed{t: t, pair: pair, ns: pair.A, cfg: run.Options{Target: run.Target{Interface: "left", Direction: run.Out}}}
	session := b.start("if udp_dest 443", 0)
	nobody := netip.MustParseAddr("192.0.2.99")
	b.do(func() error {
		conn, err := net.Dial("udp4", netip.AddrPortFrom(nobody, 443).String())
		check(t, err)
		defer conn.Close()
		_, err = conn.Write([]byte("hello"))
		check(t, err)
		if got := ended(t, session); !slices.Equal(got.Unresolved, []netip.Addr{nobody}) {
			t.Errorf("left: %+v", got)
		}
		return nil
	})
	session = b.start("if udp_dest 443", 0)
	b.do(func() error {
		l, err := netlink.LinkByName("left")
		check(t, err)
		check(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: nobody.AsSlice()}))
		if got := ended(t, session); len(got.Unresolved) != 0 {
			t.Errorf("nothing was sent: %+v", got)
		}
		return nil
	})
}

// TestFilters: only hardware refuses packets by their MAC address, and not in promiscuous
// mode. No network card is there in every test, so the state of one is made up.
func TestFilters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state hook.LinkState
		want  bool
	}{
		{hook.LinkState{}, true},
		{hook.LinkState{Promiscuous: true}, false},
		{hook.LinkState{Iface: hook.Iface{Kind: "veth"}}, false},
		{hook.LinkState{Iface: hook.Iface{Link: hook.LoopbackLink}}, false},
	} {
		if got := trafficBetween(hook.LinkState{}, tt.state, run.In).Filters; got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.state, got, tt.want)
		}
	}
}
