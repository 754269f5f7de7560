package hook

import (
	"errors"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The kernel carries a netlink request out when it is sent, and its answer can be
// lost (ENOBUFS, ENOMEM, EINTR): an error then says nothing of what is there. So who
// gets one looks at the interface.

// setSlot is setXDP by programs: it puts a program on an interface, in the place of
// another one or of none, or with to nil detaches it.
func setSlot(at attachPoint, from, to *ebpf.Program) error {
	flags, fd, expected := modeFlags[at.mode]|unix.XDP_FLAGS_UPDATE_IF_NOEXIST, noProgram, 0
	if from != nil {
		flags, expected = modeFlags[at.mode]|unix.XDP_FLAGS_REPLACE, from.FD()
	}
	if to != nil {
		fd = to.FD()
	}
	err := setXDP(at.ifindex, fd, expected, flags)
	if err == nil || answered(err) {
		return err
	}
	there, look := slotsHold(at, from, to)
	if look == nil && (to != nil && there[to] || to == nil && !there[from]) {
		return nil
	}
	return errors.Join(err, look)
}

// answered reports whether an error can only be the kernel's answer to a request that
// attaches a program or detaches it.
func answered(err error) bool {
	return slices.ContainsFunc([]error{unix.EEXIST, unix.EBUSY, unix.ENOENT, unix.ENODEV, unix.ESTALE}, func(answer error) bool {
		return errors.Is(err, answer)
	})
}

// slotsHold tells which of some programs are in XDP's slots of an interface.
func slotsHold(at attachPoint, progs ...*ebpf.Program) (map[*ebpf.Program]bool, error) {
	d, err := deviceByIndex(at.ifindex)
	if err != nil {
		return nil, err
	}
	there := map[*ebpf.Program]bool{}
	for _, prog := range progs {
		if prog == nil {
			continue
		}
		id, err := idOf(prog)
		if err != nil {
			return nil, err
		}
		there[prog] = slices.ContainsFunc(d.slots, func(s slot) bool { return s.program == id })
	}
	return there, nil
}

// idOf is the kernel's number of a program.
func idOf(prog *ebpf.Program) (uint32, error) {
	info, err := prog.Info()
	if err != nil {
		return 0, err
	}
	id, told := info.ID()
	if !told {
		return 0, errors.New("the kernel does not tell the number of a program")
	}
	return uint32(id), nil
}

// settle is the error of a request to put a filter in its place (wanted true) or to
// remove it, or nil where that is what has become of it.
func (c *tcConn) settle(at attachPoint, f filter, wanted bool, err error) error {
	if err == nil || answered(err) {
		return err
	}
	there, look := c.has(at, f)
	if look == nil && there == wanted {
		return nil
	}
	return errors.Join(err, look)
}

// makeClsact adds a clsact qdisc; the error is EEXIST where there is a qdisc of its
// kind.
func (c *tcConn) makeClsact(ifindex int) error {
	err := c.addClsact(ifindex)
	if err == nil || answered(err) {
		return err
	}
	if kind, look := c.qdisc(ifindex); look == nil && kind == clsact {
		return nil // else the answer would have been EEXIST
	}
	return err
}
