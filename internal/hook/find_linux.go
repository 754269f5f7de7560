package hook

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Find looks at the XDP program on an interface; if there are two (one of them
// on the network card), ours comes first. The errors are ErrNothing,
// ErrNoInterface and ErrPrivilege (it takes CAP_SYS_ADMIN).
func Find(ifindex int) (*Attached, error) {
	d, err := deviceByIndex(ifindex)
	if errors.Is(err, unix.ENODEV) || ifindex <= 0 {
		return nil, &ErrNoInterface{Index: ifindex, Err: err}
	}
	if err != nil {
		return nil, explain(err, actList, newScene("", Auto))
	}
	all, err := openSlots(d)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Ours {
			return a, nil
		}
	}
	if len(all) == 0 {
		return nil, &ErrNothing{Interface: d.Name}
	}
	return all[0], nil
}

// List looks at the XDP programs on all interfaces of the network namespace,
// ours and others'.
func List() ([]Attached, error) {
	ds, err := devices()
	if err != nil {
		return nil, explain(err, actList, newScene("", Auto))
	}
	var all []Attached
	for _, d := range ds {
		found, err := openSlots(d)
		if err != nil {
			return nil, err
		}
		for _, a := range found {
			all = append(all, *a)
		}
	}
	return all, nil
}

// openSlots looks at the programs of an interface. One that has gone meanwhile
// is left out.
func openSlots(d device) ([]*Attached, error) {
	var all []*Attached
	for _, s := range d.slots {
		a, err := openSlot(d.Iface, s)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return nil, explain(err, actFind, newScene(d.Name, s.mode))
		}
		all = append(all, a)
	}
	return all, nil
}

// openSlot looks at one program. The error is the kernel's.
func openSlot(i Iface, s slot) (*Attached, error) {
	prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(s.program))
	if err != nil {
		return nil, err
	}
	defer func() { _ = prog.Close() }()
	info, err := prog.Info()
	if err != nil {
		return nil, err
	}
	a := &Attached{
		Interface:   i.Name,
		Ifindex:     i.Index,
		Mode:        s.mode,
		ProgramID:   s.program,
		ProgramName: info.Name,
	}
	if a.ProgramName != ProgramName {
		return a, nil
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		if err := a.readMap(id); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// readMap takes from one map of the program what it is there for.
func (a *Attached) readMap(id ebpf.MapID) error {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	info, err := m.Info()
	if err != nil {
		return err
	}
	switch info.Name {
	case CountersMapName:
		a.counters = uint32(id)
	case MetaMapName:
		// A map of that name with other contents is not ours.
		if meta, err := readMeta(m); err == nil {
			a.Meta, a.Ours = meta, true
		}
	}
	return nil
}

// Counters opens the program's map of counters. It stays readable until it is
// closed, also after the program has been taken off.
func (a *Attached) Counters() (*ebpf.Map, error) {
	if a.counters == 0 {
		return nil, fmt.Errorf("the program on %s has no counters", a.Interface)
	}
	m, err := ebpf.NewMapFromID(ebpf.MapID(a.counters))
	if errors.Is(err, unix.ENOENT) {
		return nil, &ErrNothing{Interface: a.Interface}
	}
	if err != nil {
		return nil, explain(err, actFind, newScene(a.Interface, a.Mode))
	}
	return m, nil
}
