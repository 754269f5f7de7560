package testnet

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"repacket/internal/lab"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Direction is a way through an interface.
type Direction bool

// The two ways.
const (
	In  Direction = false
	Out Direction = true
)

// String is the direction's name.
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// tcHook is a program that sits at tc, as the last one.
type tcHook struct{ detach func() error }

// Close takes the program off, as does the end of the process or of the
// namespace.
func (h *tcHook) Close() error { return h.detach() }

// attachTC puts a program at tc: by tcx, or as a filter before Linux 6.6.
func attachTC(ns *lab.Namespace, name string, p *ebpf.Program, d Direction) (h *tcHook, err error) {
	err = ns.Do(func() error {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		h, err = attachTCX(ifi.Index, p, d)
		if errors.Is(err, ebpf.ErrNotSupported) {
			h, err = attachFilterTC(ns, ifi.Index, p, d)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach to %s at tc: %w", name, err)
	}
	return h, nil
}

func attachTCX(ifindex int, p *ebpf.Program, d Direction) (*tcHook, error) {
	attach := ebpf.AttachTCXIngress
	if d == Out {
		attach = ebpf.AttachTCXEgress
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: p, Attach: attach})
	if err != nil {
		return nil, err
	}
	return &tcHook{l.Close}, nil
}

// filterHandle tells the filters of one interface apart.
var filterHandle atomic.Uint32

// lastPriority is behind all filters that somebody else may have.
const lastPriority = 0xfffe

// attachFilterTC attaches by a clsact filter. It ends with the namespace at the
// latest.
func attachFilterTC(ns *lab.Namespace, ifindex int, p *ebpf.Program, d Direction) (*tcHook, error) {
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    filterHandle.Add(1),
			Protocol:  unix.ETH_P_ALL,
			Priority:  lastPriority,
		},
		Fd: p.FD(), Name: "lab", DirectAction: true,
	}
	if d == Out {
		filter.Parent = netlink.HANDLE_MIN_EGRESS
	}
	if err := netlink.FilterAdd(filter); err != nil {
		return nil, err
	}
	return &tcHook{func() error {
		if ns.FD() < 0 {
			return nil // it went with the namespace
		}
		return ns.Do(func() error { return netlink.FilterDel(filter) })
	}}, nil
}
