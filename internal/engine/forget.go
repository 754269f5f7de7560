package engine

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
)

// forget makes the counters, the tickets and what is recorded as new. Nothing may be attached.
func (l *Loaded) forget() error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("reset the counters: %w", err)
	}
	none := make([]bpf.Counter, cpus)
	for i := range l.counters.MaxEntries() {
		if err := l.counters.Put(i, none); err != nil {
			return fmt.Errorf("reset the counters: %w", err)
		}
	}
	if err := errors.Join(l.recording.reset(), l.why.reset(cpus)); err != nil || l.tickets == nil {
		return err
	}
	return l.giveTickets()
}

// giveTickets makes all tickets be there again.
func (l *Loaded) giveTickets() error {
	if err := l.tickets.Put(uint32(0), uint64(0)); err != nil {
		return fmt.Errorf("reset the tickets: %w", err)
	}
	return nil
}
