package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/csource"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// clangSource has clang compile the program's C source and binds it to our
// map of counters.
func clangSource(p *rule.Program, o LoadOptions, counters int) (*ebpf.ProgramSpec, error) {
	if o.Limit > 0 || o.Timed {
		return nil, errors.New("clang's program keeps neither a limit nor a time")
	}
	p, err := plan.WrittenOut(p)
	if err != nil {
		return nil, err
	}
	elf, err := csource.Build(context.Background(), csource.Print(p, plan.Build(p, o.Link), csource.Options{Hook: csource.Hook(o.Hook), Fragments: o.Fragments, Interfaces: o.Redirect}))
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
		if ins.IsLoadFromMap() && ins.Reference() == csource.CountersMap {
			if err := ins.AssociateMap(descriptor(counters)); err != nil {
				return nil, fmt.Errorf("bind the counters: %w", err)
			}
		}
	}
	return spec, nil
}

// descriptor is a file descriptor of a map.
type descriptor int

// FD is the descriptor as a number.
func (d descriptor) FD() int { return int(d) }
