package session

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"repacket/internal/field"
	"repacket/internal/guard"
	"repacket/internal/lab"
	"repacket/test/needs"
)

// links makes more interfaces: br0 has the port p0, and tun0 is without Ethernet.
func links(t *testing.T) {
	t.Helper()
	add := func(l netlink.Link, addr string) {
		t.Helper()
		err := netlink.LinkAdd(l)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err == nil && addr != "" {
			var parsed *netlink.Addr
			if parsed, err = netlink.ParseAddr(addr); err == nil {
				err = netlink.AddrAdd(l, parsed)
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", l.Attrs().Name, err)
		}
	}
	named := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name = name
		return a
	}
	add(&netlink.Bridge{LinkAttrs: named("br0")}, "203.0.113.1/24")
	add(&netlink.Veth{LinkAttrs: named("p0"), PeerName: "p1"}, "")
	port, err := netlink.LinkByName("p0")
	if err == nil {
		err = netlink.LinkSetMasterByIndex(port, numberOf(t, "br0"))
	}
	if err != nil {
		t.Fatal(err)
	}
	add(&netlink.Tuntap{LinkAttrs: named("tun0"), Mode: netlink.TUNTAP_MODE_TUN}, "10.9.0.1/24")
}

func numberOf(t *testing.T, name string) int {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return l.Attrs().Index
}

