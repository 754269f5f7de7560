package hook

import (
	"errors"
	"fmt"
	"slices"

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

// place is where a program goes or is.
type place struct {
	ifindex int
	dir     Direction
	mode    Mode
}

// placeOf is where a program of its type can go.
func placeOf(ifindex int, dir Direction, prog *ebpf.Program, mode Mode) (place, error) {
	if mode == Auto && prog.Type() == ebpf.SchedCLS {
		mode = TC
	}
	at := place{ifindex, dir, mode}
	if mode != TC && dir == Out {
		d, _ := deviceByIndex(ifindex) // only its name is wanted
		return at, &ErrEgressXDP{Interface: d.Name, Mode: mode}
	}
	want := ebpf.XDP
	if mode == TC {
		want = ebpf.SchedCLS
	}
	if prog.Type() != want {
		return at, fmt.Errorf("a program of type %s cannot be attached as %s", prog.Type(), mode)
	}
	return at, nil
}

// Link puts a program on an interface until the handle is closed or the process
// ends, kill -9 included. At tc it comes before all that are there. The errors
// are ErrTaken, ErrUnsupported, ErrPrivilege, ErrNoInterface and ErrEgressXDP;
// after any of them the interface is as it was.
//
// It takes CAP_BPF and CAP_NET_ADMIN, and CAP_SYS_ADMIN where other programs
// are on hooks of the interface that could be ours.
func Link(ifindex int, dir Direction, prog *ebpf.Program, mode Mode) (Handle, error) {
	at, err := placeOf(ifindex, dir, prog, mode)
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
	if err := alone(at, actLink); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func linkAt(at place, prog *ebpf.Program) (Handle, error) {
	if at.mode == TC {
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
	return linkHandle{l, at}, nil
}

// Give puts a program on an interface for good: it stays until Take, or until
// the interface goes. The errors are those of Link.
func Give(ifindex int, dir Direction, prog *ebpf.Program, mode Mode) error {
	at, err := placeOf(ifindex, dir, prog, mode)
	if err != nil {
		return err
	}
	if err := free(at, actGive); err != nil {
		return err
	}
	takeBack, err := giveAt(at, prog)
	if err != nil {
		return err
	}
	if err := alone(at, actGive); err != nil {
		return errors.Join(err, takeBack())
	}
	return nil
}

// giveAt attaches a program. takeBack takes this very one off again; other programs
// need not be opened for it, which takes CAP_SYS_ADMIN.
func giveAt(at place, prog *ebpf.Program) (takeBack func() error, err error) {
	if at.mode == TC {
		return giveTC(at, prog)
	}
	if err := setSlot(at, nil, prog); err != nil {
		return nil, explainOn(at, err, actGive)
	}
	return func() error { return explainedOn(at, setSlot(at, prog, nil), actTake) }, nil
}

// explainedOn is explainOn where there may be no error.
func explainedOn(at place, err error, act action) error {
	if err == nil {
		return nil
	}
	return explainOn(at, err, act)
}

// alone expects, behind attaching, that nothing of ours has come to the other hook
// of the direction since it was free: the kernel keeps two from one hook, and not
// from two. Who comes at the same time finds the other, and one of them gives way,
// or both.
func alone(at place, act action) error {
	if at.dir != In {
		return nil // there is one hook
	}
	d, l, err := lookAt(at, act)
	if err != nil {
		return err
	}
	defer l.close()
	l.onlyOurs = true
	var there []*Attached
	if at.mode == TC {
		there, err = openSlots(d)
	} else {
		there, err = l.tc(d, In)
	}
	if err != nil {
		return err
	}
	return noneOurs(there)
}

// noneOurs is the error about those of ours among programs.
func noneOurs(there []*Attached) error {
	ours := slices.DeleteFunc(slices.Clone(there), func(a *Attached) bool { return !a.Ours })
	if len(ours) == 0 {
		return nil
	}
	return Taken(ours)
}

// Taken is the error that says that these programs of ours, one at least, are in the
// way.
func Taken(ours []*Attached) *ErrTaken {
	taken := ours[0].taken(nil)
	for _, a := range ours[1:] {
		taken.Also = append(taken.Also, a.taken(nil))
	}
	return taken
}

// lookAt begins to look at the programs of an interface, as part of an action.
func lookAt(at place, act action) (device, *look, error) {
	d, err := deviceByIndex(at.ifindex)
	var l *look
	if err == nil {
		l, err = newLook()
	}
	if err != nil {
		return d, nil, explainOn(at, err, act)
	}
	l.doing = act
	return d, l, nil
}

// free expects that nothing of ours is on the interface in this direction, and
// removes what dead processes have left there. XDP's slot is left to the
// kernel when XDP is asked for: it knows better, and without CAP_SYS_ADMIN.
func free(at place, act action) error {
	d, l, err := lookAt(at, act)
	if err != nil {
		return err
	}
	defer l.close()
	l.onlyOurs = true
	there, err := l.tc(d, at.dir)
	if err == nil && at.dir == In && (at.mode == TC || noneOurs(there) != nil) {
		var xdp []*Attached
		xdp, err = openSlots(d)
		there = append(there, xdp...)
	}
	if err == nil {
		err = noneOurs(there)
	}
	if err != nil {
		return err
	}
	_, err = l.sweep(d)
	return err
}

// Take takes a program of ours off the interface where it was found. Another's
// is never removed, not even one that came a moment ago: the kernel compares
// programs while it does, or (clsact) they are compared just before. The error
// is ErrNothing when the program is gone already, and ErrTaken when it is
// another's or when a running process (then with its PID) holds it there.
func Take(a *Attached) error {
	return a.change(nil, actTake)
}

// Replace puts another program of the same type in the place of one of ours
// that was found on an interface, in one step: no packet is seen by both or by
// neither. The errors are those of Take, and after any of them what was there
// still is. It takes CAP_SYS_ADMIN, as finding does.
func Replace(a *Attached, prog *ebpf.Program) error {
	return a.change(prog, actReplace)
}

// change puts a program in the place of this one; nil takes it off.
func (a *Attached) change(to *ebpf.Program, act action) error {
	if !a.Ours {
		return a.taken(nil)
	}
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID))
	if errors.Is(err, unix.ENOENT) {
		return a.nothing()
	}
	at := a.place()
	if err != nil {
		return explainOn(at, err, actFind)
	}
	defer func() { _ = prog.Close() }()
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

func (a *Attached) place() place { return place{a.Ifindex, a.Direction, a.Mode} }

func (a *Attached) nothing() *ErrNothing {
	return &ErrNothing{Interface: a.Interface, Direction: a.Direction}
}

// replaced explains why the interface has another program than a, or none. At
// tc another's is not in the place of ours but beside it.
func (a *Attached) replaced(cause error) error {
	now, err := Find(a.Ifindex, a.Direction)
	if err != nil {
		return err // most often ErrNothing
	}
	if a.Mode == TC && !now.Ours {
		return a.nothing()
	}
	return now.taken(cause)
}

// taken says that this program is in the way.
func (a *Attached) taken(cause error) *ErrTaken {
	taken := &ErrTaken{
		Interface:   a.Interface,
		Direction:   a.Direction,
		Mode:        a.Mode,
		ProgramID:   a.ProgramID,
		ProgramName: a.ProgramName,
		Ours:        a.Ours,
		Err:         cause,
	}
	if a.Ours && a.Meta.Foreground {
		taken.PID, taken.Elsewhere = a.Meta.PID, a.Elsewhere()
	}
	return taken
}

// explainOn explains an error with what the interface says about itself now.
func explainOn(at place, cause error, act action) error {
	d, err := deviceByIndex(at.ifindex)
	if errors.Is(err, unix.ENODEV) || at.ifindex <= 0 {
		return &ErrNoInterface{Index: at.ifindex, Err: cause}
	}
	if err != nil {
		d.Name = fmt.Sprintf("interface %d", at.ifindex)
	}
	s := newScene(d.Name, at.dir, at.mode)
	s.hardware = err == nil && d.Kind == "" && d.Link != LoopbackLink
	explained := explain(cause, act, s)
	var taken *ErrTaken
	if !errors.As(explained, &taken) {
		return explained
	}
	if at.mode == TC || len(d.slots) == 0 {
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
