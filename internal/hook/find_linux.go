package hook

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/run"
)

// Find looks at the programs on an interface for a direction and chooses one:
// ours if it is there, else an XDP program, else the first one at tc. The
// errors are NotAttachedError, NoInterfaceError and PrivilegeError (it takes
// CAP_NET_ADMIN and CAP_SYS_ADMIN).
func Find(ifindex int, dir run.Direction) (*Program, error) {
	d, all, err := inspect(ifindex, dir)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Ours {
			return a, nil
		}
	}
	if len(all) == 0 {
		return nil, &NotAttachedError{Interface: d.Name, Direction: dir}
	}
	return all[0], nil
}

// Ours are the programs of ours on an interface for a direction. More than one is
// there when an attach was killed while another one came to the direction's other
// hook. The errors are those of Find, but for NotAttachedError.
func Ours(ifindex int, dir run.Direction) ([]*Program, error) {
	_, all, err := inspect(ifindex, dir)
	return slices.DeleteFunc(all, func(a *Program) bool { return !a.Ours }), err
}

// inspect inspects all programs of an interface for a direction.
func inspect(ifindex int, dir run.Direction) (device, []*Program, error) {
	d, l, err := openInspection(attachPoint{ifindex, dir, run.Auto}, actList)
	if err != nil {
		return d, nil, err
	}
	defer l.close()
	l.doing, l.onlyOurs = actQuery, false
	all, err := l.all(d, dir)
	return d, all, err
}

// openInspection begins to inspect the programs of ours on an interface, as part of an
// action.
func openInspection(at attachPoint, act action) (device, *inspection, error) {
	d, err := deviceByIndex(at.ifindex)
	var l *inspection
	if err == nil {
		l, err = newInspection()
	}
	if err != nil {
		return d, nil, explainOn(at, err, act)
	}
	l.doing, l.onlyOurs = act, true
	return d, l, nil
}

// List inspects the programs on all interfaces of the network namespace, or on the one
// of a name, ours and others': by interface those for packets that arrive, then for those
// that leave, in the order in which they run. The errors are those of Resolve and Find.
func List(name string) ([]Program, error) {
	var ds []device
	var err error
	if name == "" {
		ds, err = devices()
	} else {
		d, unknown := resolve(name)
		if unknown != nil {
			return nil, unknown
		}
		ds = []device{d}
	}
	var l *inspection
	if err == nil {
		l, err = newInspection()
	}
	if err != nil {
		return nil, explain(err, actList, newAttempt("", run.In, run.Auto))
	}
	defer l.close()
	var all []Program
	for _, d := range ds {
		for _, dir := range []run.Direction{run.In, run.Out} {
			found, err := l.all(d, dir)
			var gone *NoInterfaceError
			if errors.As(err, &gone) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, a := range found {
				all = append(all, *a)
			}
		}
	}
	return all, nil
}

// RemoveStale removes what a process that died has left at the clsact hooks of
// an interface: a stub with an empty slot, which does nothing. It reports whether
// there was one. Link and Attach do the same before they attach.
func RemoveStale(ifindex int) (bool, error) {
	d, l, err := openInspection(attachPoint{ifindex: ifindex, mode: run.TC}, actDetach)
	if err != nil {
		return false, err
	}
	defer l.close()
	return l.removeStale(d)
}

// look is what it takes to look at the programs on interfaces.
type inspection struct {
	conn   *tcConn
	qdiscs map[int]string
	// onlyOurs leaves out programs that cannot be ours, where that is to be
	// seen without the right to open them.
	onlyOurs bool
	// doing is what asking for programs is part of.
	doing action
}

func newInspection() (*inspection, error) {
	conn, err := newTCConn()
	if err != nil {
		return nil, err
	}
	qdiscs, err := conn.qdiscs()
	if err != nil {
		conn.close()
		return nil, err
	}
	return &inspection{conn: conn, qdiscs: qdiscs, doing: actQuery}, nil
}

func (l *inspection) close() { l.conn.close() }

// all looks at the programs for a direction, in the order in which they run.
func (l *inspection) all(d device, dir run.Direction) ([]*Program, error) {
	var all []*Program
	if dir == run.In {
		xdp, err := openSlots(d)
		if err != nil {
			return nil, err
		}
		all = xdp
	}
	tc, err := l.tc(d, dir)
	return append(all, tc...), err
}

// tc looks at the programs at tc.
func (l *inspection) tc(d device, dir run.Direction) ([]*Program, error) {
	state, _, err := queryTCX(d.Index, dir)
	if err != nil {
		return nil, explain(err, l.doing, newAttempt(d.Name, dir, run.TC))
	}
	all, err := openTCX(d.Iface, dir, state)
	if err != nil {
		return nil, err
	}
	filters, _, err := l.clsact(d, dir)
	return append(all, filters...), err
}

// clsact looks at the programs in filters, and at the filters with a stub whose
// process is dead.
func (l *inspection) clsact(d device, dir run.Direction) (all []*Program, stale []filter, err error) {
	kind := l.qdiscs[d.Index]
	if kind == "" || kind == ingress && dir == run.Out {
		return nil, nil, nil
	}
	for range inspectAttempts {
		filters, err := l.conn.filters(d.Index, dir)
		if err != nil {
			return nil, nil, explain(err, l.doing, newAttempt(d.Name, dir, run.TC))
		}
		var whole bool
		if all, stale, whole, err = l.openFilters(d, dir, filters); whole || err != nil {
			return all, stale, err
		}
	}
	return all, stale, nil
}

