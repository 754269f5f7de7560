package hook

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// modeFlags are a mode's XDP_FLAGS, the same for links and for netlink.
var modeFlags = [...]uint32{
	run.Auto:       0,
	run.XDP:        unix.XDP_FLAGS_DRV_MODE,
	run.GenericXDP: unix.XDP_FLAGS_SKB_MODE,
	run.OffloadXDP: unix.XDP_FLAGS_HW_MODE,
}

// place is where a program goes or is.
type attachPoint struct {
	ifindex int
	dir     run.Direction
	mode    run.Hook
}

// attachPointOf is where a program of its type can go.
func attachPointOf(ifindex int, dir run.Direction, prog *ebpf.Program, mode run.Hook) (attachPoint, error) {
	if mode == run.Auto && prog.Type() == ebpf.SchedCLS {
		mode = run.TC
	}
	at := attachPoint{ifindex, dir, mode}
	if mode != run.TC && dir == run.Out {
		d, _ := deviceByIndex(ifindex) // only its name is wanted
		return at, &EgressXDPError{Interface: d.Name, Hook: mode}
	}
	want := ebpf.XDP
	if mode == run.TC {
		want = ebpf.SchedCLS
	}
	if prog.Type() != want {
		return at, fmt.Errorf("a program of type %s cannot be attached as %s", prog.Type(), mode)
	}
	return at, nil
}

