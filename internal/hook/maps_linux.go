package hook

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Counters opens the program's map of counters. It stays readable until it is
// closed, also after the program has been detached.
func (a *Program) Counters() (*ebpf.Map, error) {
	if a.maps.counters == 0 {
		return nil, fmt.Errorf("the program on %s has no counters", a.Interface)
	}
	return a.openMap(a.maps.counters)
}

// Before opens the counters that Follow has bound to the program, or is nil.
func (a *Program) Before() (*ebpf.Map, error) { return a.openMap(a.maps.before) }

// Flows opens the table of the flows that its rules track, or is nil.
func (a *Program) Flows() (*ebpf.Map, error) { return a.openMap(a.maps.flows) }

// Limits opens the word that counts the packets of Meta.Limit and that of the time from which
// packets pass; each may be nil.
func (a *Program) Limits() (tickets, until *ebpf.Map, err error) {
	if tickets, err = a.openMap(a.maps.limit.id); err != nil {
		return nil, nil, err
	}
	if until, err = a.openMap(a.maps.until.id); err != nil {
		return nil, nil, errors.Join(err, tickets.Close())
	}
	return tickets, until, nil
}

// openMap opens a map by its number; of 0 it is nil.
func (a *Program) openMap(id uint32) (*ebpf.Map, error) {
	if id == 0 {
		return nil, nil
	}
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	if errors.Is(err, unix.ENOENT) {
		return nil, a.nothing()
	}
	if err != nil {
		return nil, explain(err, actFind, newAttempt(a.Interface, a.Direction, a.Hook))
	}
	return m, nil
}
