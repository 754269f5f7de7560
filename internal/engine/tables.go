package engine

import (
	"fmt"
	"reflect"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/plan"
)

// tableMapName is the name of the maps with the rows of tables.
const tableMapName = "repacket_table"

// rowsAtOnce is how many rows are handed to the kernel in one call.
const rowsAtOnce = 1 << 16

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

func makeTable(t *plan.Table) (*ebpf.Map, error) {
	if t.Kind == plan.Hash {
		return makeHash(t)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: tableMapName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(bpf.ArraySize(t)), MaxEntries: 1,
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

// makeHash fills a hash from its last row to its first, so that of rows with one
// key the first counts.
func makeHash(t *plan.Table) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: tableMapName, Type: ebpf.Hash,
		KeySize: uint32(t.KeySize), ValueSize: uint32(t.RowSize), MaxEntries: uint32(t.Len()),
		Flags: unix.BPF_F_RDONLY_PROG,
	})
	if err != nil {
		return nil, err
	}
	keys, rows := blobs(rowsAtOnce, t.KeySize), blobs(rowsAtOnce, t.RowSize)
	for left := t.Len(); left > 0; {
		n := min(left, rowsAtOnce)
		for i := range n {
			left--
			t.Entry(left, keys.Index(i).Bytes(), rows.Index(i).Bytes())
		}
		if _, err := m.BatchUpdate(keys.Slice(0, n).Interface(), rows.Slice(0, n).Interface(), nil); err != nil {
			return nil, closing(m, err)
		}
	}
	return m, nil
}

// blobs is a slice of n arrays of so many bytes.
func blobs(n, size int) reflect.Value {
	kind := reflect.SliceOf(reflect.ArrayOf(size, reflect.TypeFor[byte]()))
	return reflect.MakeSlice(kind, n, n)
}

// closing closes a map that cannot be used, and says why.
func closing(m *ebpf.Map, why error) error {
	_ = m.Close() // the first error says more
	return why
}
