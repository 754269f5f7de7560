// Package prove holds the implementations of the language against each other:
// the reference, the eBPF program in the kernel, the C that clang compiled,
// also in the kernel, and the Go that capture files are rewritten by, on random
// rules and hostile packets. They share the
// checked rules and nothing else but the plan, which the reference does not
// know. An outside decoder judges what they agree on.
package prove

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/needs"
	"repacket/test/oracle"
	"repacket/test/rulegen"
)

// Rules and packets of one run. Two rule sets of three compute what they write,
// and half draw lots. Each packet runs through the reference and, at
// XDP and at tc (as far as a test run takes it there), through the eBPF program
// and clang's C: viaTC says of how many rule sets one has its C at tc too.
// onRaw says of how many one is for a link without Ethernet, withRows of how many
// one takes values from the rows of files, withReplies of how many one has rules that say replies: of
// three of these two are the program for packets of the other direction.
const (
	defaultRules  = 2000
	framesPerRule = 500
	viaTC         = 4
	onRaw         = 8
	withRows      = 5
	withReplies   = 3
	framesIfFew   = 150 // under an emulator
	together      = 16  // rule sets that one clang compiles
)

func rulesToTry(t *testing.T) int {
	text := os.Getenv("RULES")
	if text == "" {
		return defaultRules
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("RULES=%s: want a number", text)
	}
	return n
}

// seed is that of the run: SEED, or 1. make prove draws one and prints it.
func seed(t *testing.T) uint64 {
	text := os.Getenv("SEED")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SEED=%s: want a number", text)
	}
	return n
}

// tally is what has been tried so far.
type tally struct {
	rules, raw, refused, packets, inGo, acted, sums, fields, differences atomic.Int64
	// runs are those in the kernel, by hook.
	runs [bpf.TC + 1]struct{ ours, clang atomic.Int64 }
}

// TestFourAgree runs random rules on packets made for them.
func TestFourAgree(t *testing.T) {
	needs.Kernel(t)
	if os.Geteuid() != 0 {
		t.Fatal("the kernel's part needs root: sudo make test")
	}
	draw := &drawing{seed: seed(t), left: rulesToTry(t)}
	var total tally
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for !t.Failed() {
				some := draw.some(together)
				if len(some) == 0 {
					return
				}
				total.batch(t, some)
			}
		})
	}
	workers.Wait()
	fmt.Printf("figure: %d rule sets (%d without Ethernet, %d refused for their size), %d packets; the reference, %d runs in Go and, in the kernel, "+
		"at XDP %d runs of the eBPF program and %d of the C, at tc %d and %d: "+
		"%d packets acted on, %d checksums and %d fields judged by an outside decoder, %d differences (seed %d)\n",
		total.rules.Load(), total.raw.Load(), total.refused.Load(), total.packets.Load(), total.inGo.Load(),
		total.runs[bpf.XDP].ours.Load(), total.runs[bpf.XDP].clang.Load(), total.runs[bpf.TC].ours.Load(), total.runs[bpf.TC].clang.Load(),
		total.acted.Load(), total.sums.Load(), total.fields.Load(), total.differences.Load(), draw.seed)
	if total.acted.Load()*3 < total.packets.Load() {
		t.Error("less than a third of the packets were acted on: that proves little")
	}
	if total.refused.Load()*100 > total.rules.Load() {
		t.Error("more than one rule set of 100 was too large: that is not what users get")
	}
}

// elsewhere is an interface that rules redirect to; in a test run no packet
// leaves.
const elsewhere = "eth9"

var interfaces = map[string]int{elsewhere: 9}

// subject is a rule set for a link.
type subject struct {
	link    field.Link
	source  rulegen.Source
	program *rule.Program
}

// packet is a frame and the random numbers that the rules draw for it.
type packet struct {
	frame []byte
	draws []uint32
}

// draw is the random number at a place; packets that are kept may have fewer
// than the rules ask for.
func (p packet) draw(i int) uint32 {
	if i < len(p.draws) {
		return p.draws[i]
	}
	return 0
}

// drawn are n random numbers of the packet.
func (p packet) drawn(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = p.draw(i)
	}
	return out
}

