package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// Tested is what has been tried on a program, and agreed.
type Tested struct {
	// Packets is the number of packets that ran through it, Acted the number
	// on which a rule acted.
	Packets, Acted int
	// Unreached are the rules, by their place in rule.Program.Written, that
	// acted on none of the packets: of them nothing is known.
	Unreached []int
}

// DifferenceError is a packet on which the program in the kernel does not do what
// the reference says. It must never be seen; if it is, it is a bug.
type DifferenceError struct {
	Source string   // the rules
	Draws  []uint32 // the random numbers that the rules drew
	Frame  []byte   // as it arrives; nil where only the counters differ, over all packets
	Want   []byte   // as the reference lets it leave
	Got    []byte   // as the program does
	// Verdict is what the program returned; XDP_PASS is 2.
	Verdict uint32
	// Recorded is the packet as it arrives in the record that is wrong, empty where there is
	// none; else nil. Then Got is the packet as it leaves in the record.
	Recorded []byte
	// Missed is where the counters of why differ, or "".
	Missed string
	// WantCounted is what each rule as written should have counted over all
	// packets so far, Counted what it did count.
	WantCounted, Counted []bpf.Counter
}

func (d *DifferenceError) Error() string {
	return "the program in the kernel does not do what the rules say; nothing was attached"
}

// Report is the difference in full, for a bug report.
func (d *DifferenceError) Report() string {
	text := fmt.Sprintf("rules:    %s\n", d.Source)
	if d.Frame != nil {
		if len(d.Draws) > 0 {
			text += fmt.Sprintf("draws:    %x\n", d.Draws)
		}
		text += fmt.Sprintf("arrives:  %x\nexpected: %x\nprogram:  %x, verdict %d\n", d.Frame, d.Want, d.Got, d.Verdict)
	}
	if d.Recorded != nil {
		text += fmt.Sprintf("recorded: %x\n", d.Recorded)
	}
	if d.Missed != "" {
		text += "missed:   " + d.Missed + "\n"
	}
	return text + fmt.Sprintf("counters: %v, expected %v\n", d.Counted, d.WantCounted)
}

// longestInOne is a length in bytes up to which a test run gives the program a
// packet in one buffer. Natively a program that knows only one never sees a
// longer packet; generic mode makes one buffer of any, but a test run cuts them
// up all the same.
const longestInOne = 3000

// testSeed makes every self-test of the same rules the same.
const testSeed = 0x7265706163

// SelfTest loads the rules as they would be attached, runs n synthetic packets for them
// through the program in the kernel, one at a time, and compares bytes, verdict
// and counters with the reference. Where rules draw random numbers, both are
// handed the same ones; that is all in which the program differs from the one to
// be attached. The error is a *DifferenceError, or that of Load.
func SelfTest(p *rule.Program, o LoadOptions, n int) (Tested, error) {
	o.limits, o.Flows, o.recording, o.share, o.Drawn, o.Revert = nil, nil, nil, nil, true, o.Revert.apart()
	l, tested, err := loadTested(p, o, n)
	if l != nil {
		l.Close()
	}
	return tested, err
}

// loadTested is SelfTest, but returns the program that has been tested: its counters
// and tickets have counted the packets. With an error there is none.
func loadTested(p *rule.Program, o LoadOptions, n int) (*Loaded, Tested, error) {
	made, former := make(chan []trial, 1), make(chan []trial, 1)
	go func() { // while the kernel looks at the program
		v := o.Revert
		if v == nil {
			made <- trials(p, o, n, p)
			return
		}
		made <- trials(p, o, n, either(p, v.Rules))
		former <- trials(v.Rules, v.with(o), preflight(v.Rules), either(v.Rules, p))
	}()
	l, err := Load(p, o)
	if err != nil {
		return nil, Tested{}, err
	}
	tested, err := l.selfTest(p, o, made)
	if err == nil && o.Revert != nil {
		err = l.testFormer(o, former)
	}
	if err != nil {
		return nil, tested, errors.Join(err, l.Close())
	}
	return l, tested, nil
}

