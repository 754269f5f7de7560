package hook

import (
	"errors"
	"math"
	"runtime"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// noTCX makes this package do as on a kernel without tcx. Tests set it.
var noTCX bool

// tcxTypes are the kernel's names of the hooks.
var tcxTypes = [...]ebpf.AttachType{run.In: ebpf.AttachTCXIngress, run.Out: ebpf.AttachTCXEgress}

// tcxAttempts is how often is tried again what others get in between.
const tcxAttempts = 8

// tcxState is what is on a tcx hook.
type tcxState struct {
	programs []ebpf.ProgramID // in the order in which they run
	// revision is the kernel's count of changes.
	revision uint64
}

// progQuery is what bpf(2) takes and gives for BPF_PROG_QUERY.
type progQuery struct {
	ifindex, attachType     uint32
	queryFlags, attachFlags uint32
	programs                uint64 // a pointer
	count, _                uint32
	_, _, _                 uint64
	revision                uint64
}

// queryTCX asks what is on a hook; there is false where the kernel has no tcx.
// (The library's function takes a missing privilege for a missing tcx.)
func queryTCX(ifindex int, dir run.Direction) (s tcxState, there bool, err error) {
	if noTCX {
		return s, false, nil
	}
	const room = 64 // BPF_MPROG_MAX
	ids := make([]ebpf.ProgramID, room)
	var pinner runtime.Pinner
	pinner.Pin(&ids[0])
	defer pinner.Unpin()
	q := progQuery{
		ifindex: uint32(ifindex), attachType: uint32(tcxTypes[dir]),
		programs: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: room,
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_QUERY, uintptr(unsafe.Pointer(&q)), unsafe.Sizeof(q))
	switch errno {
	case 0:
		return tcxState{ids[:min(q.count, room)], q.revision}, true, nil
	case unix.EINVAL, unix.ENOSYS: // a kernel that does not know the hooks
		return s, false, nil
	}
	return s, false, errno
}

// HasTCX reports whether the kernel has tcx; else tc programs go to clsact. It
// takes CAP_NET_ADMIN; the error is PrivilegeError.
func HasTCX() (bool, error) {
	// Of an interface that there is not: who knows the hooks misses it.
	_, there, err := queryTCX(math.MaxInt32, run.In)
	switch {
	case errors.Is(err, unix.ENODEV):
		return true, nil
	case err != nil:
		return false, explain(err, actHooks, newAttempt("", run.In, run.TC))
	}
	return there, nil
}

// linkTC links a program to tcx, or puts it in a clsact stub.
func linkTC(at attachPoint, prog *ebpf.Program) (Handle, error) {
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
	return newLinkHandle(l, at, prog)
}

// addTC gives a program to tcx, or puts it in a clsact filter. undo is as that of
// attachAt.
func addTC(at attachPoint, prog *ebpf.Program) (undo func() error, err error) {
	there, err := attachTCX(at, actAttach, func(revision uint64) error {
		return link.RawAttachProgram(link.RawAttachProgramOptions{
			Target:           at.ifindex,
			Program:          prog,
			Attach:           tcxTypes[at.dir],
			Anchor:           link.Head(),
			ExpectedRevision: revision,
		})
	})
	if err == nil && !there {
		return addClsactFilter(at, prog)
	}
	return func() error { return explainOn(at, changeTCX(at, prog, nil), actDetach) }, err
}

// attachTCX lets put attach to tcx as long as nothing has changed there since
// it was seen to be without a program of ours. there is false where the kernel
// has no tcx.
func attachTCX(at attachPoint, act action, put func(revision uint64) error) (there bool, err error) {
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
func (s tcxState) withoutOurs(at attachPoint) error {
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
	return noneOurs(all)
}

// openTCX looks at the programs on a hook. One that has gone meanwhile, with
// none in its place, is left out.
func openTCX(i Iface, dir run.Direction, s tcxState) (all []*Program, err error) {
	for range inspectAttempts {
		whole := true
		all = nil
		for _, id := range s.programs {
			a := &Program{Interface: i.Name, Ifindex: i.Index, Direction: dir, Hook: run.TC, Way: ByTCX, ProgramID: uint32(id)}
			switch err := a.open(); {
			case errors.Is(err, errGone):
				whole = false
			case err != nil:
				return nil, explain(err, actFind, newAttempt(i.Name, dir, run.TC))
			default:
				all = append(all, a)
			}
		}
		if whole {
			break
		}
		if s, _, err = queryTCX(i.Index, dir); err != nil {
			return nil, explainOn(attachPoint{i.Index, dir, run.TC}, err, actFind)
		}
	}
	return all, nil
}

// changeTCX replaces a program that stays, or detaches it if to is nil.
// The kernel's error is EBUSY where a link holds it, ENOENT where it is gone.
func changeTCX(at attachPoint, from, to *ebpf.Program) error {
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
