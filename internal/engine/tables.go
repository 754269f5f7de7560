package engine

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/plan"
)

// tableMapName is the name of the maps with the rows of tables.
const tableMapName = "repacket_table"

// makeTables makes and fills the maps of a plan's tables. A map that a program
// uses is never written to again: whoever looks a key up while it is updated may
// get another key's row.
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

// MaxTable is how large a table can be, in bytes: the verifier lets a program
// reach no further into a map (BPF_MAX_VAR_OFF, kernel/bpf/verifier.c).
const MaxTable = 1<<29 - 1

// TableSizeError says that a table is larger than MaxTable, in bytes.
type TableSizeError struct{ Size int }

func (e *TableSizeError) Error() string {
	return fmt.Sprintf("the rows come to a table of %d MiB, and a program can reach 512", e.Size>>20)
}

func makeTable(t *plan.Table) (*ebpf.Map, error) {
	size := bpf.ArraySize(t)
	if size > MaxTable {
		return nil, &TableSizeError{size}
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: tableMapName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1,
		Flags: unix.BPF_F_RDONLY_PROG,
	})
	if err != nil {
		return nil, err
	}
	if err := m.Put(uint32(0), bpf.Array(t)); err != nil {
		return nil, closing(m, err)
	}
	return m, nil
}

// closing closes a map that cannot be used, and says why.
func closing(m *ebpf.Map, why error) error {
	_ = m.Close() // the first error says more
	return why
}
