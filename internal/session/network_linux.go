package session

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"repacket/internal/guard"
	"repacket/internal/hook"
)

// network says how packets pass an interface of the network namespace of the thread.
type network struct {
	index int // the interface of the rules
	links []netlink.Link
}

// hop is an interface by which a connection's packets leave, and the address of the next hop,
// which is not valid where it is not known.
type hop struct {
	index int
	next  netip.Addr
}

// view is how packets of an interface look at another one that carries them.
type view struct {
	tags     [][]uint16 // or nil where they are not known
	mirrored bool
	// moved: the MAC addresses may be others.
	moved bool
}

// place is a connection as the rules' interface sees it, or why it does not.
func (n *network) place(c guard.Connection) (out []guard.Connection, why string) {
	hops, err := n.hops(c)
	if err != nil {
		return nil, err.Error()
	}
	var names []string
	for _, h := range hops {
		by, err := n.link(h.index)
		if err != nil {
			return nil, err.Error()
		}
		names = append(names, by.Attrs().Name)
		for _, v := range n.views(by) {
			at := c
			at.Link = n.describe(by, h, v)
			out = append(out, at)
		}
	}
	if len(out) > 0 {
		return out, ""
	}
	name := fmt.Sprintf("interface %d", n.index)
	if l, err := n.link(n.index); err == nil {
		name = l.Attrs().Name
	}
	return nil, fmt.Sprintf("it uses %s, not %s", strings.Join(names, " and "), name)
}

// link is an interface by its number.
func (n *network) link(index int) (netlink.Link, error) {
	for _, l := range n.links {
		if l.Attrs().Index == index {
			return l, nil
		}
	}
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, fmt.Errorf("look at interface %d: %w", index, err)
	}
	return l, nil
}

// views are how the rules' interface sees the packets of another one: it is that one, or carries
// its packets.
func (n *network) views(by netlink.Link) []view {
	plain := view{tags: [][]uint16{{}}}
	if by.Attrs().Index == n.index {
		if by.Attrs().Flags&net.FlagLoopback != 0 { // what leaves there arrives there
			return []view{plain, {tags: plain.tags, mirrored: true}}
		}
		return []view{plain}
	}
	if n.links == nil {
		n.links, _ = netlink.LinkList() // of a list that changes meanwhile there is a part
	}
	return n.below(by, plain, maxDepth)
}

// maxDepth is more than interfaces are stacked.
const maxDepth = 8

// below are the views at the rules' interface of packets that leave by another one.
func (n *network) below(by netlink.Link, v view, depth int) (out []view) {
	at := by.Attrs()
	if at.Index == n.index {
		return []view{v}
	}
	if depth == 0 {
		return nil
	}
	switch l := by.(type) {
	case *netlink.Vlan:
		v.tags = tagged(v.tags, uint16(l.VlanId))
	case *netlink.Bridge:
		if l.VlanFiltering != nil && *l.VlanFiltering { // what leaves by a port may be tagged
			v.tags = nil
		}
	case *netlink.Veth:
		v.mirrored = !v.mirrored
		if n.isParent(at, n.index) {
			return []view{v}
		}
		return nil
	}
	v.moved = v.moved || by.Type() == "bond" || by.Type() == "team"
	for _, l := range n.links {
		switch lower := l.Attrs(); {
		case lower.MasterIndex == at.Index, carries(by) && n.isParent(at, lower.Index):
			out = append(out, n.below(l, v, depth-1)...)
		}
	}
	return out
}