func TestPlace(t *testing.T) {
	needs.Kernel(t)
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	own, hopMAC := net.HardwareAddr{2, 0, 0, 0, 0, 2}, net.HardwareAddr{2, 0, 0, 0, 0, 1}
	tests := []struct {
		iface, here, there string
		want               []guard.Link
		why                string
	}{
		{"right", "192.0.2.2:22", "192.0.2.1:5", []guard.Link{{
			Tags: [][]uint16{{}}, Ethernet: true, NextHop: netip.MustParseAddr("192.0.2.1"), Own: own, Hop: hopMAC, From: hopMAC,
		}}, ""},
		{"right", "192.0.2.2:22", "9.9.9.9:5", []guard.Link{{
			Tags: [][]uint16{{}}, Ethernet: true, NextHop: netip.MustParseAddr("192.0.2.1"), Own: own, Hop: hopMAC, From: hopMAC,
		}}, ""},
		{"p0", "203.0.113.1:22", "203.0.113.7:5", []guard.Link{{
			Tags: [][]uint16{{}}, Ethernet: true, NextHop: netip.MustParseAddr("203.0.113.7"),
		}}, ""},
		{"tun0", "10.9.0.1:22", "10.9.0.7:5", []guard.Link{{Tags: [][]uint16{{}}, Bare: true, Quiet: true, NextHop: netip.MustParseAddr("10.9.0.7")}}, ""},
		{"lo", "192.0.2.2:22", "192.0.2.2:5", []guard.Link{
			{Tags: [][]uint16{{}}, Ethernet: true, Quiet: true, NextHop: netip.MustParseAddr("192.0.2.2")},
			{Tags: [][]uint16{{}}, Ethernet: true, Quiet: true, NextHop: netip.MustParseAddr("192.0.2.2"), Mirrored: true},
		}, ""},
		{"right", "192.0.2.2:60001", "0.0.0.0:0", []guard.Link{{Tags: [][]uint16{{}}, Ethernet: true, Own: own}}, ""},
		{"right", "0.0.0.0:60001", "0.0.0.0:0", []guard.Link{{Tags: [][]uint16{{}}, Ethernet: true, Own: own}}, ""},
		{"p0", "192.0.2.2:22", "192.0.2.1:5", nil, "it uses right, not p0"},
		{"br0", "192.0.2.2:22", "192.0.2.1:5", nil, "it uses right, not br0"},
		{"right", "192.0.2.2:22", "192.0.2.2:5", nil, "it uses lo, not right"},
		{"right", "198.51.100.66:60001", "0.0.0.0:0", nil, "no interface has the address 198.51.100.66"},
		{"right", "[2001:db8::1]:22", "[2001:db8::2]:5", nil, "there is no route to 2001:db8::2: network is unreachable"},
	}
	err = pair.B.Do(func() error {
		links(t)
		gateway := &netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: net.IPv4(192, 0, 2, 1), LinkIndex: numberOf(t, "right")}
		if err := netlink.RouteAdd(gateway); err != nil {
			t.Fatal(err)
		}
		for _, test := range tests {
			c := guard.Connection{Protocol: field.TCP, Here: netip.MustParseAddrPort(test.here), There: netip.MustParseAddrPort(test.there)}
			placed, why := (&network{index: numberOf(t, test.iface)}).place(c)
			var got []guard.Link
			for _, at := range placed {
				if strings.HasPrefix(test.iface, "p") { // its bridge has a MAC address by chance
					at.Link.Own = nil
				}
				got = append(got, at.Link)
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" || why != test.why {
				t.Errorf("%s, %s to %s (-want +got):\n%s%q, want %q", test.iface, test.here, test.there, diff, why, test.why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestViews: an interface carries the packets of those that stand on it, with the tags that they add.
func TestViews(t *testing.T) {
	t.Parallel()
	on, off := true, false
	attrs := func(index, parent, master int) netlink.LinkAttrs {
		return netlink.LinkAttrs{Index: index, ParentIndex: parent, MasterIndex: master, NetNsID: -1}
	}
	elsewhere := attrs(12, 2, 0)
	elsewhere.NetNsID = 0
	all := []netlink.Link{
		&netlink.Device{LinkAttrs: attrs(1, 0, 4)}, // a port of the bond
		&netlink.Device{LinkAttrs: attrs(2, 0, 6)}, // of a bridge
		&netlink.Device{LinkAttrs: attrs(3, 0, 7)}, // of one that filters
		&netlink.Bond{LinkAttrs: attrs(4, 0, 0)},
		&netlink.Vlan{LinkAttrs: attrs(5, 4, 0), VlanId: 7},
		&netlink.Bridge{LinkAttrs: attrs(6, 0, 0), VlanFiltering: &off},
		&netlink.Bridge{LinkAttrs: attrs(7, 0, 0), VlanFiltering: &on},
		&netlink.Vlan{LinkAttrs: attrs(8, 5, 0), VlanId: 8},
		&netlink.Macvlan{LinkAttrs: attrs(9, 8, 0)},
		&netlink.Veth{LinkAttrs: attrs(10, 11, 0)},
		&netlink.Veth{LinkAttrs: attrs(11, 10, 0)},
		&netlink.Veth{LinkAttrs: elsewhere},
		&netlink.Vxlan{LinkAttrs: attrs(13, 1, 0)},
	}
	none := [][]uint16{{}}
	for _, test := range []struct {
		by, at int
		want   []view
	}{
		{1, 1, []view{{tags: none}}},
		{4, 1, []view{{tags: none, moved: true}}},
		{5, 4, []view{{tags: [][]uint16{{7}, {}}}}},
		{5, 1, []view{{tags: [][]uint16{{7}, {}}, moved: true}}},
		{9, 5, []view{{tags: [][]uint16{{8}, {}}}}},
		{9, 4, []view{{tags: [][]uint16{{7}, {7, 8}, {8}, {}}}}},
		{6, 2, []view{{tags: none}}},
		{7, 3, []view{{}}},
		{10, 11, []view{{tags: none, mirrored: true}}},
		{6, 3, nil},
		{12, 2, nil}, // the number is of another network namespace
		{13, 1, nil}, // inside of packets of the tunnel
		{4, 5, nil},
	} {
		n := &network{index: test.at, links: all}
		by, err := n.link(test.by)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.views(by); !equalViews(got, test.want) {
			t.Errorf("packets of %d at %d: %v, want %v", test.by, test.at, got, test.want)
		}
	}
}

// equalViews compares views whatever the order of the cases of their tags.
func equalViews(a, b []view) bool {
	return slices.EqualFunc(a, b, func(a, b view) bool {
		sorted := func(tags [][]uint16) [][]uint16 {
			out := slices.Clone(tags)
			slices.SortFunc(out, slices.Compare[[]uint16])
			return out
		}
		return a.mirrored == b.mirrored && a.moved == b.moved && (a.tags == nil) == (b.tags == nil) &&
			slices.EqualFunc(sorted(a.tags), sorted(b.tags), slices.Equal[[]uint16])
	})
}

// TestEnds: an end is here or there, and has no interface but its own.
func TestEnds(t *testing.T) {
	needs.Kernel(t)
	pair, err := lab.NewPair(lab.PairConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer pair.Close()
	err = pair.B.Do(func() error {
		ends := []guard.End{
			{Addr: netip.MustParseAddr("192.0.2.1"), Port: 53},
			{Addr: netip.MustParseAddr("192.0.2.2")},
			{Addr: netip.MustParseAddr("127.0.0.1")},
			{Addr: netip.MustParseAddr("198.51.100.1")},
		}
		found := Find(guard.Request{Index: numberOf(t, "right"), Ends: ends})
		var got []string
		for _, c := range found.Connections {
			got = append(got, c.Name+" "+c.Protocol.Header().Name+" "+c.There.String()+" > "+c.Here.String())
		}
		for _, m := range found.Missed {
			got = append(got, m.String())
		}
		want := []string{
			"192.0.2.1:53 tcp 192.0.2.1:53 > 0.0.0.0:0", "192.0.2.1:53 udp 192.0.2.1:53 > 0.0.0.0:0",
			"192.0.2.2  0.0.0.0:0 > 192.0.2.2:0",
			"nothing was checked for --protect 127.0.0.1: it uses lo, not right",
			"nothing was checked for --protect 198.51.100.1: there is no route to 198.51.100.1: network is unreachable",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
