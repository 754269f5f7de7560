package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/bpf/flowtable"
	"repacket/internal/csource"
	"repacket/internal/hook"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Flows is a table in the kernel of the flows that rules track. The program of the rules and
// that of their replies share it, and it outlives them where others take their place.
type Flows struct {
	table *ebpf.Map
	// flows is how many it is made for.
	flows int
	// owners name the rules in its entries, in the order of rules as written; of those
	// that track no flows they are 0.
	owners []uint16
	// next is an owner that no rule has had.
	next int
}

// NewFlows makes an empty table for so many flows of the rules of a program.
func NewFlows(p *rule.Program, n int) (*Flows, error) {
	if n == 0 {
		n = run.DefaultFlows
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: hook.FlowsMapName, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(flowtable.Size(n)), MaxEntries: 1,
		Flags: unix.BPF_F_MMAPABLE, // its value begins at a page, so no bucket begins within a cache line
	})
	if err != nil {
		return nil, fmt.Errorf("make a table for %d flows: %w", n, err)
	}
	memory, err := mapMemory(m, flowtable.Size(n), unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	flowtable.Init(memory, rand.Uint64())
	if err := unix.Munmap(memory); err != nil {
		return nil, errors.Join(fmt.Errorf("unmap the memory: %w", err), m.Close())
	}
	f := &Flows{table: m, flows: n, next: 1}
	f.own(p, nil)
	return f, nil
}

// own gives the rules of a program owners: those that they had, by their words, and new ones to
// others. It is false if none are left.
func (f *Flows) own(p *rule.Program, had []hook.MetaRule) bool {
	known := map[hook.MetaRuleKey][]uint16{}
	for _, m := range had {
		if m.Owner > 0 {
			known[m.Key()] = append(known[m.Key()], m.Owner)
		}
	}
	f.owners = make([]uint16, len(p.Written))
	for i, w := range p.Written {
		if w.Replies != rule.Tracked {
			continue
		}
		k := hook.NewMetaRule(w.Name, w.Text, w.DryRun, len(p.Written)).Key()
		if same := known[k]; len(same) > 0 {
			f.owners[i], known[k] = same[0], same[1:]
			continue
		}
		if f.next > flowtable.MaxOwner {
			return false
		}
		f.owners[i] = uint16(f.next)
		f.next++
	}
	return true
}

// followed is the table for the rules that take the place of those of a record, which keeps their
// flows; or nil, where it cannot be that.
func (f *Flows) followed(p *rule.Program, old hook.Meta, n int, clang bool) (*Flows, error) {
	if (n == 0 || n == f.flows) && clang == f.byClang() && f.ofThisVersion() {
		m, err := f.table.Clone()
		if err != nil {
			return nil, fmt.Errorf("share the table of flows: %w", err)
		}
		out := &Flows{table: m, flows: f.flows, next: f.next}
		if out.own(p, old.Rules) {
			return out, nil
		}
		return nil, out.Close()
	}
	return nil, nil
}

func (f *Flows) clone() (*Flows, error) {
	m, err := f.table.Clone()
	if err != nil {
		return nil, fmt.Errorf("share the table of flows: %w", err)
	}
	out := *f
	out.table = m
	return &out, nil
}

// trackFlows opens the table of flows for rules that track some: where they take the place of rules
// that do, it is theirs.
func (s *Prepared) trackFlows() (err error) {
	if !s.opt.Program.Tracks() {
		return nil
	}
	if s.flows, err = s.flowsThere(); err != nil {
		return err
	}
	return s.shareFlows()
}

// shareFlows has both programs track flows in the same table: a new one, unless there is one.
func (s *Prepared) shareFlows() (err error) {
	switch {
	case s.flows != nil:
	case s.opt.Clang:
		s.flows, err = newClangFlows(s.opt.Program, s.opt.Flows)
	default:
		s.flows, err = NewFlows(s.opt.Program, s.opt.Flows)
	}
	if s.replies != nil {
		s.replies.flows = s.flows
	}
	return err
}

