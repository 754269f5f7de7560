// Package engine carries a run out in the kernel: compile, test, attach, count, stop. It and
// hook are the only packages that hold kernel objects.
package engine

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/hook"
	"repacket/internal/plan"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// LoadOptions say what a program is loaded for.
type LoadOptions struct {
	// Hook is where the program is to run.
	Hook bpf.Hook
	// Fragments makes the program aware of packets in several buffers. Native
	// mode needs it for a large MTU, where it costs about 1 ns; in generic mode
	// it harms the tc programs behind it, which then see packets without their
	// MAC header (6.18).
	Fragments bool
	// Limit is the number of packets to act on, or 0 for no limit.
	Limit uint64
	// Timed makes the program heed Loaded.SetDeadline.
	Timed bool
	// Link is what packets begin with.
	Link field.Link
	// Redirect are the numbers of the interfaces that rules redirect to.
	Redirect map[string]int
	// Broken makes the program wrong on purpose, to see that it is found out.
	Broken bool
	// Drawn makes the program take its random numbers from what Loaded.SetDraws
	// gives it, instead of the kernel's.
	Drawn bool
	// Clang has clang compile the C source of the program instead of our own
	// compiler. It knows neither Limit nor Timed.
	Clang bool
	// Record asks for the packets on which rules act, or is nil. clang's program records none.
	Record *run.Recording
	// Why has it counted why the first rules do not act. clang's program does not.
	Why bool
	// Answers are the rules whose replies the program rewrites, or nil. Only its tests need them.
	Answers *rule.Program
	// Flows is the table of flows that the rules track or, of those of replies, were tracked.
	// nil: one of the program's own.
	Flows *Flows
	// limits are those of a program whose place the new one takes, which then
	// owns them. They are no data of rules: how many packets and until when is
	// one promise for all rules of a run, so who reads them counts on in the same
	// word; each packet draws its ticket from it in one step, whichever program
	// sees it.
	limits *limits
	// recording is that of the run, which the program joins; nil: one of its own.
	recording *recording
	// Revert is what the program does again from a deadline on, or nil.
	Revert *Reversion
	// share is a program, or the maps of one, that has the same rules: the new one counts in its
	// maps, keeps its limits and tracks flows in its table. They stay its own.
	share *Loaded
}

// limits are the maps by which a program knows when to stop.
type limits struct {
	tickets  *ebpf.Map // nil without a limit
	deadline *ebpf.Map // nil if not timed
	lent     bool      // they are another's to close
}

// clone opens the same maps once more.
func (l limits) clone() (out limits, err error) {
	if l.tickets != nil {
		out.tickets, err = l.tickets.Clone()
	}
	if l.deadline != nil && err == nil {
		out.deadline, err = l.deadline.Clone()
	}
	if err != nil {
		return limits{}, errors.Join(fmt.Errorf("share the limits: %w", err), out.closeLimits())
	}
	return out, nil
}

func (l limits) closeLimits() error {
	if l.lent {
		return nil
	}
	return closeAll(l.tickets, l.deadline)
}

// Loaded is a program in the kernel, with its maps, attached to nothing.
type Loaded struct {
	Program  *ebpf.Program
	rules    int
	counters *ebpf.Map
	draws    *ebpf.Map // nil if the kernel draws
	tables   []*ebpf.Map
	// recording is nil where no packets are recorded; there the program has a number.
	recording *recording
	number    uint32
	// why are the tests that fail, counted, or nil.
	why   *reasons
	flows *Flows // nil where no flows are tracked
	limits
	fragments bool // as LoadOptions.Fragments
	borrowed  bool // the maps are those of another one, but for tables and draws
	// reverting is what makes the program go back, or nil.
	reverting *reverting
}

