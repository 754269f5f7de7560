package hook

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// LinkState is what an interface is at one moment, and how many packets it has counted
// since it was made.
type LinkState struct {
	Iface
	// Carrier: the link is there, as by a cable or by the other end of a veth.
	Carrier bool
	// Promiscuous: packets for other MAC addresses come in too, whoever asked for it.
	Promiscuous    bool
	Received, Sent uint64
}

// State asks for the state of an interface, without what only the driver knows. The error
// is NoInterfaceError.
func State(index int) (LinkState, error) {
	reply, err := oneReply(requestByIndex(index))
	if errors.Is(err, unix.ENODEV) {
		return LinkState{}, &NoInterfaceError{Index: index, Err: err}
	}
	if err != nil {
		return LinkState{}, explain(err, actList, newAttempt("", run.In, run.Auto))
	}
	d, err := parseDevice(reply)
	if err != nil {
		return LinkState{}, err
	}
	s := LinkState{Iface: d.Iface}
	attrs, err := nl.ParseRouteAttr(reply[unix.SizeofIfInfomsg:])
	for _, attr := range attrs {
		switch attr.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.IFLA_CARRIER:
			s.Carrier = len(attr.Value) > 0 && attr.Value[0] != 0
		case unix.IFLA_PROMISCUITY:
			s.Promiscuous = number(attr.Value) > 0
		case unix.IFLA_STATS64: // struct rtnl_link_stats64
			if len(attr.Value) >= 16 {
				s.Received = binary.NativeEndian.Uint64(attr.Value)
				s.Sent = binary.NativeEndian.Uint64(attr.Value[8:])
			}
		}
	}
	return s, err
}

// Ports are the names of the interfaces that are part of a bridge or a bond.
func Ports(master int) ([]string, error) {
	all, err := devices()
	if err != nil {
		return nil, explain(err, actList, newAttempt("", run.In, run.Auto))
	}
	var names []string
	for _, d := range all {
		if d.Master == master {
			names = append(names, d.Name)
		}
	}
	return names, nil
}

// clockTick is the unit of times in netlink messages (USER_HZ of the kernel).
const clockTick = 10 * time.Millisecond

// Unresolved are the neighbours of an interface that packets were sent to within a time
// before now, and whose MAC addresses neither ARP nor neighbor discovery has found out.
func Unresolved(index int, within time.Duration) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := netlink.NeighList(index, family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list the neighbours of interface %d: %w", index, err)
		}
		for _, n := range all {
			unknown := n.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) != 0
			addr, ok := netip.AddrFromSlice(n.IP)
			if unknown && ok && time.Duration(n.Used)*clockTick <= within {
				out = append(out, addr.Unmap())
			}
		}
	}
	return out, nil
}