// openFilters looks at the programs in filters; whole is false where one has
// gone meanwhile.
func (l *inspection) openFilters(d device, dir run.Direction, filters []filter) (all []*Program, stale []filter, whole bool, err error) {
	whole = true
	for _, f := range filters {
		ours, _ := f.namedOurs()
		if f.program == 0 || l.onlyOurs && !ours {
			continue
		}
		a := &Program{
			Interface: d.Name, Ifindex: d.Index, Direction: dir,
			Hook: run.TC, Way: ByClsact, ProgramID: f.program, filter: f,
		}
		switch err := a.open(); {
		case errors.Is(err, errStale):
			stale = append(stale, f)
		case errors.Is(err, errGone):
			whole = false
		case err != nil:
			return nil, nil, false, explain(err, actFind, newAttempt(d.Name, dir, run.TC))
		default:
			all = append(all, a)
		}
	}
	return all, stale, whole, nil
}

// removeStale removes stubs whose process is dead, and reports whether there were any.
func (l *inspection) removeStale(d device) (bool, error) {
	swept := false
	for _, dir := range []run.Direction{run.In, run.Out} {
		_, stale, err := l.clsact(d, dir)
		if err != nil {
			return swept, err
		}
		at := attachPoint{d.Index, dir, run.TC}
		for _, f := range stale {
			err := l.conn.removeOurs(at, f)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return swept, explainOn(at, err, actDetach)
			}
			swept = true
		}
	}
	return swept, nil
}

// inspectAttempts is how often a hook is looked at where programs are replaced all
// the time: one that went between two looks may have been followed by another.
const inspectAttempts = 8

// openSlots looks at the XDP programs of an interface. One that has gone
// meanwhile, with none in its place, is left out.
func openSlots(d device) (all []*Program, err error) {
	for range inspectAttempts {
		whole := true
		all = nil
		for _, s := range d.slots {
			a, err := openSlot(d.Iface, s)
			switch {
			case errors.Is(err, errGone):
				whole = false
			case err != nil:
				return nil, explain(err, actFind, newAttempt(d.Name, run.In, s.mode))
			default:
				all = append(all, a)
			}
		}
		if whole {
			break
		}
		index := d.Index
		if d, err = deviceByIndex(index); err != nil {
			return nil, explainOn(attachPoint{ifindex: index}, err, actFind)
		}
	}
	return all, nil
}

// openSlot looks at one XDP program. The error is the kernel's.
func openSlot(i Iface, s slot) (*Program, error) {
	a := &Program{Interface: i.Name, Ifindex: i.Index, Hook: s.mode, ProgramID: s.program}
	if err := a.open(); err != nil {
		return nil, err
	}
	return a, nil
}

// errGone: there is no program of this number any more.
var errGone = errors.New("the program is gone")

// errStale: the program is a stub with nothing in its slot.
var errStale = errors.New("the process that was here is dead")

// open looks at the program with this number, or at the one in its slot if it
// is a stub. The error is the kernel's, errGone or errStale.
func (a *Program) open() error {
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(a.ProgramID))
	if errors.Is(err, unix.ENOENT) {
		return errGone
	}
	if err != nil {
		return err
	}
	defer func() { _ = prog.Close() }() // until then its maps are there
	info, err := prog.Info()
	if err != nil {
		return err
	}
	a.ProgramName = info.Name
	a.Loaded, _ = info.LoadTime()
	a.UID, _ = info.CreatedByUID()
	stubbed := info.Name == StubName && a.Way == ByClsact && a.ProgramID == a.filter.program
	if info.Name != ProgramName && !stubbed {
		a.recognise(info)
		return nil
	}
	ids, told := info.MapIDs()
	if !told {
		return errors.New("the kernel does not tell the maps of the program")
	}
	f := found{}
	for _, id := range ids {
		if err := a.readMap(id, &f); err != nil {
			return err
		}
	}
	if stubbed && a.ProgramID != a.filter.program {
		return a.open()
	}
	return a.assign(f)
}

// readMap takes from one map of the program what it is there for.
func (a *Program) readMap(id ebpf.MapID, f *found) error {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	info, err := m.Info()
	if err != nil {
		return err
	}
	switch {
	case info.Name == SlotMapName && info.Type == ebpf.ProgramArray && a.ProgramName == StubName:
		return a.readSlot(m)
	case info.Name == CountersMapName:
		f.counters = append(f.counters, uint32(id))
	case info.Name == BeforeMapName && info.Type == ebpf.ArrayOfMaps:
		return m.Lookup(uint32(0), &f.before)
	case info.Name == FlowsMapName && info.Type == ebpf.Array:
		f.flows = append(f.flows, uint32(id))
	case info.Name == LimitMapName && info.Type == ebpf.Array:
		return f.words(&f.limits, uint32(id), m)
	case info.Name == UntilMapName && info.Type == ebpf.Array:
		return f.words(&f.untils, uint32(id), m)
	case info.Name == RevertMapName && info.Type == ebpf.Array:
		f.revert = uint32(id)
		return m.Lookup(uint32(0), &f.deadline)
	case info.Name == ToldMapName && info.Type == ebpf.Array:
		f.told = uint32(id)
	case info.Name == MetaMapName:
		return a.readMeta(m)
	}
	return nil
}

// readMeta takes the metadata from a map of their name. One with other contents is
// not ours; one that cannot be read may be.
func (a *Program) readMeta(m *ebpf.Map) error {
	if m.Type() != ebpf.Array || m.KeySize() != 4 {
		return nil
	}
	var text []byte
	if err := m.Lookup(uint32(0), &text); err != nil {
		return fmt.Errorf("read the metadata: %w", err)
	}
	if meta, err := decodeMeta(text); err == nil {
		a.Meta, a.Ours = meta, true
	}
	return nil
}

// readSlot takes the number of the program in a stub's slot.
func (a *Program) readSlot(slot *ebpf.Map) error {
	err := slot.Lookup(uint32(0), &a.ProgramID)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return errStale
	}
	return err
}
