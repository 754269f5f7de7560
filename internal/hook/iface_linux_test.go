package hook

import (
	"errors"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/lab"
)

func TestInterface(t *testing.T) {
	inPair(t, lab.PairConfig{MTU: 1400}, func(ifindex int) {
		link, err := netlink.LinkByName("left")
		if err != nil {
			t.Fatal(err)
		}
		queues := link.Attrs().NumTxQueues
		want := Iface{
			Name: "left", Index: ifindex, MTU: 1400, Kind: "veth", Up: true, Ethernet: true,
			Driver: "veth", Native: Supported, RxQueues: queues, TxQueues: queues,
			Peer: link.Attrs().ParentIndex, PeerElsewhere: true,
		}
		const long = "a-name-longer-than-fifteen"
		for _, alternative := range []string{"short", long} {
			if err := netlink.LinkAddAltName(link, alternative); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"left", "short", long} {
			got, err := Interface(name)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		all, err := Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		lo := Iface{
			Name: "lo", Index: 1, MTU: 65536, Up: true, Link: LoopbackLink, Ethernet: true,
			Native: Missing, RxQueues: 1, TxQueues: 1,
		}
		if diff := cmp.Diff([]Iface{lo, want}, all); diff != "" {
			t.Errorf("all (-want +got):\n%s", diff)
		}
	})
}

func TestInterfaceUnknown(t *testing.T) {
	tests := map[string][]string{
		"lefr":                                   {"left"},
		"lft":                                    {"left"},
		"LO":                                     nil,
		"ethx1":                                  nil,
		"":                                       nil,
		"a/b":                                    nil,
		"this-name-is-longer-than-fifteen-bytes": nil,
	}
	inPair(t, lab.PairConfig{}, func(int) {
		for name, want := range tests {
			_, err := Interface(name)
			var missing *NoInterfaceError
			if !errors.As(err, &missing) || missing.Name != name {
				t.Errorf("%q: error %v", name, err)
				continue
			}
			if diff := cmp.Diff(want, missing.Near, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%q: near (-want +got):\n%s", name, diff)
			}
		}
	})
}

// routes makes a veth pair inside one namespace, IPv6 on, and adds routes.
func routes(t *testing.T, add func(left, right int)) (string, error) {
	t.Helper()
	var name string
	var err error
	inNamespace(t, func() {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "left"})
		veth.PeerName = "right"
		if err := netlink.LinkAdd(veth); err != nil {
			t.Fatal(err)
		}
		var index []int
		for i, name := range []string{"left", "right"} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				t.Fatal(err)
			}
			addr := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, byte(1+128*i)), Mask: net.CIDRMask(25, 32)}}
			if err := errors.Join(netlink.LinkSetUp(link), netlink.AddrAdd(link, addr)); err != nil {
				t.Fatal(err)
			}
			index = append(index, link.Attrs().Index)
		}
		add(index[0], index[1])
		name, err = DefaultRoute()
	})
	return name, err
}

func TestDefaultRoute(t *testing.T) {
	everywhere4 := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	everywhere6 := &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	add := func(r netlink.Route) {
		t.Helper()
		if err := netlink.RouteAdd(&r); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		add  func(left, right int)
		want string
	}{
		"lowest metric": {func(left, right int) {
			add(netlink.Route{LinkIndex: left, Dst: everywhere4, Priority: 200})
			add(netlink.Route{LinkIndex: right, Dst: everywhere4, Priority: 100})
		}, "right"},
		"IPv4 before IPv6": {func(left, right int) {
			add(netlink.Route{LinkIndex: left, Dst: everywhere6, Priority: 1})
			add(netlink.Route{LinkIndex: right, Dst: everywhere4, Priority: 100})
		}, "right"},
		"IPv6 alone": {func(left, _ int) {
			add(netlink.Route{LinkIndex: left, Dst: everywhere6})
		}, "left"},
		"several ways": {func(left, right int) {
			add(netlink.Route{Dst: everywhere4, MultiPath: []*netlink.NexthopInfo{{LinkIndex: right}, {LinkIndex: left}}})
		}, "right"},
		"not a refusal, not a part, not of another table": {func(left, right int) {
			add(netlink.Route{Dst: everywhere4, Type: unix.RTN_UNREACHABLE, Priority: 1})
			add(netlink.Route{Dst: everywhere6, Type: unix.RTN_BLACKHOLE, Priority: 1})
			add(netlink.Route{LinkIndex: left, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(1, 32)}})
			add(netlink.Route{LinkIndex: left, Dst: everywhere4, Table: 100})
			add(netlink.Route{LinkIndex: right, Dst: everywhere4, Priority: 7})
		}, "right"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := routes(t, test.add)
			if err != nil || got != test.want {
				t.Errorf("default route on %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestNoDefaultRoute(t *testing.T) {
	got, err := routes(t, func(int, int) {})
	var missing *NoDefaultRouteError
	if !errors.As(err, &missing) {
		t.Errorf("default route on %q, %v", got, err)
	}
}
