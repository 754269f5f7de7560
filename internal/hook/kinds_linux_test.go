package hook

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"repacket/internal/run"
)

// kinds are interfaces of many kinds, what is to be known of them, and what is
// to be chosen for packets that arrive.
var kinds = []struct {
	link netlink.Link
	want Iface
	mode run.Hook
}{
	{pairOf("i0"), Iface{Kind: "veth", Driver: "veth", Ethernet: true, Native: Supported}, run.TC},
	{tuntap(netlink.TUNTAP_MODE_TAP), Iface{Kind: "tun", Driver: "tun", Ethernet: true, Native: Supported}, run.TC},
	{tuntap(netlink.TUNTAP_MODE_TUN), Iface{Kind: "tun", Driver: "tun", Link: RawIPLink, Native: Missing}, run.TC},
	{&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "i0"}}, Iface{Kind: "bridge", Driver: "bridge", Ethernet: true, Native: Missing}, run.TC},
	{&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "i0"}}, Iface{Kind: "ifb", Driver: "ifb", Ethernet: true, Native: Missing}, run.TC},
	{&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "i0"}, VxlanId: 7, Port: 4789}, Iface{Kind: "vxlan", Driver: "vxlan", Ethernet: true, Native: Missing}, run.TC},
	{&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "i0"}, Mode: netlink.MACVLAN_MODE_BRIDGE}, Iface{Kind: "macvlan", Driver: "macvlan", Ethernet: true, Native: Missing}, run.TC},
}

func tuntap(mode netlink.TuntapMode) netlink.Link {
	return &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "i0"}, Mode: mode}
}

func pairOf(name string) netlink.Link {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: name})
	veth.PeerName = "peer-of-" + name
	return veth
}

func TestKindsOfInterfaces(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.want.Kind+" "+k.want.Link.String(), func(t *testing.T) {
			inNamespace(t, func() {
				addKind(t, k.link)
				on, err := Interface("i0")
				if err != nil {
					t.Fatal(err)
				}
				ignored := cmpopts.IgnoreFields(Iface{}, "Name", "Index", "MTU", "Up", "RxQueues", "TxQueues", "Peer")
				if diff := cmp.Diff(k.want, on, ignored); diff != "" {
					t.Errorf("it is (-want +got):\n%s", diff)
				}
				nativeIsAsSaid(t, on)
				for _, dir := range []run.Direction{run.In, run.Out} {
					c, err := Choose(run.Auto, dir, on, Need{})
					if err != nil {
						t.Fatal(err)
					}
					if dir == run.In && c.Hook != k.mode {
						t.Errorf("%s, want %s", c.Why, k.mode)
					}
					prog, _ := counted(t, someMeta(true))
					h, err := Link(on.Index, dir, prog, c.Hook)
					if err != nil {
						t.Fatal(err)
					}
					if err := h.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// addKind adds an interface, over a veth where it takes one below.
func addKind(t *testing.T, l netlink.Link) {
	t.Helper()
	*l.Attrs() = netlink.LinkAttrs{Name: "i0"}
	if macvlan, ok := l.(*netlink.Macvlan); ok {
		if err := netlink.LinkAdd(pairOf("below")); err != nil {
			t.Fatal(err)
		}
		below, err := Interface("below")
		if err != nil {
			t.Fatal(err)
		}
		macvlan.ParentIndex = below.Index
	}
	if err := netlink.LinkAdd(l); err != nil {
		t.Fatal(err)
	}
}

// nativeIsAsSaid tries whether native XDP is there.
func nativeIsAsSaid(t *testing.T, on Iface) {
	t.Helper()
	h, err := Link(on.Index, run.In, load(t, ProgramName), run.XDP)
	var refused *UnsupportedError
	switch {
	case err == nil:
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	case !errors.As(err, &refused):
		t.Error(err)
	}
	if there := err == nil; there != (on.Native == Supported) {
		t.Errorf("native XDP is %s, but: %v", on.Native, err)
	}
}

// Master and peer are numbers of other interfaces.
func TestMasterAndPeer(t *testing.T) {
	inNamespace(t, func() {
		veth := pairOf("a")
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}}
		if err := errors.Join(netlink.LinkAdd(veth), netlink.LinkAdd(bridge)); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetMaster(veth, bridge); err != nil {
			t.Fatal(err)
		}
		by := map[string]Iface{}
		all, err := Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range all {
			by[i.Name] = i
			if one, err := Interface(i.Name); err != nil || one != i {
				t.Errorf("one by one %+v, %v, in the list %+v", one, err, i)
			}
		}
		a, b, br := by["a"], by["peer-of-a"], by["br"]
		if a.Peer != b.Index || b.Peer != a.Index || a.PeerElsewhere || b.PeerElsewhere {
			t.Errorf("peers: %+v, %+v", a, b)
		}
		if a.Master != br.Index || b.Master != 0 || br.Peer != 0 {
			t.Errorf("masters: %+v, %+v, %+v", a, b, br)
		}
	})
}

// A message of the kernel, by hand from the numbers in linux/netdev.h: command
// 1, version 1, then ifindex 7 (attribute 1) and xdp-features 0x7f (attribute 3).
func TestParseXDPFeatures(t *testing.T) {
	if !hostIsLittleEndian() {
		t.Skip("the message is of a little-endian machine")
	}
	message := []byte{1, 1, 0, 0, 8, 0, 1, 0, 7, 0, 0, 0, 12, 0, 3, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0}
	if index, bits := parseXDPFeatures(message); index != 7 || bits != 0x7f {
		t.Errorf("interface %d has %#x", index, bits)
	}
	if index, bits := parseXDPFeatures(nil); index != 0 || bits != 0 {
		t.Errorf("nothing tells %d, %#x", index, bits)
	}
}