// carries reports whether an interface is one of those whose packets are those of their parent.
func carries(l netlink.Link) bool {
	return slices.Contains([]string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"}, l.Type())
}

// isParent reports whether an interface stands on another one of this network namespace, or is the
// other end of a veth.
func (n *network) isParent(of *netlink.LinkAttrs, index int) bool {
	return of.ParentIndex == index && of.NetNsID < 0
}

// tagged are the packets with one more tag outside. A device may take it off before XDP.
func tagged(tags [][]uint16, id uint16) [][]uint16 {
	out := slices.Clone(tags)
	for _, inner := range tags {
		out = append([][]uint16{append([]uint16{id}, inner...)}, out...)
	}
	return out
}

// describe says what is known of packets that leave by an interface, at that of the rules.
func (n *network) describe(by netlink.Link, h hop, v view) guard.Link {
	at := by.Attrs()
	out := guard.Link{Tags: v.tags, NextHop: h.next, Mirrored: v.mirrored}
	if l, err := n.link(n.index); err == nil {
		out.Ethernet = slices.Contains([]string{"ether", "loopback"}, l.Attrs().EncapType)
		out.Bare = !out.Ethernet
	}
	if out.Quiet = out.Bare || at.Flags&net.FlagLoopback != 0 || at.RawFlags&unix.IFF_NOARP != 0; out.Quiet {
		return out
	}
	if v.moved {
		return out
	}
	if len(at.HardwareAddr) == 6 {
		out.Own = at.HardwareAddr
	}
	if out.Hop = neighbor(at.Index, h.next); out.Hop != nil && !virtualRouter(out.Hop) {
		out.From = out.Hop
	}
	return out
}

// neighbor is the MAC address of a next hop, or nil where the kernel does not know it.
func neighbor(index int, next netip.Addr) net.HardwareAddr {
	if !next.IsValid() {
		return nil
	}
	all, _ := netlink.NeighList(index, family(next)) // without it nothing is known
	for _, at := range all {
		if a, ok := netip.AddrFromSlice(at.IP); ok && a.Unmap() == next && len(at.HardwareAddr) == 6 {
			return at.HardwareAddr
		}
	}
	return nil
}

// virtualRouters are the first bytes of MAC addresses that several routers share: VRRP over both
// families (RFC 9568), HSRP and GLBP. What such a router sends may come from its own one.
var virtualRouters = []string{"\x00\x00\x5e\x00\x01", "\x00\x00\x5e\x00\x02", "\x00\x00\x0c\x07\xac", "\x00\x00\x0c\x9f", "\x00\x05\x73\xa0", "\x00\x07\xb4\x00"}

func virtualRouter(mac net.HardwareAddr) bool {
	return slices.ContainsFunc(virtualRouters, func(p string) bool { return strings.HasPrefix(string(mac), p) })
}

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// hops are the interfaces by which the packets of a connection leave.
func (n *network) hops(c guard.Connection) ([]hop, error) {
	there := c.There.Addr()
	switch {
	case unspecified(c.There) && unspecified(c.Here):
		return n.defaultHop()
	case unspecified(c.There), there.IsLinkLocalUnicast() && !unspecified(c.Here):
		next := there
		if unspecified(c.There) {
			next = netip.Addr{}
		}
		return n.holders(c.Here.Addr(), next)
	}
	options := &netlink.RouteGetOptions{}
	if !unspecified(c.Here) {
		options.SrcAddr = c.Here.Addr().AsSlice()
	}
	routes, err := netlink.RouteGetWithOptions(there.AsSlice(), options)
	if err != nil && options.SrcAddr != nil { // from an address that is not one of this machine's
		routes, err = netlink.RouteGetWithOptions(there.AsSlice(), &netlink.RouteGetOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("there is no route to %s: %w", there, err)
	}
	var out []hop
	for _, r := range routes {
		out = append(out, hop{r.LinkIndex, nextHop(r, there)})
	}
	return out, nil
}

// nextHop is the gateway of a route, or what it leads to.
func nextHop(r netlink.Route, to netip.Addr) netip.Addr {
	gateway := r.Gw
	if via, ok := r.Via.(*netlink.Via); ok && via != nil {
		gateway = via.Addr
	}
	if a, ok := netip.AddrFromSlice(gateway); ok {
		return a.Unmap()
	}
	return to
}

// defaultHop is the interface of the default route.
func (n *network) defaultHop() ([]hop, error) {
	name, err := hook.DefaultRoute()
	if err != nil {
		return nil, err
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	return []hop{{index: l.Attrs().Index}}, nil
}

// holders are the interfaces that have an address.
func (n *network) holders(here, next netip.Addr) ([]hop, error) {
	all, err := netlink.AddrList(nil, family(here))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	var out []hop
	for _, a := range all {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.Unmap() == here {
			out = append(out, hop{a.LinkIndex, next})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no interface has the address %s", here)
	}
	return out, nil
}

// isLocal reports whether an address is one of this machine.
func (n *network) isLocal(a netip.Addr) (bool, error) {
	if a.IsLinkLocalUnicast() { // of any link
		_, err := n.holders(a, netip.Addr{})
		return err == nil, nil
	}
	routes, err := netlink.RouteGetWithOptions(a.AsSlice(), nil)
	if err != nil {
		return false, err
	}
	return len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL, nil
}
