package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"repacket/internal/csource"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// builds are what clang has made of each C source, or is making: a program, the one with which it
// is tested and what that answers are often the same, and clang takes its time. They are forgotten
// when they have become many: rules can be read again as often as one likes.
var (
	builds sync.Map
	built  atomic.Int32 // how many there are, about
)

const buildsKept = 64

func buildOnce(source string) ([]byte, error) {
	if built.Load() >= buildsKept {
		builds.Clear()
		built.Store(0)
	}
	build, known := builds.LoadOrStore(source, sync.OnceValues(func() ([]byte, error) {
		return csource.Build(context.Background(), source)
	}))
	if !known {
		built.Add(1)
	}
	elf, err := build.(func() ([]byte, error))()
	if err != nil { // clang may be there when the rules are read again
		builds.Delete(source)
	}
	return elf, err
}

// clangSource has clang compile the program's C source and binds it to our maps,
// by their names in it. Owners are those of the rules in the table of flows, if there is one.
func clangSource(p *rule.Program, o LoadOptions, maps map[string]*ebpf.Map, owners []uint16) (*ebpf.ProgramSpec, error) {
	if o.Limit > 0 || o.Timed {
		return nil, errors.New("clang's program keeps neither a limit nor a time")
	}
	p, err := plan.WrittenOut(p)
	if err != nil {
		return nil, err
	}
	planned, err := plan.BuildOneByOne(p, o.Link)
	if err != nil {
		return nil, err
	}
	elf, err := buildOnce(csource.Print(p, planned, csource.Options{
		Hook: csource.Hook(o.Hook), Fragments: o.Fragments, Interfaces: o.Redirect, HandedDraws: maps[csource.DrawsMap] != nil,
		Owners: owners,
	}))
	if err != nil {
		return nil, err
	}
	objects, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return nil, fmt.Errorf("read clang's object: %w", err)
	}
	spec, ok := objects.Programs[csource.ProgramName]
	if !ok {
		return nil, fmt.Errorf("clang's object has no program %s", csource.ProgramName)
	}
	for i := range spec.Instructions {
		ins := &spec.Instructions[i]
		if m := maps[ins.Reference()]; m != nil && ins.IsLoadFromMap() {
			if err := ins.AssociateMap(m); err != nil {
				return nil, fmt.Errorf("bind the map %s: %w", ins.Reference(), err)
			}
		}
	}
	return spec, nil
}

// clangMaps are the maps of clang's program: that of the counters, that of the random numbers if
// they are handed in, and those for flows if it tracks some.
func (l *Loaded) clangMaps() (map[string]*ebpf.Map, error) {
	maps := map[string]*ebpf.Map{csource.CountersMap: l.counters, csource.DrawsMap: l.draws}
	if l.flows == nil {
		return maps, nil
	}
	scratch, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: csource.ScratchMap, Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: csource.ScratchSize, MaxEntries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("make room for the flows of a packet: %w", err)
	}
	l.tables = []*ebpf.Map{scratch} // to be closed
	maps[csource.FlowsMap], maps[csource.ScratchMap] = l.flows.table, scratch
	return maps, nil
}