// selfTest tests a program.
func (l *Loaded) selfTest(p *rule.Program, o LoadOptions, made <-chan []trial) (Tested, error) {
	if o.Timed {
		if err := l.SetDeadline(math.MaxUint64); err != nil {
			return Tested{}, err
		}
	}
	b := &bench{program: p, hook: o.Hook, link: o.Link, loaded: l, limit: o.Limit, counted: make([]bpf.Counter, len(p.Written))}
	if o.answersFlows(p) {
		var err error
		if b.forward, err = loadForward(o, l.flows); err != nil {
			return Tested{}, err
		}
		defer func() { _ = b.forward.loaded.Close() }()
	}
	for _, t := range <-made {
		if err := b.try(t); err != nil {
			return b.tested, err
		}
	}
	for i, c := range b.counted {
		if c.Packets == 0 {
			b.tested.Unreached = append(b.tested.Unreached, i)
		}
	}
	if err := b.checkCounters(); err != nil {
		return b.tested, err
	}
	return b.tested, b.checkWhy()
}

// trial is a packet and what is to become of it.
type trial struct {
	// answered is the packet that this one answers, or nil; it runs through the rules before.
	answered *trial
	frame    []byte
	draws    []uint32 // the random numbers of the rules
	want     reference.Result
}

// either are the rules to draw packets for: these, or where there are none others.
func either(p, others *rule.Program) *rule.Program {
	if len(p.Rules) == 0 {
		return others
	}
	return p
}

// trials makes n packets for the rules, the same ones each time, drawn for these rules or others.
func trials(p *rule.Program, o LoadOptions, n int, drawn *rule.Program) []trial {
	r := rand.New(rand.NewPCG(testSeed, uint64(n)))
	switch {
	case o.answersFlows(p):
		return answerTrials(p, o, r, n)
	case p.Tracks():
		return trackTrials(p, o, r, n, drawn)
	}
	flows := &reference.Flows{}
	out := make([]trial, 0, n)
	for len(out) < n {
		if frame := packetgen.FrameOn(o.Link, r, drawn); Testable(o, frame) {
			draws := packetgen.Draws(r, p)
			out = append(out, newTrial(p, o, frame, draws, flows))
		}
	}
	return out
}

// Testable reports whether the kernel runs a program on a frame that has not been
// received. At tc it wants a header behind the Ethernet addresses, the whole of
// it where the type promises one, and one buffer.
func Testable(o LoadOptions, frame []byte) bool {
	const addresses, ip, ip6 = 14, 20, 40 // bytes
	switch {
	case o.Hook == bpf.XDP:
		return o.Fragments || len(frame) <= longestInOne
	case len(frame) > longestInOne || len(frame) < addresses+ip:
		return false
	}
	isIP6 := frame[12] == 0x86 && frame[13] == 0xdd
	return !isIP6 || len(frame) >= addresses+ip6
}

// bench is a loaded program beside the reference.
type bench struct {
	program *rule.Program
	hook    bpf.Hook
	link    field.Link
	loaded  *Loaded
	forward *bench // of the rules whose replies the program rewrites by their flows, or nil
	limit   uint64
	out     []byte
	counted []bpf.Counter    // what the reference counted, by rule as written
	missed  map[int]*why.Sum // why rules did not act by the reference, by slot
	tested  Tested
}

// try runs one packet through both.
func (b *bench) try(t trial) error {
	frame, want := t.frame, t.want
	if t.answered != nil {
		if err := b.forward.try(*t.answered); err != nil {
			return err
		}
	}
	if b.limit > 0 { // every packet is to be acted on
		if err := b.loaded.giveTickets(); err != nil {
			return err
		}
	}
	if err := b.loaded.SetDraws(t.draws); err != nil {
		return err
	}
	if err := b.loaded.recording.reset(); err != nil { // and to be recorded
		return err
	}
	verdict, got, err := b.run(frame)
	if err != nil {
		return err
	}
	b.tested.Packets++
	b.miss(frame, want)
	if want.Index >= 0 {
		b.tested.Acted++
		b.counted[want.Index].Packets++
		b.counted[want.Index].Bytes += uint64(len(frame))
	}
	if verdict != b.hook.Verdict(want.Verdict) || !bytes.Equal(got, want.Frame) {
		return b.differs(DifferenceError{Frame: frame, Draws: t.draws, Want: want.Frame, Got: bytes.Clone(got), Verdict: verdict})
	}
	return b.checkRecord(t, verdict)
}

