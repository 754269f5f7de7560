package hook

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"repacket/internal/lab"
)

// TestState: the state is what the kernel says through another library, and promiscuous
// mode is seen whoever asks for it.
func TestState(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		link, err := netlink.LinkByIndex(ifindex)
		if err != nil {
			t.Fatal(err)
		}
		for _, promiscuous := range []bool{false, true, false} {
			set := netlink.SetPromiscOff
			if promiscuous {
				set = netlink.SetPromiscOn
			}
			if err := set(link); err != nil {
				t.Fatal(err)
			}
			s, err := State(ifindex)
			if err != nil || s.Promiscuous != promiscuous || !s.Up || !s.Carrier || s.Name != "left" || s.Kind != "veth" {
				t.Errorf("%+v, %v; promiscuous: %v", s, err, promiscuous)
			}
			again, err := netlink.LinkByIndex(ifindex)
			if err != nil {
				t.Fatal(err)
			}
			if n := again.Attrs().Statistics; s.Received != n.RxPackets || s.Sent != n.TxPackets {
				t.Errorf("%d received and %d sent, want %d and %d", s.Received, s.Sent, n.RxPackets, n.TxPackets)
			}
		}
		var missing *NoInterfaceError
		if _, err := State(9999); !errors.As(err, &missing) || missing.Index != 9999 {
			t.Errorf("an interface that is not there: %v", err)
		}
	})
}

// TestUnresolved: a neighbour that nothing was sent to for longer than asked about is left
// out, and so are those whose MAC address is known.
func TestUnresolved(t *testing.T) {
	inPair(t, lab.PairConfig{}, func(ifindex int) {
		nobody := netip.MustParseAddr("192.0.2.99")
		for _, to := range []netip.Addr{nobody, netip.MustParseAddr("192.0.2.2")} {
			conn, err := net.Dial("udp4", netip.AddrPortFrom(to, 9).String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
		within := func(d time.Duration) []netip.Addr {
			all, err := Unresolved(ifindex, d)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		if all := within(time.Hour); !slices.Equal(all, []netip.Addr{nobody}) {
			t.Errorf("unresolved: %v, want %v", all, nobody)
		}
		for deadline := time.Now().Add(10 * time.Second); len(within(clockTick)) > 0; {
			if time.Now().After(deadline) {
				t.Fatal("it stays a neighbour that was used just now")
			}
		}
	})
}