// trial is a rule set that is drawn.
type trial struct {
	subject
	number uint64
	r      *rand.Rand // goes on with its packets
	inC    []loader
}

// batch tries some rule sets whose C is compiled together.
func (total *tally) batch(t *testing.T, some []*trial) {
	var sources []source
	for _, x := range some {
		sources = append(sources, source{x.subject, bpf.XDP})
		if x.number%viaTC == 0 {
			sources = append(sources, source{x.subject, bpf.TC})
		}
	}
	compiled, err := compileTogether(sources)
	if err != nil {
		t.Error(err)
		sources = nil // our own programs may show by which packet
	}
	for _, x := range some {
		if t.Failed() && total.differences.Load() > 0 {
			return
		}
		for len(sources) > 0 && sources[0].program == x.program {
			load := compiled[0]
			x.inC = append(x.inC, func(subject) (*implementation, error) { return load() })
			sources, compiled = sources[1:], compiled[1:]
		}
		total.try(t, x)
	}
}

// try tries one rule set.
func (total *tally) try(t *testing.T, x *trial) {
	total.rules.Add(1)
	if x.link == field.RawIP {
		total.raw.Add(1)
	}
	c, err := newCase(x.subject, append([]loader{inGo, compiledXDP, compiledTC}, x.inC...)...)
	if tooMuch(err) { // rows that are written out can come to that
		total.refused.Add(1)
		return
	}
	if err != nil {
		t.Errorf("%s\n%v", x.program.Source, err)
		return
	}
	defer c.close()
	frames := framesPerRule
	if needs.Few() {
		frames = framesIfFew
	}
	var tried []packet
	for range frames {
		p := packet{packetgen.FrameOn(x.link, x.r, x.program), packetgen.Draws(x.r, x.program)}
		tried = append(tried, p)
		d := c.try(p)
		total.packets.Add(1)
		total.acted.Add(int64(c.acted))
		total.sums.Add(int64(c.sums))
		total.fields.Add(int64(c.fields))
		if d != "" {
			total.differences.Add(1)
			report(t, x.link, x.source, p, d)
			return
		}
	}
	total.addRuns(c)
	if d := c.compareCounters(); d != "" {
		total.differences.Add(1)
		x.miscounted(t, tried, d)
	}
}

// miscounted reports counters that differ behind many packets by one packet
// that makes a difference, if there is one.
func (x *trial) miscounted(t *testing.T, tried []packet, difference string) {
	for _, ways := range [][]loader{{inGo, compiledXDP, compiledTC}, everyWay} { // clang takes its time
		for _, p := range tried {
			if one, _ := differenceOf(x.link, x.source, p, ways...); one != "" {
				report(t, x.link, x.source, p, one)
				return
			}
		}
	}
	t.Errorf("%s\n%s", x.program.Source, difference)
}

// tooMuch reports whether a rule set was refused because it is more than a program
// holds, or more than the verifier follows.
func tooMuch(err error) bool {
	var large *bpf.TooLargeError
	var complex *engine.TooComplexError
	return errors.As(err, &large) || errors.As(err, &complex)
}

// addRuns adds how often each implementation ran.
func (total *tally) addRuns(c *proofCase) {
	for _, i := range c.all {
		if i.inGo {
			total.inGo.Add(i.runs)
			continue
		}
		runs := &total.runs[i.options.Hook]
		if strings.HasPrefix(i.name, "C") {
			runs.clang.Add(i.runs)
		} else {
			runs.ours.Add(i.runs)
		}
	}
}

// implementation is one way to run the rules, apart from the reference.
type implementation struct {
	name     string
	options  engine.LoadOptions // the hook and the link
	run      func(frame, out []byte) (verdict uint32, got []byte, err error)
	draws    func([]uint32) error // hands in random numbers
	counters func() ([]counter, error)
	close    func()
	want     []counter
	runs     int64
	inGo     bool // not in the kernel, which does not test all packets
}

// handIn hands in the random numbers of the next packet.
func (i *implementation) handIn(draws []uint32) error {
	if len(draws) == 0 {
		return nil
	}
	return i.draws(draws)
}

// counter is what a rule has counted.
type counter struct{ Packets, Bytes uint64 }