// flowsThere is the table of the rules whose place is taken, or nil if there is none that can
// be kept.
func (s *Prepared) flowsThere() (f *Flows, err error) {
	if s.there == nil {
		return nil, nil
	}
	m, err := s.there.Flows()
	if err != nil || m == nil {
		return nil, err
	}
	old := &Flows{table: m, flows: s.there.Meta.Flows, next: s.there.Meta.NextOwner}
	defer func() { err = errors.Join(err, old.Close()) }()
	return old.followed(s.opt.Program, s.there.Meta, s.opt.Flows, s.opt.Clang)
}

// Close closes the table, which may be nil.
func (f *Flows) Close() error {
	if f == nil {
		return nil
	}
	return f.table.Close()
}

// bind binds a program to the table.
func (f *Flows) bind(o *bpf.Options) error {
	hz, err := ticks()
	if err != nil {
		return err
	}
	o.Flows = flowtable.Table{
		Map: f.table.FD(), Flows: f.flows, Ticks: hz, Ordered: runtime.GOARCH == "amd64",
	}
	o.Owners = f.owners
	return nil
}

// ofThisVersion reports whether the table has the layout that programs have now. One of rules that were
// attached by another version may not.
func (f *Flows) ofThisVersion() bool {
	return f.byClang() || f.table.ValueSize() == uint32(flowtable.Size(f.flows))
}

// usage is how full the table is, or nil where there is none, or one of the kernel's, which counts
// nothing.
func (f *Flows) usage() (*run.FlowUsage, error) {
	if f == nil || f.byClang() || !f.ofThisVersion() {
		return nil, nil
	}
	memory, err := mapMemory(f.table, flowtable.Size(f.flows), unix.PROT_READ)
	if err != nil {
		return nil, err
	}
	now := flowtable.UsageOf(memory[:flowtable.Size(f.flows)])
	u := &run.FlowUsage{Flows: now.Flows, Room: f.flows, Evicted: now.Evicted, Bytes: int64(len(memory))}
	if err := unix.Munmap(memory); err != nil {
		return nil, fmt.Errorf("unmap the memory: %w", err)
	}
	return u, nil
}

// label notes in the metadata of a program whose flows are whose.
func (f *Flows) label(m *hook.Meta) {
	if f == nil {
		return
	}
	m.Flows, m.NextOwner = f.flows, f.next
	for i := range m.Rules {
		m.Rules[i].Owner = f.owners[i]
	}
}

// usageOf is how full the table of a program is that was found, or nil.
func usageOf(a *hook.Program) (u *run.FlowUsage, err error) {
	m, err := a.Flows()
	if err != nil || m == nil {
		return nil, err
	}
	f := &Flows{table: m, flows: a.Meta.Flows}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.usage()
}

// mapMemory is the memory of the only value of a map.
func mapMemory(m *ebpf.Map, size, protection int) ([]byte, error) {
	page := os.Getpagesize()
	memory, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, protection, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory: %w", err)
	}
	return memory, nil
}

// sharedFlows is the table for a program to be loaded.
func (o LoadOptions) sharedFlows(p *rule.Program) (*Flows, error) {
	switch {
	case o.Flows != nil:
		return o.Flows.clone()
	case o.Clang:
		return newClangFlows(p, 0)
	}
	return NewFlows(p, 0)
}

// newClangFlows makes an empty table for so many flows that clang's programs track: it is of
// another kind than ours.
func newClangFlows(p *rule.Program, n int) (*Flows, error) {
	if n == 0 {
		n = run.DefaultFlows
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: hook.FlowsMapName, Type: ebpf.LRUHash, KeySize: csource.FlowSize, ValueSize: csource.TrackedSize,
		MaxEntries: uint32(csource.EntriesPerFlow * n),
	})
	if err != nil {
		return nil, fmt.Errorf("make a table of %d flows for clang's program: %w", n, err)
	}
	f := &Flows{table: m, flows: n, next: 1}
	f.own(p, nil)
	return f, nil
}

// byClang reports whether the table is one for clang's programs.
func (f *Flows) byClang() bool { return f.table.Type() == ebpf.LRUHash }
