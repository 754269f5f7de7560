package sandbox

import "github.com/vishvananda/netlink"

// requestFlags asks rtnetlink(7) to raise an interface, or to take it down.
func requestFlags(index int, flags uint32) error {
	l := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}}
	if flags == 0 {
		return netlink.LinkSetDown(l)
	}
	return netlink.LinkSetUp(l)
}
