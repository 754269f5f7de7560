package hook

import (
	"encoding/binary"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Numbers of the generic netlink family "netdev", from linux/netdev.h.
const (
	netdevFamily      = "netdev"
	netdevDevGet      = 1  // NETDEV_CMD_DEV_GET
	netdevIfindex     = 1  // NETDEV_A_DEV_IFINDEX
	netdevXDPFeatures = 3  // NETDEV_A_DEV_XDP_FEATURES
	xdpBasic          = 1  // NETDEV_XDP_ACT_BASIC: pass, drop, abort, send back
	xdpFragments      = 32 // NETDEV_XDP_ACT_RX_SG: packets in several buffers
)

// genlHeader is struct genlmsghdr of linux/genetlink.h. nl.Genlmsg lacks the
// last two bytes and sends what lies behind it in memory, where the kernel
// rejects all but 0.
type genlHeader struct {
	nl.Genlmsg
	_ [2]byte
}

// describe fills in what the drivers of interfaces say about themselves. It
// takes no privilege, and what is not told is left as it is.
func describe(ifaces []Iface) {
	if tool, err := ethtool.NewEthtool(); err == nil {
		for i := range ifaces {
			ifaces[i].Driver, _ = tool.DriverName(ifaces[i].Name)
		}
		tool.Close()
	}
	features := xdpFeatures(ifaces)
	for i := range ifaces {
		bits, told := features[ifaces[i].Index]
		switch {
		case !told:
			ifaces[i].Native = nativeByDriver(ifaces[i])
		case bits&xdpBasic != 0, ifaces[i].Kind == "veth":
			// A veth says that it has none while it receives on fewer queues than
			// its peer sends on. That is a matter of how it is set up.
			ifaces[i].Native = Supported
		default:
			ifaces[i].Native = Missing
		}
	}
}

// xdpFeatures are the NETDEV_XDP_ACT bits of interfaces, by interface. Before
// Linux 6.3 there are none.
func xdpFeatures(ifaces []Iface) map[int]uint64 {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return nil
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	if len(ifaces) == 1 {
		req = nl.NewNetlinkRequest(int(family.ID), 0)
	}
	header := genlHeader{Genlmsg: nl.Genlmsg{Command: netdevDevGet, Version: 1}}
	req.AddData(&header.Genlmsg)
	if len(ifaces) == 1 {
		req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(ifaces[0].Index))))
	}
	replies, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return nil
	}
	features := map[int]uint64{}
	for _, reply := range replies {
		index, bits := parseXDPFeatures(reply)
		features[index] = bits
	}
	return features
}

func parseXDPFeatures(reply []byte) (index int, bits uint64) {
	if len(reply) < nl.SizeofGenlmsg {
		return 0, 0
	}
	attrs, _ := nl.ParseRouteAttr(reply[nl.SizeofGenlmsg:])
	for _, attr := range attrs {
		switch {
		case attr.Attr.Type == netdevIfindex:
			index = int(number(attr.Value))
		case attr.Attr.Type == netdevXDPFeatures && len(attr.Value) == 8:
			bits = binary.NativeEndian.Uint64(attr.Value)
		}
	}
	return index, bits
}