// proofCase is one program in all implementations.
type proofCase struct {
	subject
	all []*implementation
	out []byte
	// acted, sums and fields are of the last packet: whether a rule acted, and
	// how many checksums and fields were judged.
	acted, sums, fields int
}

// loader puts a program in the kernel in one of the ways.
type loader func(subject) (*implementation, error)

var everyWay = []loader{inGo, compiledXDP, cAtXDP, compiledTC, cAtTC}

func newCase(s subject, ways ...loader) (*proofCase, error) {
	c := &proofCase{subject: s, out: make([]byte, 80_000)}
	for _, load := range ways {
		i, err := load(s)
		if err != nil {
			c.close()
			return nil, err
		}
		i.want = make([]counter, len(s.program.Written))
		c.all = append(c.all, i)
	}
	return c, nil
}

func (c *proofCase) close() {
	for _, i := range c.all {
		i.close()
	}
}

// compiledXDP and compiledTC are the programs of our own compiler.
func compiledXDP(s subject) (*implementation, error) { return compiled(s, bpf.XDP) }

func compiledTC(s subject) (*implementation, error) { return compiled(s, bpf.TC) }

// at is what a hook adds to the name of an implementation.
func at(h bpf.Hook) string {
	if h == bpf.TC {
		return " at tc"
	}
	return ""
}

func compiled(s subject, h bpf.Hook) (*implementation, error) {
	o := engine.LoadOptions{Link: s.link, Hook: h, Fragments: h == bpf.XDP, Redirect: interfaces, Drawn: true}
	name := "eBPF" + at(h)
	l, err := engine.Load(s.program, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &implementation{
		name: name, options: o,
		run:   runner(l.Program),
		draws: l.SetDraws,
		counters: func() ([]counter, error) {
			all, err := l.Counters()
			out := make([]counter, len(all))
			for i, c := range all {
				out[i] = counter(c)
			}
			return out, err
		},
		close: func() { l.Close() },
	}, nil
}

func runner(prog *ebpf.Program) func(frame, out []byte) (uint32, []byte, error) {
	return func(frame, out []byte) (uint32, []byte, error) {
		o := ebpf.RunOptions{Data: frame, DataOut: out}
		verdict, err := prog.Run(&o)
		return verdict, o.DataOut, err
	}
}

// try runs one packet through everything and says what differs, or "".
func (c *proofCase) try(p packet) string {
	frame := p.frame
	want := reference.RunDrawn(c.link, c.program, frame, p.draw)
	c.acted = 0
	if want.Index >= 0 {
		c.acted = 1
	}
	if msg := c.judge(frame, want); msg != "" {
		return "reference: " + msg
	}
	for _, i := range c.all {
		if !i.inGo && !engine.Testable(i.options, frame) {
			continue
		}
		i.runs++
		if want.Index >= 0 {
			i.want[want.Index].Packets++
			i.want[want.Index].Bytes += uint64(len(frame))
		}
		if err := i.handIn(p.drawn(c.program.Draws)); err != nil {
			return fmt.Sprintf("%s: %v", i.name, err)
		}
		verdict, got, err := i.run(frame, c.out)
		if err != nil {
			return fmt.Sprintf("%s: %v", i.name, err)
		}
		if verdict != i.options.Hook.Verdict(want.Verdict) || !bytes.Equal(got, want.Frame) {
			return fmt.Sprintf("%s: verdict %d\nreference %x\n%-9s %x", i.name, verdict, want.Frame, i.name, got)
		}
	}
	return ""
}

// judge has the outside decoder look at what the reference says.
func (c *proofCase) judge(frame []byte, want reference.Result) (msg string) {
	if msg = oracle.StrayBitsOn(c.link, frame, want); msg != "" {
		return msg
	}
	if c.sums, msg = oracle.WrongSumsOn(c.link, frame, want); msg != "" {
		return msg
	}
	c.fields, msg = oracle.WrongFieldsOn(c.link, frame, want)
	return msg
}

// compareCounters compares what has been counted over all frames.
func (c *proofCase) compareCounters() string {
	for _, i := range c.all {
		got, err := i.counters()
		if err != nil {
			return fmt.Sprintf("%s: %v", i.name, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(i.want) {
			return fmt.Sprintf("%s counted %v, the reference %v", i.name, got, i.want)
		}
	}
	return ""
}
