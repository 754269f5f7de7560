package engine

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/plan"
)

// tableMapName is the name of the maps with the rows of tables.
const tableMapName = "repacket_table"

// makeTables makes and fills the maps of a plan's tables. A map that a program
// uses is never written to again: whoever reads a row meanwhile may get half of
// another one.
func makeTables(p *plan.Program) (maps []*ebpf.Map, err error) {
	for _, t := range p.Tables {
		m, err := makeTable(t)
		if err != nil {
			for _, m := range maps {
				_ = m.Close() // nothing is lost with it
			}
			return nil, fmt.Errorf("make a table of %d rows: %w", t.Len(), err)
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
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: tableMapName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1,
		Flags: unix.BPF_F_MMAPABLE, // not with BPF_F_RDONLY_PROG: then it could not be filled in place
	})
	if err != nil {
		return nil, err
	}
	if err := fill(m, t, size); err != nil {
		return nil, closing(m, err)
	}
	return m, nil
}

// fill writes a table into its map, in place: an update would take the same
// memory twice more, here and in the kernel. Then the map is frozen, so nobody
// changes what packets become by hand.
func fill(m *ebpf.Map, t *plan.Table, size int) error {
	page := os.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the memory: %w", err)
	}
	bpf.FillArray(t, memory[:size])
	if err := unix.Munmap(memory); err != nil {
		return fmt.Errorf("unmap the memory: %w", err)
	}
	if err := m.Freeze(); err != nil {
		return fmt.Errorf("freeze the map: %w", err)
	}
	return nil
}

// closing closes a map that cannot be used, and says why.
func closing(m *ebpf.Map, why error) error {
	_ = m.Close() // the first error says more
	return why
}