// Link attaches a program to an interface until the handle is closed or the process
// ends, kill -9 included. At tc it comes before all that are there. The errors
// are TakenError, UnsupportedError, PrivilegeError, NoInterfaceError and EgressXDPError;
// after any of them the interface is as it was.
//
// It takes CAP_BPF and CAP_NET_ADMIN, and CAP_SYS_ADMIN where other programs
// are on hooks of the interface that could be ours.
func Link(ifindex int, dir run.Direction, prog *ebpf.Program, mode run.Hook) (Handle, error) {
	at, err := attachPointOf(ifindex, dir, prog, mode)
	if err != nil {
		return nil, err
	}
	if err := free(at, actLink); err != nil {
		return nil, err
	}
	h, err := linkAt(at, prog)
	if err != nil {
		return nil, err
	}
	if err := otherHookFree(at, actLink); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func linkAt(at attachPoint, prog *ebpf.Program) (Handle, error) {
	if at.mode == run.TC {
		return linkTC(at, prog)
	}
	l, err := link.AttachXDP(link.XDPOptions{
		Program:   prog,
		Interface: at.ifindex,
		Flags:     link.XDPAttachFlags(modeFlags[at.mode]),
	})
	if err != nil {
		return nil, explainOn(at, err, actLink)
	}
	return newLinkHandle(l, at, prog)
}

// Attach attaches a program to an interface for good: it stays until Detach, or until
// the interface goes. The errors are those of Link.
func Attach(ifindex int, dir run.Direction, prog *ebpf.Program, mode run.Hook) error {
	_, err := AttachStep(ifindex, dir, prog, mode)
	return err
}

// AttachStep is Attach as a step that can be undone.
func AttachStep(ifindex int, dir run.Direction, prog *ebpf.Program, mode run.Hook) (*Step, error) {
	at, err := attachPointOf(ifindex, dir, prog, mode)
	if err != nil {
		return nil, err
	}
	if err := free(at, actAttach); err != nil {
		return nil, err
	}
	undo, err := attachAt(at, prog)
	if err != nil {
		return nil, err
	}
	if err := otherHookFree(at, actAttach); err != nil {
		return nil, errors.Join(err, undo())
	}
	return &Step{undo: undo}, nil
}

// attachAt attaches a program. undo detaches this very one again; other programs
// need not be opened for it, which takes CAP_SYS_ADMIN.
func attachAt(at attachPoint, prog *ebpf.Program) (undo func() error, err error) {
	if at.mode == run.TC {
		return addTC(at, prog)
	}
	if err := setSlot(at, nil, prog); err != nil {
		return nil, explainOn(at, err, actAttach)
	}
	return func() error { return explainOn(at, setSlot(at, prog, nil), actDetach) }, nil
}

// otherHookFree expects, behind attaching, that nothing of ours has come to the other hook
// of the direction since it was free: the kernel keeps two from one hook, and not
// from two. Who comes at the same time finds the other, and one of them gives way,
// or both.
func otherHookFree(at attachPoint, act action) error {
	if at.dir != run.In {
		return nil // there is one hook
	}
	d, l, err := openInspection(at, act)
	if err != nil {
		return err
	}
	defer l.close()
	var there []*Program
	if at.mode == run.TC {
		there, err = openSlots(d)
	} else {
		there, err = l.tc(d, run.In)
	}
	if err != nil {
		return err
	}
	return noneOurs(there)
}

// noneOurs is the error about those of ours among programs.
func noneOurs(there []*Program) error {
	ours := slices.DeleteFunc(slices.Clone(there), func(a *Program) bool { return !a.Ours })
	if len(ours) == 0 {
		return nil
	}
	return Taken(ours)
}

// Taken is the error that says that these programs of ours, one at least, are in the
// way.
func Taken(ours []*Program) *TakenError {
	taken := ours[0].taken(nil)
	for _, a := range ours[1:] {
		taken.Also = append(taken.Also, a.taken(nil))
	}
	return taken
}

// free expects that nothing of ours is on the interface in this direction, and
// removes what dead processes have left there. XDP's slot is left to the
// kernel when XDP is asked for: it knows better, and without CAP_SYS_ADMIN.
func free(at attachPoint, act action) error {
	d, l, err := openInspection(at, act)
	if err != nil {
		return err
	}
	defer l.close()
	there, err := l.tc(d, at.dir)
	if err == nil && at.dir == run.In && (at.mode == run.TC || noneOurs(there) != nil) {
		var xdp []*Program
		xdp, err = openSlots(d)
		there = append(there, xdp...)
	}
	if err == nil {
		err = noneOurs(there)
	}
	if err != nil {
		return err
	}
	_, err = l.removeStale(d)
	if denied := (*PrivilegeError)(nil); errors.As(err, &denied) {
		// What could not be opened is in the other direction, as what rewrites the replies
		// of rules that are being attached: here everything was opened.
		return nil
	}
	return err
}

// Detach detaches a program of ours from the interface where it was found. Another's
// is never removed, not even one that came a moment ago: the kernel compares
// programs while it does, or (clsact) they are compared just before. The error
// is NotAttachedError when the program is gone already, and TakenError when it is
// another's or when a running process (then with its PID) holds it there.
func Detach(a *Program) error {
	return a.change(nil, actDetach)
}

// Replace puts another program of the same type in the place of one of ours
// that was found on an interface, in one step: no packet is seen by both or by
// neither. The errors are those of Detach, and after any of them what was there
// still is. It takes CAP_SYS_ADMIN, as finding does.
func Replace(a *Program, prog *ebpf.Program) error {
	return a.change(prog, actReplace)
}

// ReplaceStep is Replace as a step that can be undone.
func ReplaceStep(a *Program, prog *ebpf.Program) (*Step, error) {
	if !a.Ours {
		return nil, a.taken(nil)
	}
	former, err := a.openProgram()
	if err != nil {
		return nil, err
	}
	if err := a.changeFrom(former, prog, actReplace); err != nil {
		return nil, errors.Join(err, former.Close())
	}
	return &Step{former: former, undo: func() error {
		id, err := idOf(prog)
		if err != nil {
			return err
		}
		now := *a
		now.ProgramID, now.filter.program = id, id
		return now.changeFrom(prog, former, actReplace)
	}}, nil
}

// Step is a change of what is attached to an interface, which can be undone until it is
// closed.
type Step struct {
	former *ebpf.Program // which goes with its last descriptor; or nil
	undo   func() error
}

// Undo makes the interface as it was before the step. The errors are those of Replace and
// Detach.
func (s *Step) Undo() error { return s.undo() }

// Close leaves the interface as it is.
func (s *Step) Close() error { return s.former.Close() }

// openProgram opens the program. The error is NotAttachedError where it is gone.
func (a *Program) openProgram() (*ebpf.Program, error) {
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID))
	if errors.Is(err, unix.ENOENT) {
		return nil, a.nothing()
	}
	return prog, explainOn(a.place(), err, actFind)
}

