package hook

import (
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Handle is a program that this process holds on an interface. When the process
// dies, however it dies, the kernel detaches the program.
type Handle interface {
	// Update puts another program of the same type in the place of this one,
	// in one step. The old one may run on for a moment on other CPUs. After an
	// error the old one is still there.
	Update(prog *ebpf.Program) error
	// Gone reports whether the program is no longer on the interface, most often
	// because that was removed.
	Gone() (bool, error)
	// Here reports whether the program is on the interface that has its number in the
	// network namespace of the calling thread: an interface that is moved to another
	// one keeps the program, and often the number, which another interface gets here.
	Here() (bool, error)
	// Close detaches the program.
	Close() error
}

// linkHandle is a program on a link of the kernel: XDP or tcx.
type linkHandle struct {
	link.Link
	at attachPoint
}

func (h linkHandle) Update(prog *ebpf.Program) error {
	if err := h.Link.Update(prog); err != nil {
		return explainOn(h.at, fmt.Errorf("update the link: %w", err), actReplace)
	}
	return nil
}

func (h linkHandle) Here() (bool, error) {
	info, err := h.Info()
	if err != nil {
		return false, fmt.Errorf("inspect the link to interface %d: %w", h.at.ifindex, err)
	}
	if info.XDP() == nil {
		s, _, err := queryTCX(h.at.ifindex, h.at.dir)
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

// Gone is true when the kernel has cut the link: then it tells no interface.
func (h linkHandle) Gone() (bool, error) {
	info, err := h.Info()
	if err != nil {
		return false, fmt.Errorf("inspect the link to interface %d: %w", h.at.ifindex, err)
	}
	if xdp := info.XDP(); xdp != nil {
		return xdp.Ifindex == 0, nil
	}
	tcx := info.TCX()
	return tcx != nil && tcx.Ifindex == 0, nil
}
