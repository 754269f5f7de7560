package hook

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// noTCX makes this package do as on a kernel without tcx. Tests set it.
var noTCX bool

// tcxTypes are the kernel's names of the hooks.
var tcxTypes = [...]ebpf.AttachType{In: ebpf.AttachTCXIngress, Out: ebpf.AttachTCXEgress}

// tcxAttempts is how often is tried again what others get in between.
const tcxAttempts = 8

// tcxState is what is on a tcx hook.
type tcxState struct {
	programs []ebpf.ProgramID // in the order in which they run
	// revision is the kernel's count of changes.
	revision uint64
}

// queryTCX asks what is on a hook; there is false where the kernel has no tcx.
func queryTCX(ifindex int, dir Direction) (s tcxState, there bool, err error) {
	if noTCX {
		return s, false, nil
	}
	var result *link.QueryResult
	for range tcxAttempts {
		result, err = link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: tcxTypes[dir]})
		if !errors.Is(err, unix.ENOSPC) { // one came while it was asked
			break
		}
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, ebpf.ErrNotSupported) {
		// So says a kernel that does not know the hooks.
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	for _, p := range result.Programs {
		s.programs = append(s.programs, p.ID)
	}
	s.revision = result.Revision
	return s, true, nil
}

// linkTC links a program to tcx, or puts it in a clsact stub.
func linkTC(at place, prog *ebpf.Program) (Handle, error) {
	var l link.Link
	there, err := attachTCX(at, actLink, func(revision uint64) (err error) {
		l, err = link.AttachTCX(link.TCXOptions{
			Interface:        at.ifindex,
			Program:          prog,
			Attach:           tcxTypes[at.dir],
			Anchor:           link.Head(),
			ExpectedRevision: revision,
		})
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !there:
		return linkClsact(at, prog)
	}
	return linkHandle{l, at}, nil
}

// giveTC gives a program to tcx, or puts it in a clsact filter.
func giveTC(at place, prog *ebpf.Program) error {
	there, err := attachTCX(at, actGive, func(revision uint64) error {
		return link.RawAttachProgram(link.RawAttachProgramOptions{
			Target:           at.ifindex,
			Program:          prog,
			Attach:           tcxTypes[at.dir],
			Anchor:           link.Head(),
			ExpectedRevision: revision,
		})
	})
	if err == nil && !there {
		return giveClsact(at, prog)
	}
	return err
}

// attachTCX lets put attach to tcx as long as nothing has changed there since
// it was seen to be without a program of ours. there is false where the kernel
// has no tcx.
func attachTCX(at place, act action, put func(revision uint64) error) (there bool, err error) {
	for range tcxAttempts {
		var s tcxState
		s, there, err = queryTCX(at.ifindex, at.dir)
		if err != nil {
			return there, explainOn(at, err, act)
		}
		if !there {
			return false, nil
		}
		if err = s.withoutOurs(at); err != nil {
			return true, err
		}
		if err = put(s.revision); !errors.Is(err, unix.ESTALE) {
			break
		}
	}
	if err != nil {
		err = explainOn(at, err, act)
	}
	return true, err
}

// withoutOurs expects no program of ours.
func (s tcxState) withoutOurs(at place) error {
	if len(s.programs) == 0 {
		return nil
	}
	d, err := deviceByIndex(at.ifindex)
	if err != nil {
		return explainOn(at, err, actFind)
	}
	all, err := openTCX(d.Iface, at.dir, s)
	if err != nil {
		return err
	}
	for _, a := range all {
		if a.Ours {
			return a.taken(unix.EEXIST)
		}
	}
	return nil
}

// openTCX looks at the programs on a hook. One that has gone meanwhile is left
// out.
func openTCX(i Iface, dir Direction, s tcxState) ([]*Attached, error) {
	var all []*Attached
	for _, id := range s.programs {
		a := &Attached{Interface: i.Name, Ifindex: i.Index, Direction: dir, Mode: TC, Way: ByTCX, ProgramID: uint32(id)}
		err := a.open()
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, explain(err, actFind, newScene(i.Name, dir, TC))
		}
		all = append(all, a)
	}
	return all, nil
}

// changeTCX replaces a program that was given, or takes it off if to is nil.
// The kernel's error is EBUSY where a link holds it, ENOENT where it is gone.
func changeTCX(at place, from, to *ebpf.Program) error {
	if to == nil {
		return link.RawDetachProgram(link.RawDetachProgramOptions{
			Target:  at.ifindex,
			Program: from,
			Attach:  tcxTypes[at.dir],
		})
	}
	return link.RawAttachProgram(link.RawAttachProgramOptions{
		Target:  at.ifindex,
		Program: to,
		Attach:  tcxTypes[at.dir],
		Anchor:  link.ReplaceProgram(from),
	})
}
