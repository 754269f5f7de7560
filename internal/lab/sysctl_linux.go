package lab

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"github.com/vishvananda/netlink"
)

// sysctl writes one setting of the namespace of the calling thread; the path
// is below /proc/sys/net.
func sysctl(name, value string) error {
	return os.WriteFile(path.Join("/proc/sys/net", name), []byte(value), 0)
}

// disableIPv6 keeps router solicitations, listener reports and duplicate
// address detection off the interfaces that the namespace gets later.
func disableIPv6() error {
	for _, which := range []string{"all", "default"} {
		err := sysctl("ipv6/conf/"+which+"/disable_ipv6", "1")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a kernel without IPv6
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setIPv6 turns IPv6 on an interface that is still down off, or on.
func setIPv6(link netlink.Link, end End) error {
	if end.Addr6.IsValid() {
		return quietIPv6(link, end.Forward)
	}
	err := sysctl("ipv6/conf/"+link.Attrs().Name+"/disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6
	}
	return err
}

// quietIPv6 leaves IPv6 nothing to find out or to tell by itself: no link-local
// address, no routers asked for, no addresses checked. Nor does it join groups,
// which it would report: it joins one for each address where addresses are
// resolved, so they are not until the addresses are in use (see finishIPv6), and
// those of routers where there is multicast.
func quietIPv6(link netlink.Link, forward bool) error {
	conf := "ipv6/conf/" + link.Attrs().Name
	for _, s := range [][2]string{
		{conf + "/addr_gen_mode", "1"}, // none
		{conf + "/accept_ra", "0"},
		{conf + "/accept_dad", "0"},
		{conf + "/dad_transmits", "0"},
		{conf + "/router_solicitations", "0"},
		{conf + "/disable_ipv6", "0"},
	} {
		if err := sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	if hasEthernet(link) {
		if err := errors.Join(netlink.LinkSetMulticastOff(link), netlink.LinkSetARPOff(link)); err != nil {
			return err
		}
	}
	if forward {
		return sysctl(conf+"/forwarding", "1")
	}
	return nil
}

// finishIPv6 waits until the addresses are in use, and lets the interface, which
// is still down, have neighbours.
func finishIPv6(link netlink.Link) error {
	if err := WaitLink(link.Attrs().Name, "take its addresses", AddressesUsable); err != nil {
		return err
	}
	if !hasEthernet(link) {
		return nil
	}
	return netlink.LinkSetARPOn(link)
}
