package hook

import (
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// Qdiscs that have filters for packets on their way in, and clsact also out. An
// interface has one of them at most.
const (
	clsact  = "clsact"
	ingress = "ingress"
)

// filterParents are where the filters of a direction hang.
var filterParents = [...]uint32{run.In: netlink.HANDLE_MIN_INGRESS, run.Out: netlink.HANDLE_MIN_EGRESS}

// etherAll is ETH_P_ALL in the wire's byte order: a filter for all packets.
var etherAll = nl.Swap16(unix.ETH_P_ALL)

// tcConn speaks with the kernel about qdiscs and filters in the network
// namespace where it was opened, on whichever thread.
type tcConn struct{ socket *nl.SocketHandle }

func newTCConn() (*tcConn, error) {
	socket, err := routeSocket()
	if err != nil {
		return nil, err
	}
	return &tcConn{&nl.SocketHandle{Socket: socket}}, nil
}

func (c *tcConn) close() { c.socket.Close() }

// routeSocket opens rtnetlink in the network namespace of the thread.
func routeSocket() (*nl.NetlinkSocket, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// The driver's own words come along with its error. A kernel that does not
	// know how still sends the error.
	_ = socket.SetExtAck(true)
	return socket, nil
}

// request begins a request about an interface.
func (c *tcConn) request(kind, flags int, msg *nl.TcMsg) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: c.socket}
	req.AddData(msg)
	return req
}

// dump asks until the answer is of one piece. It is EBUSY where the answer before was
// lost in the middle: then the socket has to get to the end of that first.
func (c *tcConn) dump(kind int, reply uint16, msg *nl.TcMsg) (replies [][]byte, err error) {
	for range dumpAttempts {
		replies, err = c.request(kind, unix.NLM_F_DUMP, msg).Execute(unix.NETLINK_ROUTE, reply)
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	return replies, err
}

// qdiscs are the clsact and ingress qdiscs of all interfaces, by interface.
func (c *tcConn) qdiscs() (map[int]string, error) {
	replies, err := c.dump(unix.RTM_GETQDISC, unix.RTM_NEWQDISC, &nl.TcMsg{Family: unix.AF_UNSPEC})
	if err != nil {
		return nil, err
	}
	kinds := map[int]string{}
	for _, reply := range replies {
		msg := nl.DeserializeTcMsg(reply)
		attrs, err := nl.ParseRouteAttr(reply[msg.Len():])
		if err != nil {
			return nil, err
		}
		for _, attr := range attrs {
			if attr.Attr.Type != nl.TCA_KIND {
				continue
			}
			if kind := nl.BytesToString(attr.Value); kind == clsact || kind == ingress {
				kinds[int(msg.Ifindex)] = kind
			}
		}
	}
	return kinds, nil
}

// device asks for one interface. The error is the kernel's.
func (c *tcConn) device(ifindex int) (device, error) {
	req := requestByIndex(ifindex)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: c.socket}
	return oneDevice(req)
}

// qdisc is the kind of the qdisc that an interface has, or "".
func (c *tcConn) qdisc(ifindex int) (string, error) {
	kinds, err := c.qdiscs()
	return kinds[ifindex], err
}

// addClsact makes a clsact qdisc; the error is EEXIST where there is a qdisc of
// its kind.
func (c *tcConn) addClsact(ifindex int) error {
	req := c.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, clsactMsg(ifindex))
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(clsact)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (c *tcConn) deleteClsact(ifindex int) error {
	req := c.request(unix.RTM_DELQDISC, unix.NLM_F_ACK, clsactMsg(ifindex))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func clsactMsg(ifindex int) *nl.TcMsg {
	return &nl.TcMsg{
		Family:  unix.AF_UNSPEC,
		Ifindex: int32(ifindex),
		Handle:  netlink.MakeHandle(0xffff, 0),
		Parent:  netlink.HANDLE_CLSACT,
	}
}

// filters are the filters for a direction in the order in which they run. It
// is for interfaces with a qdisc that has that direction only.
func (c *tcConn) filters(ifindex int, dir run.Direction) ([]filter, error) {
	msg := filterMsg(ifindex, dir, filter{})
	replies, err := c.dump(unix.RTM_GETTFILTER, unix.RTM_NEWTFILTER, msg)
	if err != nil {
		return nil, err
	}
	all := make([]filter, 0, len(replies))
	for _, reply := range replies {
		f, err := parseFilter(reply)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// putFilter makes a BPF filter that decides by itself, or gives the filter that
// is there another program.
func (c *tcConn) putFilter(ifindex int, dir run.Direction, f filter, fd, flags int) error {
	req := c.request(unix.RTM_NEWTFILTER, flags|unix.NLM_F_ACK, filterMsg(ifindex, dir, f))
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(f.kind)))
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	options.AddRtAttr(nl.TCA_BPF_FD, nl.Uint32Attr(uint32(fd)))
	options.AddRtAttr(nl.TCA_BPF_NAME, nl.ZeroTerminated(f.name))
	options.AddRtAttr(nl.TCA_BPF_FLAGS, nl.Uint32Attr(nl.TCA_BPF_FLAG_ACT_DIRECT))
	req.AddData(options)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func (c *tcConn) deleteFilter(ifindex int, dir run.Direction, f filter) error {
	req := c.request(unix.RTM_DELTFILTER, unix.NLM_F_ACK, filterMsg(ifindex, dir, f))
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(f.kind)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func filterMsg(ifindex int, dir run.Direction, f filter) *nl.TcMsg {
	return &nl.TcMsg{
		Family:  unix.AF_UNSPEC,
		Ifindex: int32(ifindex),
		Handle:  f.handle,
		Parent:  filterParents[dir],
		Info:    netlink.MakeHandle(f.pref, f.protocol),
	}
}

// parseFilter reads an RTM_NEWTFILTER message: struct tcmsg and attributes.
func parseFilter(reply []byte) (filter, error) {
	msg := nl.DeserializeTcMsg(reply)
	f := filter{handle: msg.Handle}
	f.pref, f.protocol = netlink.MajorMinor(msg.Info)
	attrs, err := nl.ParseRouteAttr(reply[msg.Len():])
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case nl.TCA_KIND:
			f.kind = nl.BytesToString(attr.Value)
		case nl.TCA_CHAIN:
			f.chain = number(attr.Value)
		case nl.TCA_OPTIONS:
			if f.kind == bpfKind {
				err = errors.Join(err, f.parseBPF(attr.Value))
			}
		}
	}
	return f, err
}

func (f *filter) parseBPF(options []byte) error {
	attrs, err := nl.ParseRouteAttr(options)
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case nl.TCA_BPF_ID:
			f.program = number(attr.Value)
		case nl.TCA_BPF_NAME:
			f.name = nl.BytesToString(attr.Value)
		}
	}
	return err
}
