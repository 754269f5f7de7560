package engine

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/plan"
)

// tableMapName is the name of the maps with the rows of tables.
const tableMapName = "repacket_table"

// makeTables makes and fills the maps of a plan's tables. A map that a program
// uses is never written to again: whoever reads a row meanwhile may get half of
// another one. With an error it returns the maps that are made.
func makeTables(p *plan.Program) (maps []*ebpf.Map, err error) {
	for _, t := range p.Tables {
		m, err := makeTable(t)
		if err != nil {
			return maps, fmt.Errorf("make a table of %d rows: %w", t.Len(), err)
		}
		maps = append(maps, m)
	}
	return maps, nil
}

func makeTable(t *plan.Table) (*ebpf.Map, error) {
	size, err := bpf.ArraySize(t)
	if err != nil {
		return nil, err
	}
	spec := &ebpf.MapSpec{Name: tableMapName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1}
	fill := update
	if size > largeTable {
		spec.Flags, fill = unix.BPF_F_MMAPABLE, fillInPlace // not with BPF_F_RDONLY_PROG: then that is refused
	}
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, err
	}
	// Nobody changes by hand what packets become.
	if err := errors.Join(fill(m, t, size), m.Freeze()); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// largeTable is the size in bytes from which a table is written in place. Smaller
// ones are not: maps that can be are aligned to pages, and what a packet looks up
// in twenty of them falls into the same few lines of the cache (it took twice as
// long).
const largeTable = 1 << 20

// update hands a table to the kernel.
func update(m *ebpf.Map, t *plan.Table, size int) error {
	value := make([]byte, size)
	bpf.FillArray(t, value)
	if err := m.Put(uint32(0), value); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// fillInPlace writes a table into its map: an update would take the same memory
// twice more, here and in the kernel.
func fillInPlace(m *ebpf.Map, t *plan.Table, size int) error {
	memory, err := mapMemory(m, size, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return err
	}
	bpf.FillArray(t, memory[:size])
	if err := unix.Munmap(memory); err != nil {
		return fmt.Errorf("unmap the memory: %w", err)
	}
	return nil
}
