package testnet

import (
	"errors"
	"fmt"
	"net/netip"

	"repacket/internal/lab"

	"github.com/vishvananda/netlink"
)

// AddBridge adds a bridge to the namespace and puts interfaces into it, which
// lose nothing but their independence. Name and Features of end are used, the
// MAC and addresses if there are any. It does not snoop on multicast, so it
// says nothing by itself.
func AddBridge(n *lab.Namespace, end lab.End, ports ...string) error {
	err := n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = end.Name, end.MAC
		snooping := false
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return err
		}
		if err := enslave(end.Name, ports); err != nil {
			return err
		}
		if len(ports) == 0 {
			return nil // without a port there is no carrier
		}
		return lab.SetUp(end, lab.End{})
	})
	if err != nil {
		return fmt.Errorf("add the bridge %s: %w", end.Name, err)
	}
	return nil
}

// enslave puts interfaces into a bridge.
func enslave(bridge string, ports []string) error {
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	for _, name := range ports {
		port, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := netlink.LinkSetMaster(port, master); err != nil {
			return fmt.Errorf("put %s into it: %w", name, err)
		}
	}
	return nil
}

// AddMacvlan adds an interface with a MAC and addresses of its own on top of
// parent: frames for its MAC go there. Its neighbour is peer, on the parent's
// wire.
func AddMacvlan(n *lab.Namespace, parent string, end, peer lab.End) error {
	err := n.Do(func() error {
		below, err := netlink.LinkByName(parent)
		if err != nil {
			return fmt.Errorf("find %s: %w", parent, err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr, attrs.ParentIndex = end.Name, end.MAC, below.Attrs().Index
		if err := netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
			return err
		}
		return lab.SetUp(end, peer)
	})
	if err != nil {
		return fmt.Errorf("add the macvlan %s: %w", end.Name, err)
	}
	return nil
}

// AddAddresses gives an interface of the namespace more addresses; the loopback
// takes them, too.
func AddAddresses(n *lab.Namespace, name string, addrs ...netip.Prefix) error {
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if err := lab.AddAddress(link, a); err != nil {
				return err
			}
		}
		return lab.WaitLink(name, "take its addresses", lab.AddressesUsable)
	})
	if err != nil {
		return fmt.Errorf("give addresses to %s: %w", name, err)
	}
	return nil
}

// AddNeighbour makes the addresses and the MAC of another end known at an
// interface.
func AddNeighbour(n *lab.Namespace, name string, peer lab.End) error {
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return errors.Join(lab.AddNeighbour(link, peer.Addr, peer.MAC), lab.AddNeighbour(link, peer.Addr6, peer.MAC))
	})
	if err != nil {
		return fmt.Errorf("tell %s a neighbour: %w", name, err)
	}
	return nil
}

// SetSegmentSize says how large GSO packets become at an interface, sent and
// joined: 65,536 by default; more is BIG TCP, whose packets say in their headers
// that they are 0 bytes long.
func SetSegmentSize(n *lab.Namespace, name string, bytes int) error {
	err := n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		for _, set := range []func(netlink.Link, int) error{
			netlink.LinkSetGSOMaxSize, netlink.LinkSetGROMaxSize,
			netlink.LinkSetGSOIPv4MaxSize, netlink.LinkSetGROIPv4MaxSize,
		} {
			if err := set(link, bytes); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set the segment size of %s: %w", name, err)
	}
	return nil
}