// checkRecord compares what was recorded of a packet, if packets are.
func (b *bench) checkRecord(t trial, verdict uint32) error {
	r := b.loaded.recording
	if r == nil {
		return nil
	}
	got, err := r.tested()
	if err != nil {
		return err
	}
	want, there := t.want, got != nil
	before, after := t.frame[:min(len(t.frame), max(r.Bytes, bpf.HeadBytes))], want.Frame[:min(len(t.frame), r.head)]
	switch {
	case !there && want.Index < 0:
	case there && int(got.Rule) == want.Index && int(got.Length) == len(t.frame) &&
		bytes.Equal(got.before, before) && bytes.Equal(got.after, after):
	default:
		d := DifferenceError{Frame: t.frame, Draws: t.draws, Want: want.Frame, Verdict: verdict, Recorded: []byte{}}
		if there {
			d.Recorded, d.Got = bytes.Clone(got.before), bytes.Clone(got.after)
		}
		return b.differs(d)
	}
	return nil
}

// run runs one packet through the program in the kernel. What it returns is
// overwritten by the next.
func (b *bench) run(frame []byte) (verdict uint32, out []byte, err error) {
	if len(b.out) < len(frame) {
		b.out = make([]byte, 2*len(frame))
	}
	o := ebpf.RunOptions{Data: frame, DataOut: b.out}
	verdict, err = b.loaded.Program.Run(&o)
	if err != nil {
		return 0, nil, fmt.Errorf("run a packet of %d bytes through the program: %w", len(frame), err)
	}
	return verdict, o.DataOut, nil
}

// differs completes a difference with the rules and the counters.
func (b *bench) differs(d DifferenceError) error {
	d.Source, d.WantCounted = b.program.Source, b.counted
	var err error
	d.Counted, err = b.loaded.Counters()
	return errors.Join(&d, err)
}

// checkCounters compares what has been counted over all packets.
func (b *bench) checkCounters() error {
	got, err := b.loaded.Counters()
	if err != nil {
		return err
	}
	if !slices.Equal(got, b.counted) {
		return b.differs(DifferenceError{})
	}
	return nil
}

// preflight is the number of packets that test rules before they are
// attached: the fewest that go through nearly every branch of the program, as
// many times more would. The reference looks at every rule for every packet, so
// thousands of rules are tried on fewer packets, to be attached within seconds;
// verify takes its time.
func preflight(p *rule.Program) int {
	const most, tests = 1000, 4_000_000
	rules := len(p.Rules)
	return min(20+40*rules, most, max(most/5, tests/max(1, rules)))
}

// tested loads the rules and tests the program. What is to draw random numbers, tracks flows,
// heeds the limits of another program or records for a run cannot be tested itself: a twin is, with
// numbers that are handed in, a table, limits and a ring of its own.
func tested(p *rule.Program, o LoadOptions) (*Loaded, error) {
	if o.limits != nil || o.recording != nil || p.Draws > 0 || p.Tracks() || o.Revert != nil {
		return testedByTwin(p, o)
	}
	l, _, err := loadTested(p, o, preflight(p))
	if err != nil {
		return nil, err
	}
	if err := l.forget(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// testedByTwin loads the rules while a twin is tested.
func testedByTwin(p *rule.Program, o LoadOptions) (*Loaded, error) {
	var l *Loaded
	var loading error
	var load sync.WaitGroup
	load.Go(func() { l, loading = Load(p, o) })
	_, err := SelfTest(p, o, preflight(p))
	load.Wait()
	switch {
	case loading != nil:
		return nil, loading
	case err != nil:
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
