package hook

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Handle is a program that this process holds on an interface. When the process
// dies, however it dies, the kernel detaches the program.
type Handle interface {
	// Update puts another program of the same type in the place of this one,
	// in one step. The old one may run on for a moment on other CPUs. After an
	// error the old one is still there. Where others have taken it away or have put theirs
	// in its place, the error is LostError.
	Update(prog *ebpf.Program) error
	// Lost reports whether others have taken the program off the interface, or have put theirs
	// in its place, or whether that was removed. It asks by descriptors that the handle has,
	// which takes no privilege.
	Lost() (Loss, error)
	// Here reports whether the program is on the interface that has its number in the
	// network namespace of the calling thread: an interface that is moved to another
	// one keeps the program, and often the number, which another interface gets here.
	Here() (bool, error)
	// Close detaches the program. Only where Privileged says so, it takes CAP_NET_ADMIN.
	Close() error
	Privileged() bool
}

// linkHandle is a program on a link of the kernel: XDP or tcx.
type linkHandle struct {
	link.Link
	at      attachPoint
	program uint32  // its number
	conn    *tcConn // in the network namespace of the interface
}

// newLinkHandle makes a handle of a link; after an error the link is closed.
func newLinkHandle(l link.Link, at attachPoint, prog *ebpf.Program) (Handle, error) {
	h := &linkHandle{Link: l, at: at}
	var err error
	if h.program, err = idOf(prog); err == nil {
		h.conn, err = newTCConn()
	}
	if err != nil {
		return nil, errors.Join(explainOn(at, err, actLink), l.Close())
	}
	return h, nil
}

func (h *linkHandle) Update(prog *ebpf.Program) error {
	id, err := idOf(prog)
	if err != nil {
		return explainOn(h.at, err, actReplace)
	}
	if err := lost(h, h.at); err != nil {
		return err
	}
	if err := h.Link.Update(prog); err != nil {
		return explainOn(h.at, fmt.Errorf("update the link: %w", err), actReplace)
	}
	h.program = id
	return nil
}

// Privileged: a link goes with its descriptor.
func (h *linkHandle) Privileged() bool { return false }

func (h *linkHandle) Here() (bool, error) {
	info, err := h.Info()
	if err != nil {
		return false, fmt.Errorf("inspect the link to interface %d: %w", h.at.ifindex, err)
	}
	if info.XDP() == nil {
		s, _, err := queryTCX(h.at.ifindex, h.at.dir)
		if errors.Is(err, unix.EPERM) {
			return h.numbered(info)
		}
		if err != nil {
			return false, explainOn(h.at, err, actQuery)
		}
		return slices.Contains(s.programs, info.Program), nil
	}
	d, err := deviceByIndex(h.at.ifindex)
	if err != nil {
		return false, explainOn(h.at, err, actList)
	}
	return slices.ContainsFunc(d.slots, func(s slot) bool { return s.program == uint32(info.Program) }), nil
}

// numbered is what can be told of tcx without privilege: that the link is on an interface of the number of
// one that is here.
func (h *linkHandle) numbered(info *link.Info) (bool, error) {
	if tcx := info.TCX(); tcx == nil || tcx.Ifindex != uint32(h.at.ifindex) {
		return false, nil
	}
	_, err := deviceByIndex(h.at.ifindex)
	if errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return err == nil, explainOn(h.at, err, actList)
}

// Lost looks at the link: where the kernel has cut it, it tells no interface. XDP that is
// set by netlink cannot displace a link, but whoever opens the link by its number can
// detach it or update it.
func (h *linkHandle) Lost() (Loss, error) {
	info, err := h.Info()
	if err != nil {
		return Loss{}, fmt.Errorf("inspect the link to interface %d: %w", h.at.ifindex, err)
	}
	xdp, tcx := info.XDP(), info.TCX()
	switch {
	case xdp != nil && xdp.Ifindex == 0, tcx != nil && tcx.Ifindex == 0:
		return h.conn.without(h.at)
	case uint32(info.Program) != h.program:
		return Loss{Replaced, uint32(info.Program)}, nil
	}
	return Loss{}, nil
}

func (h *linkHandle) Close() error {
	h.conn.close()
	return h.Link.Close()
}

// without tells how an interface has lost a program that is not on it any more.
func (c *tcConn) without(at attachPoint) (Loss, error) {
	d, err := c.device(at.ifindex)
	switch {
	case errors.Is(err, unix.ENODEV):
		return Loss{How: Removed}, nil
	case err != nil:
		return Loss{}, fmt.Errorf("inspect interface %d: %w", at.ifindex, err)
	}
	loss := Loss{How: Detached}
	if at.mode.IsXDP() && len(d.slots) > 0 {
		loss.ProgramID = d.slots[0].program
	}
	return loss, nil
}

// lost is the error that a program is lost, or nil. If that cannot be seen, it is there.
func lost(h Handle, at attachPoint) error {
	loss, err := h.Lost()
	if err != nil || loss.How == Kept {
		return nil
	}
	d, err := deviceByIndex(at.ifindex)
	if err != nil {
		d.Name = fmt.Sprintf("interface %d", at.ifindex)
	}
	return &LostError{Interface: d.Name, Direction: at.dir, Hook: at.mode, Loss: loss}
}
