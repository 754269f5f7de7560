package hook

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"repacket/internal/run"
)

// NewMetaMap makes the map that holds the metadata: one element, the JSON text
// and nothing behind it. The version is filled in.
func NewMetaMap(meta Meta) (*ebpf.Map, error) {
	text, err := meta.encode()
	if err != nil {
		return nil, fmt.Errorf("write the metadata: %w", err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name:       MetaMapName,
		Type:       ebpf.Array,
		KeySize:    4,
		ValueSize:  uint32(len(text)),
		MaxEntries: 1,
	})
	if err != nil {
		return nil, ExplainLoad(fmt.Errorf("make the map of metadata: %w", err))
	}
	if err := m.Put(uint32(0), text); err != nil {
		return nil, errors.Join(ExplainLoad(fmt.Errorf("write the metadata: %w", err)), m.Close())
	}
	if err := m.Freeze(); err != nil { // what was attached by whom is not to be changed later
		return nil, errors.Join(ExplainLoad(fmt.Errorf("freeze the metadata: %w", err)), m.Close())
	}
	return m, nil
}

// Label makes a program ours: it binds metadata and its counters to it, which
// live as long as the program does. A program that no packet can make count,
// as rules on tags on a link without Ethernet, does not hold its counters by
// itself. The program's name must be ProgramName.
//
// Behind Label the kernel has told that list and detach will know the program; else
// the error is NamelessError or why the kernel does not tell.
func Label(prog *ebpf.Program, meta Meta, counters *ebpf.Map) error {
	m, err := NewMetaMap(meta)
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	err = prog.BindMap(m)
	if err == nil && counters != nil {
		err = prog.BindMap(counters)
	}
	if err != nil {
		return explain(err, actLabel, newAttempt("", run.In, run.Auto))
	}
	return labelled(prog, m, counters)
}

// labelled expects that a program has its name, and is bound to its metadata and its
// counters, which have theirs: the library leaves all names away where its first look
// at what the kernel has has failed. No program has to be opened for it by number.
func labelled(prog *ebpf.Program, meta, counters *ebpf.Map) error {
	info, err := prog.Info()
	if err != nil {
		return explain(fmt.Errorf("inspect the program: %w", err), actLabel, newAttempt("", run.In, run.Auto))
	}
	if info.Name != ProgramName {
		return &NamelessError{What: "the program " + ProgramName}
	}
	bound, _ := info.MapIDs()
	if err := boundMap(meta, MetaMapName, bound); err != nil || counters == nil {
		return err
	}
	return boundMap(counters, CountersMapName, bound)
}

// boundMap expects a map's name, and the map among those of a program.
func boundMap(m *ebpf.Map, name string, bound []ebpf.MapID) error {
	info, err := m.Info()
	if err != nil {
		return explain(fmt.Errorf("inspect the map %s: %w", name, err), actLabel, newAttempt("", run.In, run.Auto))
	}
	id, _ := info.ID()
	if info.Name != name || !slices.Contains(bound, id) {
		return &NamelessError{What: "the map " + name}
	}
	return nil
}

// Follow binds the counters of another program to one that is to take its
// place, so that the counts go on without a gap, whoever reads them, and live as
// long as the new program does: what the old one counts until its last run is
// over is not lost, and nobody has to be there to add it.
//
// When Follow returns, every program is at rest that was off its interface
// before: their counters are final.
func Follow(prog *ebpf.Program, counters *ebpf.Map) error {
	before, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: BeforeMapName, Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		InnerMap: &ebpf.MapSpec{
			Type: counters.Type(), KeySize: counters.KeySize(), ValueSize: counters.ValueSize(), MaxEntries: counters.MaxEntries(),
		},
	})
	if err != nil {
		return ExplainLoad(fmt.Errorf("make the map for the counters before: %w", err))
	}
	defer func() { _ = before.Close() }()
	// Whoever changes a map of maps waits in the kernel until all programs are
	// through that may have seen it as it was (since Linux 5.0).
	if err := before.Put(uint32(0), counters); err != nil {
		return ExplainLoad(fmt.Errorf("keep the counters before: %w", err))
	}
	if err := prog.BindMap(before); err != nil {
		return explain(err, actLabel, newAttempt("", run.In, run.Auto))
	}
	return nil
}
