package programs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Program is one on an interface, as the kernel tells it. No code of ours has a part
// in it.
type Program struct {
	ID   ebpf.ProgramID
	Hook string          // xdp, tcx or clsact
	At   ebpf.AttachType // of tcx
	Name string
	Maps []string // names, in their order
}

// Visible reports whether list and detach know a program as ours.
func (p Program) Visible() bool {
	return p.Name == "repacket" && slices.Contains(p.Maps, "repacket_meta") && slices.Contains(p.Maps, "repacket_counts")
}

// Inert reports whether a program is the stub of a process that is gone.
func (p Program) Inert() bool { return p.Name == "repacket_stub" && p.Hook == "clsact" }

// State is what is on an interface, in the network namespace of the calling thread.
type State []Program

// Look finds the programs of an interface of the network namespace of the calling thread.
func Look(ifname string) (s State, err error) {
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return nil, err
	}
	if xdp := l.Attrs().Xdp; xdp != nil && xdp.Attached {
		s = append(s, Program{ID: ebpf.ProgramID(xdp.ProgId), Hook: "xdp"})
	}
	for _, attach := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		q, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: attach})
		if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
			break // a kernel without tcx
		}
		if err != nil {
			return nil, err
		}
		for _, p := range q.Programs {
			s = append(s, Program{ID: p.ID, Hook: "tcx", At: attach})
		}
	}
	filters, err := filters(l)
	if err != nil {
		return nil, err
	}
	for _, f := range filters {
		s = append(s, Program{ID: ebpf.ProgramID(f.Id), Hook: "clsact"})
	}
	for i := range s {
		if err := s[i].open(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// filters are the BPF filters of an interface in both directions.
func filters(l netlink.Link) (all []*netlink.BpfFilter, err error) {
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		there, err := netlink.FilterList(l, parent)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no qdisc of that kind
		}
		if err != nil {
			return nil, err
		}
		for _, f := range there {
			if b, ok := f.(*netlink.BpfFilter); ok && b.Id != 0 {
				all = append(all, b)
			}
		}
	}
	return all, nil
}

// open looks at the program's name and its maps.
func (p *Program) open() error {
	prog, err := ebpf.NewProgramFromID(p.ID)
	if err != nil {
		return err
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		return err
	}
	p.Name = info.Name
	ids, ok := info.MapIDs()
	if !ok {
		return errors.New("the kernel tells no maps of a program")
	}
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return err
		}
		about, err := m.Info()
		if err := errors.Join(err, m.Close()); err != nil {
			return err
		}
		p.Maps = append(p.Maps, about.Name)
	}
	return nil
}

// Clear takes off whatever is on an interface.
func Clear(ifname string) error {
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return err
	}
	s, err := Look(ifname)
	if err != nil {
		return err
	}
	for _, p := range s {
		switch p.Hook {
		case "xdp":
			err = netlink.LinkSetXdpFdWithFlags(l, -1, unix.XDP_FLAGS_DRV_MODE)
		case "tcx":
			err = detachTCX(l.Attrs().Index, p)
		case "clsact":
			err = deleteClsact(l)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
				err = nil // it went with the program of the other direction
			}
		}
		if err != nil {
			return fmt.Errorf("take off %+v: %w", p, err)
		}
	}
	return nil
}

func detachTCX(index int, p Program) error {
	prog, err := ebpf.NewProgramFromID(p.ID)
	if err != nil {
		return err
	}
	defer prog.Close()
	return link.RawDetachProgram(link.RawDetachProgramOptions{Target: index, Program: prog, Attach: p.At})
}

// RemoveQdisc removes a clsact qdisc that a command before has left though it held
// nothing.
func RemoveQdisc(ifname string, programs int) error {
	there, err := Qdisc(ifname)
	if err != nil || !there || programs > 0 {
		return err
	}
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return err
	}
	return deleteClsact(l)
}

func deleteClsact(l netlink.Link) error {
	return netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}})
}

// Qdisc reports whether an interface has a clsact qdisc.
func Qdisc(ifname string) (bool, error) {
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return false, err
	}
	all, err := netlink.QdiscList(l)
	return slices.ContainsFunc(all, func(q netlink.Qdisc) bool { return q.Type() == "clsact" }), err
}

// Metadata are the kernel's numbers of the maps that are metadata of Repacket about an interface of
// a name, in whichever namespace, attached or not.
func Metadata(ifname string) (ids []ebpf.MapID, err error) {
	for id := ebpf.MapID(0); ; {
		id, err = ebpf.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return ids, nil
		}
		if err != nil {
			return nil, err
		}
		about, err := isAbout(id, ifname)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		if about {
			ids = append(ids, id)
		}
	}
}

// isAbout reports whether a map is metadata about an interface.
func isAbout(id ebpf.MapID, ifname string) (bool, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return false, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil || info.Name != "repacket_meta" {
		return false, err
	}
	value, err := m.LookupBytes(uint32(0))
	return bytes.Contains(value, []byte(ifname)), err
}