// Load compiles a checked program and hands it to the kernel's verifier. The
// error is a *bpf.TooLargeError, or what the kernel said, wrapped.
func Load(p *rule.Program, o LoadOptions) (_ *Loaded, err error) {
	l := &Loaded{rules: len(p.Written), fragments: o.Fragments}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()
	var spec *ebpf.ProgramSpec
	if o.Revert != nil {
		spec, err = l.revertingSource(p, o)
	} else {
		spec, err = l.source(p, o)
	}
	if err != nil {
		return nil, err
	}
	if o.Broken {
		spoil(spec.Instructions, o.Hook)
	}
	if o.Fragments {
		spec.Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	if l.Program, err = loadProgram(spec); err != nil {
		return nil, l.reverting.explain(err)
	}
	return l, nil
}

// options are what the program is compiled with, bound to its maps.
func (l *Loaded) options(o LoadOptions) (bpf.Options, error) {
	opt := bpf.Options{
		Hook:      o.Hook,
		Rules:     l.rules,
		Counters:  l.counters.FD(),
		Fragments: o.Fragments,
		Limit:     o.Limit,
		Timed:     o.Timed,
		Redirect:  o.Redirect,
	}
	if l.tickets != nil {
		opt.Tickets = l.tickets.FD()
	}
	if l.deadline != nil {
		opt.Deadline = l.deadline.FD()
	}
	if l.draws != nil {
		opt.Draws = l.draws.FD()
	}
	opt.Record = l.recording.options(l.number)
	if l.why != nil {
		opt.Why = l.why.counts.FD()
	}
	for _, m := range l.tables {
		opt.Tables = append(opt.Tables, m.FD())
	}
	if l.flows != nil {
		if err := l.flows.bind(&opt); err != nil {
			return opt, err
		}
	}
	return opt, nil
}

// source is the program to load, by our own compiler or by clang, with its maps made.
func (l *Loaded) source(p *rule.Program, o LoadOptions) (*ebpf.ProgramSpec, error) {
	if o.Clang {
		if err := l.makeMaps(p, o); err != nil {
			return nil, err
		}
		maps, err := l.clangMaps()
		if err != nil {
			return nil, err
		}
		var owners []uint16
		if l.flows != nil {
			owners = l.flows.owners
		}
		return clangSource(p, o, maps, owners)
	}
	planned, opt, err := l.planned(p, o)
	if err != nil {
		return nil, err
	}
	instructions, err := bpf.Compile(planned, opt)
	if err != nil {
		return nil, err
	}
	return specOf(instructions, o), nil
}

// planned makes the maps of a program, its plan, and the options to compile that with.
func (l *Loaded) planned(p *rule.Program, o LoadOptions) (planned *plan.Program, opt bpf.Options, err error) {
	if err = l.makeMaps(p, o); err != nil {
		return nil, opt, err
	}
	build := plan.BuildTables
	if o.Why {
		build = plan.BuildWhy
	}
	if planned, err = build(p, o.Link); err != nil {
		return nil, opt, err
	}
	if l.tables, err = makeTables(planned); err != nil {
		return nil, opt, err
	}
	opt, err = l.options(o)
	return planned, opt, err
}

// specOf is the program of our own compiler.
func specOf(instructions asm.Instructions, o LoadOptions) *ebpf.ProgramSpec {
	spec := &ebpf.ProgramSpec{Name: hook.ProgramName, Instructions: instructions, License: license}
	if o.Hook == bpf.TC { // no AttachType: a program array would compare it
		spec.Type = ebpf.SchedCLS
	} else {
		spec.Type, spec.AttachType = ebpf.XDP, ebpf.AttachXDP
	}
	return spec
}

// license is what the kernel is told. Some helpers ask for the GPL.
const license = "Dual MIT/GPL"

// spoil changes the first constant that the program stores in a packet, or the
// verdict if it stores none.
func spoil(ins asm.Instructions, h bpf.Hook) {
	for i := range ins {
		op := ins[i].OpCode
		if op.Class() == asm.StClass && ins[i].Dst != asm.R10 {
			ins[i].Constant ^= 1
			return
		}
	}
	for i := range ins {
		if ins[i].Dst == asm.R0 && ins[i].OpCode.ALUOp() == asm.Mov && uint32(ins[i].Constant) == h.Verdict(rule.Pass) {
			ins[i].Constant = int64(int32(h.Verdict(rule.Drop)))
		}
	}
}

func (l *Loaded) makeMaps(p *rule.Program, o LoadOptions) (err error) {
	if o.share != nil {
		l.counters, l.limits, l.flows, l.borrowed = o.share.counters, o.share.limits, o.share.flows, true
		l.recording, l.number, l.why = o.share.recording, o.share.number, o.share.why
		return nil
	}
	if o.limits != nil {
		l.limits = *o.limits
	}
	if p.Tracks() {
		if l.flows, err = o.sharedFlows(p); err != nil {
			return err
		}
	}
	l.counters, err = ebpf.NewMap(&ebpf.MapSpec{
		Name:       hook.CountersMapName,
		Type:       ebpf.PerCPUArray,
		KeySize:    4,
		ValueSize:  bpf.CounterSize,
		MaxEntries: uint32(l.rules + bpf.ReasonCount),
	})
	if err != nil {
		return fmt.Errorf("make the counters: %w", err)
	}
	if l.recording, err = o.recorder(); err != nil {
		return err
	}
	l.number = l.recording.join()
	if o.Why {
		if l.why, err = newReasons(p); err != nil {
			return err
		}
	}
	if o.limits != nil {
		return nil
	}
	if o.Limit > 0 {
		if l.tickets, err = wordMap(hook.LimitMapName); err != nil {
			return fmt.Errorf("make the ticket counter: %w", err)
		}
	}
	if o.Timed {
		if l.deadline, err = wordMap(hook.UntilMapName); err != nil {
			return fmt.Errorf("make the deadline: %w", err)
		}
	}
	if o.Drawn && p.Draws > 0 {
		l.draws, err = ebpf.NewMap(&ebpf.MapSpec{Name: "repacket_draws", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(4 * p.Draws), MaxEntries: 1})
		if err != nil {
			return fmt.Errorf("make the random numbers: %w", err)
		}
	}
	return nil
}

// Deliver begins to hand over the packets that a program records, until it is closed: to
// LoadOptions.Record.Packet, each with all that is in of but what is known of the packet alone.
func (l *Loaded) Deliver(of run.Packet) error { return l.recording.deliver(l.number, of) }

// SetDraws hands in the random numbers of the packets to come, where the program
// was loaded to be Drawn: one for each of the rules' draws.
func (l *Loaded) SetDraws(numbers []uint32) error {
	if l.draws == nil {
		return nil
	}
	if err := l.draws.Put(uint32(0), numbers); err != nil {
		return fmt.Errorf("hand in random numbers: %w", err)
	}
	return nil
}

// wordMap is an ARRAY of one 64-bit word, which programs reach without a call.
func wordMap(name string) (*ebpf.Map, error) {
	return ebpf.NewMap(&ebpf.MapSpec{Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
}

// SetDeadline sets the CLOCK_MONOTONIC time in nanoseconds from which packets
// pass untouched. The packet path reads it as one aligned word, so a packet
// sees the old deadline or the new one.
func (l *Loaded) SetDeadline(at uint64) error {
	if err := l.deadline.Put(uint32(0), at); err != nil {
		return fmt.Errorf("set the deadline: %w", err)
	}
	return nil
}

// expireIn is SetDeadline for a time from now.
func (l *Loaded) expireIn(d time.Duration) error {
	at, err := monotonic(d)
	if err != nil {
		return err
	}
	return l.SetDeadline(at)
}

// Taken is the number of tickets drawn: that of the packets acted on while it
// is below the limit, and at least the limit from then on.
func (l *Loaded) Taken() (uint64, error) {
	var n uint64
	if err := l.tickets.Lookup(uint32(0), &n); err != nil {
		return 0, fmt.Errorf("read the tickets: %w", err)
	}
	return n, nil
}

// Counters adds up, by rule as written, what every CPU has counted.
func (l *Loaded) Counters() ([]bpf.Counter, error) {
	return readCounters(l.counters, l.rules)
}

// Skipped adds up, by reason, what every CPU has counted of packets skipped.
func (l *Loaded) Skipped() (out [bpf.ReasonCount]uint64, err error) {
	all, err := readCounters(l.counters, l.rules+bpf.ReasonCount)
	if err == nil {
		(*skipped)(&out).add(all[l.rules:])
	}
	return out, err
}

func readCounters(m *ebpf.Map, entries int) ([]bpf.Counter, error) {
	out := make([]bpf.Counter, entries)
	for i := range out {
		var perCPU []bpf.Counter
		if err := m.Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("read the counters: %w", err)
		}
		for _, c := range perCPU {
			out[i].Packets += c.Packets
			out[i].Bytes += c.Bytes
		}
	}
	return out, nil
}

// Close gives everything back to the kernel. What is attached lives on.
func (l *Loaded) Close() error {
	all := []io.Closer{l.Program, l.draws}
	for _, m := range l.tables {
		all = append(all, m)
	}
	err := errors.Join(closeAll(all...), l.reverting.close())
	if l.borrowed {
		return err
	}
	l.recording.leave(l.number)
	return errors.Join(err, l.recording.release(), l.why.close(), l.counters.Close(), l.closeLimits(), l.flows.Close())
}

// closeAll closes all, of which programs and maps may be nil.
func closeAll(all ...io.Closer) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