// change puts a program in the place of this one; nil detaches it.
func (a *Program) change(to *ebpf.Program, act action) error {
	if !a.Ours {
		return a.taken(nil)
	}
	prog, err := a.openProgram()
	if err != nil {
		return err
	}
	defer func() { _ = prog.Close() }()
	return a.changeFrom(prog, to, act)
}

// changeFrom is change with this program opened.
func (a *Program) changeFrom(prog, to *ebpf.Program, act action) (err error) {
	at := a.place()
	switch a.Way {
	case ByTCX:
		err = changeTCX(at, prog, to)
	case ByClsact:
		err = a.changeClsact(to)
	default:
		err = setSlot(at, prog, to)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		// Only a process resists.
		return a.taken(err)
	case errors.Is(err, unix.EEXIST) && a.Way == ByXDP, errors.Is(err, unix.ENOENT) && a.Way != ByXDP:
		return a.replaced(err)
	}
	return explainOn(at, err, act)
}

func (a *Program) place() attachPoint { return attachPoint{a.Ifindex, a.Direction, a.Hook} }

func (a *Program) nothing() *NotAttachedError {
	return &NotAttachedError{Interface: a.Interface, Direction: a.Direction}
}

// replaced explains why the interface has another program than a, or none. At
// tc another's is not in the place of ours but beside it.
func (a *Program) replaced(cause error) error {
	now, err := Find(a.Ifindex, a.Direction)
	if err != nil {
		return err // most often NotAttachedError
	}
	if a.Hook == run.TC && !now.Ours {
		return a.nothing()
	}
	return now.taken(cause)
}

// taken says that this program is in the way.
func (a *Program) taken(cause error) *TakenError {
	taken := &TakenError{
		Interface:   a.Interface,
		Direction:   a.Direction,
		Hook:        a.Hook,
		ProgramID:   a.ProgramID,
		ProgramName: a.ProgramName,
		Tool:        a.Tool,
		Dispatches:  a.Dispatches,
		Ours:        a.Ours,
		Replies:     a.Ours && a.Meta.RepliesOf != "",
		Err:         cause,
	}
	if a.Ours && a.Meta.Foreground {
		taken.PID, taken.Elsewhere = a.Meta.PID, a.Elsewhere()
	}
	return taken
}

// explainOn explains an error, if it is one, with what the interface says about itself now.
func explainOn(at attachPoint, cause error, act action) error {
	if cause == nil {
		return nil
	}
	d, err := deviceByIndex(at.ifindex)
	if errors.Is(err, unix.ENODEV) || at.ifindex <= 0 {
		return &NoInterfaceError{Index: at.ifindex, Err: cause}
	}
	if err != nil {
		d.Name = fmt.Sprintf("interface %d", at.ifindex)
	}
	s := newAttempt(d.Name, at.dir, at.mode)
	s.hardware = err == nil && d.Kind == "" && d.Link != LoopbackLink
	explained := explain(cause, act, s)
	var taken *TakenError
	if !errors.As(explained, &taken) {
		return explained
	}
	if at.mode == run.TC || len(d.slots) == 0 {
		return taken
	}
	first := d.slots[0]
	found, err := openSlot(d.Iface, first)
	if err != nil {
		// Without the right to open programs their numbers still tell something.
		found = &Program{Interface: d.Name, Hook: first.mode, ProgramID: first.program}
	}
	return found.taken(cause)
}
