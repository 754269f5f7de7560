package prove

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/csource"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// viaC is the C source of the program, compiled by clang.
func viaC(p *rule.Program) (implementation, error) {
	source := csource.Print(p, plan.Build(p, field.Ethernet), csource.Options{Fragments: true})
	elf, err := csource.Build(context.Background(), source)
	if err != nil {
		return implementation{}, fmt.Errorf("%w\n%s", err, source)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return implementation{}, fmt.Errorf("C: %w", err)
	}
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return implementation{}, fmt.Errorf("C: %w\n%s", err, source)
	}
	return implementation{
		name:     "C",
		run:      runner(all.Programs[csource.ProgramName]),
		counters: func() ([]counter, error) { return addUp(all.Maps[csource.CountersMap], len(p.Written)) },
		close:    all.Close,
	}, nil
}

// addUp reads the counters of every rule, over all CPUs.
func addUp(m *ebpf.Map, rules int) ([]counter, error) {
	out := make([]counter, rules)
	for i := range out {
		var perCPU []counter
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, err
		}
		for _, c := range perCPU {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out, nil
}
