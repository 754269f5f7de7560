package prove

import (
	"bytes"
	"context"
	"fmt"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/csource"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// cAtXDP and cAtTC are the C source of the program, compiled by clang.
func cAtXDP(link field.Link, p *rule.Program) (*implementation, error) {
	return viaC("C", p, engine.LoadOptions{Link: link, Fragments: true})
}

func cAtTC(link field.Link, p *rule.Program) (*implementation, error) {
	return viaC("C at tc", p, engine.LoadOptions{Link: link, Hook: bpf.TC})
}

func viaC(name string, p *rule.Program, o engine.LoadOptions) (*implementation, error) {
	hook := csource.XDP
	if o.Hook == bpf.TC {
		hook = csource.TC
	}
	source := csource.Print(p, plan.Build(p, o.Link), csource.Options{Hook: hook, Fragments: o.Fragments})
	elf, err := csource.Build(context.Background(), source)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, source)
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(elf))
	if err != nil {
		return nil, fmt.Errorf("C: %w", err)
	}
	all, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("C: %w\n%s", err, source)
	}
	return &implementation{
		name: name, options: o,
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
