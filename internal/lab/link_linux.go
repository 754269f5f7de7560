package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkUpTimeout is how long an interface may take to carry packets.
const linkUpTimeout = 5 * time.Second

// Connect joins two namespaces by one more veth pair, for networks of other
// shapes than Pair and Router. The ends have only the addresses that they are
// given; the kernel chooses a MAC that is missing. The pair goes when one of the
// namespaces is closed.
func Connect(a, b *Namespace, cfg PairConfig) error {
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	if err := connect(a, b, cfg); err != nil {
		return fmt.Errorf("connect two namespaces: %w", err)
	}
	return nil
}

// connect adds a veth pair, sets both ends up and waits until packets get
// through.
func connect(a, b *Namespace, cfg PairConfig) error {
	if err := a.Do(func() error { return addVeth(b, cfg) }); err != nil {
		return err
	}
	if err := a.Do(func() error { return setUpEnd(cfg.A, cfg.Offload) }); err != nil {
		return err
	}
	if err := b.Do(func() error { return setUpEnd(cfg.B, cfg.Offload) }); err != nil {
		return err
	}
	if err := a.Do(func() error { return settle(cfg.A, cfg.B) }); err != nil {
		return err
	}
	return b.Do(func() error { return settle(cfg.B, cfg.A) })
}

// addVeth adds a pair whose end B is in the namespace b.
func addVeth(b *Namespace, cfg PairConfig) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.MTU = cfg.A.Name, cfg.A.MAC, cfg.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = cfg.B.Name, cfg.B.MAC, uint32(cfg.MTU)
	veth.PeerNamespace = netlink.NsFd(b.FD())
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add %s and %s: %w", cfg.A.Name, cfg.B.Name, err)
	}
	return nil
}

// setUpEnd gives a veth's end its features, and all that setUp gives.
func setUpEnd(end End, offload bool) error {
	if !offload {
		// Segmentation offload goes with it.
		if err := setFeatures(end.Name, Features{TxChecksum: false}); err != nil {
			return fmt.Errorf("switch the checksum offload of %s off: %w", end.Name, err)
		}
	}
	return setUp(end)
}

// SetUp gives the interface of an end its features and addresses, makes the peer,
// if it has a name or an address, a neighbour of it, and waits until packets get
// through. It is for interfaces that are not made here, in the namespace of the
// calling thread.
func SetUp(end, peer End) error {
	if err := setUp(end); err != nil {
		return err
	}
	return settle(end, peer)
}

// setUp gives one interface its features and its addresses, and sets it up, in
// the namespace of the calling thread.
func setUp(end End) error {
	link, err := netlink.LinkByName(end.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", end.Name, err)
	}
	if err := setFeatures(end.Name, end.Features); err != nil {
		return fmt.Errorf("set features of %s: %w", end.Name, err)
	}
	if err := setIPv6(link, end); err != nil {
		return fmt.Errorf("set up IPv6 on %s: %w", end.Name, err)
	}
	for _, addr := range []netip.Prefix{end.Addr, end.Addr6} {
		if err := AddAddress(link, addr); err != nil {
			return fmt.Errorf("give %s to %s: %w", addr, end.Name, err)
		}
	}
	if end.Addr6.IsValid() {
		if err := finishIPv6(link); err != nil {
			return fmt.Errorf("set up IPv6 on %s: %w", end.Name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", end.Name, err)
	}
	return nil
}

// settle waits until an interface carries packets and its addresses are in use,
// and then makes its neighbour known. Of the peer it takes addresses and MAC.
func settle(end, peer End) error {
	if err := waitUp(end); err != nil {
		return err
	}
	link, err := netlink.LinkByName(end.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", end.Name, err)
	}
	for _, addr := range []netip.Prefix{peer.Addr, peer.Addr6} {
		if err := AddNeighbour(link, addr, peer.MAC); err != nil {
			return fmt.Errorf("tell %s its neighbour %s: %w", end.Name, addr.Addr(), err)
		}
	}
	return nil
}

func hasEthernet(link netlink.Link) bool { return link.Attrs().EncapType == "ether" }

// AddAddress gives an interface an address, if it is one.
func AddAddress(link netlink.Link, addr netip.Prefix) error {
	if !addr.IsValid() {
		return nil
	}
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   addr.Addr().AsSlice(),
		Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen()),
	}}
	return netlink.AddrAdd(link, a)
}

// AddNeighbour makes a neighbour known for good. Links without Ethernet have
// none.
func AddNeighbour(link netlink.Link, addr netip.Prefix, mac net.HardwareAddr) error {
	if !addr.IsValid() || mac == nil {
		return nil
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex:    link.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           addr.Addr().AsSlice(),
		HardwareAddr: mac,
	})
}

// waitUp waits until the kernel lets packets out of an interface and takes those
// for its addresses. That is later than "up": the transmit queues open when the
// carrier is seen.
func waitUp(end End) error {
	return WaitLink(end.Name, "come up", func(link netlink.Link) bool {
		return operational(link) && AddressesUsable(link)
	})
}

// WaitLink waits until a condition holds on an interface of the calling thread's
// namespace; what names the condition in the error.
func WaitLink(name, what string, condition func(netlink.Link) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), linkUpTimeout)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if condition(link) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to %s: %w", name, what, ctx.Err())
		}
	}
}

// operational: some devices (tun, vxlan) never say more than "unknown"; a veth
// says it for a moment before its queues are open.
func operational(link netlink.Link) bool {
	a := link.Attrs()
	state := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown && link.Type() != "veth"
	return state && a.RawFlags&unix.IFF_RUNNING != 0 && a.RawFlags&unix.IFF_UP != 0
}

// AddressesUsable reports whether an interface can send from its addresses: those
// of IPv6 are tentative until it is ready
// and somebody in the kernel has had the time to make their routes. (Without
// duplicate address detection by flag, IFA_F_NODAD, they never look so.)
func AddressesUsable(link netlink.Link) bool {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	return err == nil && !slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
		return a.Flags&unix.IFA_F_TENTATIVE != 0
	})
}

// RemoveLink removes a veth with its peer at once: a namespace that some other
// process still holds would keep it.
func RemoveLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
