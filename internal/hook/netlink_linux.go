package hook

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// slot is a program on an interface, as rtnetlink tells it.
type slot struct {
	mode    run.Hook
	program uint32
}

// device is an interface with its XDP programs.
type device struct {
	Iface
	slots []slot
}

// deviceByIndex asks for one interface. The error is the kernel's.
func deviceByIndex(index int) (device, error) { return oneDevice(requestByIndex(index)) }

func requestByIndex(index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	return req
}

// deviceByName asks for one interface by its name or alternative name.
func deviceByName(name string) (device, error) {
	attr := unix.IFLA_IFNAME
	if len(name) >= unix.IFNAMSIZ {
		attr = unix.IFLA_ALT_IFNAME
	}
	for {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.AddData(nl.NewRtAttr(attr, nl.ZeroTerminated(name)))
		d, err := oneDevice(req)
		if errors.Is(err, unix.ENODEV) && attr == unix.IFLA_IFNAME {
			attr = unix.IFLA_ALT_IFNAME
			continue
		}
		return d, err
	}
}

func oneDevice(req *nl.NetlinkRequest) (device, error) {
	reply, err := oneReply(req)
	if err != nil {
		return device{}, err
	}
	return parseDevice(reply)
}

// oneReply is the RTM_NEWLINK message about one interface.
func oneReply(req *nl.NetlinkRequest) ([]byte, error) {
	replies, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if err != nil {
		return nil, err
	}
	if len(replies) != 1 {
		return nil, fmt.Errorf("the kernel describes %d interfaces instead of one", len(replies))
	}
	return replies[0], nil
}

// dumpAttempts is how often a list is asked for that changes while it is read.
const dumpAttempts = 8

// devices lists all interfaces.
func devices() ([]device, error) {
	var replies [][]byte
	var err error
	for range dumpAttempts {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		replies, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	all := make([]device, 0, len(replies))
	for _, reply := range replies {
		d, err := parseDevice(reply)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// parseDevice reads an RTM_NEWLINK message: struct ifinfomsg and attributes.
func parseDevice(reply []byte) (device, error) {
	if len(reply) < unix.SizeofIfInfomsg {
		return device{}, fmt.Errorf("the kernel describes an interface in %d bytes", len(reply))
	}
	msg := nl.DeserializeIfInfomsg(reply)
	attrs, err := nl.ParseRouteAttr(reply[msg.Len():])
	if err != nil {
		return device{}, fmt.Errorf("read the description of interface %d: %w", msg.Index, err)
	}
	d := device{Iface: Iface{
		Index: int(msg.Index),
		Up:    msg.Flags&unix.IFF_UP != 0,
		Link:  linkType(msg.Type),
	}}
	d.Ethernet = d.Link == EthernetLink || d.Link == LoopbackLink
	for _, attr := range attrs {
		switch attr.Attr.Type & nl.NLA_TYPE_MASK {
		case unix.IFLA_IFNAME:
			d.Name = nl.BytesToString(attr.Value)
		case unix.IFLA_MTU:
			d.MTU = int(number(attr.Value))
		case unix.IFLA_NUM_RX_QUEUES:
			d.RxQueues = int(number(attr.Value))
		case unix.IFLA_NUM_TX_QUEUES:
			d.TxQueues = int(number(attr.Value))
		case unix.IFLA_MASTER:
			d.Master = int(number(attr.Value))
		case unix.IFLA_LINK:
			d.Peer = int(number(attr.Value))
		case unix.IFLA_LINK_NETNSID:
			d.PeerElsewhere = true
		case unix.IFLA_LINKINFO:
			d.Kind, err = parseKind(attr.Value)
		case unix.IFLA_XDP:
			d.slots, err = parseXDP(attr.Value)
		}
		if err != nil {
			return device{}, fmt.Errorf("read the description of interface %d: %w", msg.Index, err)
		}
	}
	if d.Kind != "veth" && d.Kind != "netkit" { // there it is the interface below
		d.Peer, d.PeerElsewhere = 0, false
	}
	return d, nil
}

// linkType reads an ARPHRD number.
func linkType(arphrd uint16) LinkType {
	switch arphrd {
	case unix.ARPHRD_ETHER:
		return EthernetLink
	case unix.ARPHRD_LOOPBACK:
		return LoopbackLink
	case unix.ARPHRD_NONE, unix.ARPHRD_RAWIP:
		return RawIPLink
	}
	return OtherLink
}

func parseKind(info []byte) (string, error) {
	attrs, err := nl.ParseRouteAttr(info)
	for _, attr := range attrs {
		if attr.Attr.Type == nl.IFLA_INFO_KIND {
			return nl.BytesToString(attr.Value), nil
		}
	}
	return "", err
}

// parseXDP reads IFLA_XDP. Each mode has a slot of its own there; the single
// IFLA_XDP_PROG_ID beside them only repeats one of these.
func parseXDP(xdp []byte) ([]slot, error) {
	attrs, err := nl.ParseRouteAttr(xdp)
	var slots []slot
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFLA_XDP_DRV_PROG_ID:
			slots = append(slots, slot{run.XDP, number(attr.Value)})
		case unix.IFLA_XDP_SKB_PROG_ID:
			slots = append(slots, slot{run.GenericXDP, number(attr.Value)})
		case unix.IFLA_XDP_HW_PROG_ID:
			slots = append(slots, slot{run.OffloadXDP, number(attr.Value)})
		}
	}
	return slots, err
}

// number reads a 32-bit attribute, which is in the host's byte order.
func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}

// noProgram as the new program takes the old one off.
const noProgram = -1

// setXDP puts a program on an interface or, with XDP_FLAGS_REPLACE, puts it
// where the program expected is and nowhere else. Both are descriptors; the
// program stays when they are closed.
func setXDP(index, program, expected int, flags uint32) error {
	xdp := nl.NewRtAttr(unix.IFLA_XDP|unix.NLA_F_NESTED, nil)
	xdp.AddRtAttr(unix.IFLA_XDP_FD, nl.Uint32Attr(uint32(program)))
	xdp.AddRtAttr(unix.IFLA_XDP_FLAGS, nl.Uint32Attr(flags))
	if flags&unix.XDP_FLAGS_REPLACE != 0 {
		xdp.AddRtAttr(unix.IFLA_XDP_EXPECTED_FD, nl.Uint32Attr(uint32(expected)))
	}
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	req.AddData(msg)
	req.AddData(xdp)

	socket, err := routeSocket()
	if err != nil {
		return err
	}
	defer socket.Close()
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
