package hook

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// modeFlags are a mode's XDP_FLAGS, the same for links and for netlink.
var modeFlags = [...]uint32{
	Auto:    0,
	Native:  unix.XDP_FLAGS_DRV_MODE,
	Generic: unix.XDP_FLAGS_SKB_MODE,
	Offload: unix.XDP_FLAGS_HW_MODE,
}

// Link puts a program on an interface until the link is closed or the process
// ends, kill -9 included. The errors are ErrTaken, ErrUnsupported,
// ErrPrivilege and ErrNoInterface; after any of them the interface is as it was.
func Link(ifindex int, prog *ebpf.Program, mode Mode) (link.Link, error) {
	l, err := link.AttachXDP(link.XDPOptions{
		Program:   prog,
		Interface: ifindex,
		Flags:     link.XDPAttachFlags(modeFlags[mode]),
	})
	if err != nil {
		return nil, explainOn(ifindex, err, actLink, mode)
	}
	return l, nil
}

// Give puts a program on an interface for good: it stays until Take, or until
// the interface goes. The errors are those of Link.
func Give(ifindex int, prog *ebpf.Program, mode Mode) error {
	flags := modeFlags[mode] | unix.XDP_FLAGS_UPDATE_IF_NOEXIST
	if err := setXDP(ifindex, prog.FD(), 0, flags); err != nil {
		return explainOn(ifindex, err, actGive, mode)
	}
	return nil
}

// Take takes a program of ours off the interface where it was found. The kernel
// compares programs while it does, so another's is never removed, not even one
// that came a moment ago. The error is ErrNothing when the program is gone
// already, and ErrTaken when it is another's or when a running process (then
// with its PID) holds it there.
func Take(a *Attached) error {
	if !a.Ours {
		return a.taken(nil)
	}
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID))
	if errors.Is(err, unix.ENOENT) {
		return &ErrNothing{Interface: a.Interface}
	}
	if err != nil {
		return explain(err, actFind, newScene(a.Interface, a.Mode))
	}
	defer func() { _ = prog.Close() }()
	err = setXDP(a.Ifindex, noProgram, prog.FD(), modeFlags[a.Mode]|unix.XDP_FLAGS_REPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		// Only a link resists, and a link of ours has a process.
		taken := a.taken(err)
		taken.PID = a.Meta.PID
		return taken
	case errors.Is(err, unix.EEXIST):
		return a.replaced(err)
	}
	return explainOn(a.Ifindex, err, actTake, a.Mode)
}

// replaced explains why the interface has another program than a, or none.
func (a *Attached) replaced(cause error) error {
	now, err := Find(a.Ifindex)
	if err != nil {
		return err // most often ErrNothing
	}
	return now.taken(cause)
}

// taken says that this program is in the way.
func (a *Attached) taken(cause error) *ErrTaken {
	taken := &ErrTaken{
		Interface:   a.Interface,
		Mode:        a.Mode,
		ProgramID:   a.ProgramID,
		ProgramName: a.ProgramName,
		Ours:        a.Ours,
		Err:         cause,
	}
	if a.Ours && a.Meta.Foreground {
		taken.PID = a.Meta.PID
	}
	return taken
}

// explainOn explains an error with what the interface says about itself now.
func explainOn(ifindex int, cause error, act action, mode Mode) error {
	d, err := deviceByIndex(ifindex)
	if errors.Is(err, unix.ENODEV) || ifindex <= 0 {
		return &ErrNoInterface{Index: ifindex, Err: cause}
	}
	if err != nil {
		d.Name = fmt.Sprintf("interface %d", ifindex)
	}
	explained := explain(cause, act, newScene(d.Name, mode))
	var taken *ErrTaken
	if !errors.As(explained, &taken) {
		return explained
	}
	if len(d.slots) == 0 {
		return taken
	}
	first := d.slots[0]
	found, err := openSlot(d.Iface, first)
	if err != nil {
		// Without the right to open programs their numbers still tell something.
		found = &Attached{Interface: d.Name, Mode: first.mode, ProgramID: first.program}
	}
	return found.taken(cause)
}
