// Package prove holds the implementations of the language against each other:
// the reference, the eBPF program in the kernel and the C that clang compiled,
// also in the kernel, on random rules and hostile packets. They share the
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
	"repacket/test/oracle"
)

// Rules and packets of one run. Each packet runs through the reference, the
// eBPF program at XDP and at tc, and clang's C: at XDP too, and for every
// viaTC-th rule set at tc. Every onRaw-th is for a link without Ethernet.
const (
	defaultRules  = 2000
	framesPerRule = 500
	viaTC         = 10
	onRaw         = 8
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
	rules, raw, packets, atTC, acted, sums, fields, differences atomic.Int64
}

// TestThreeAgree runs random rules on packets made for them.
func TestThreeAgree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the kernel's part needs root: sudo make test")
	}
	n, from := rulesToTry(t), seed(t)
	var total tally
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(func() {
			for i := next.Add(1); total.rules.Load() < int64(n) && !t.Failed(); i = next.Add(1) {
				total.random(t, uint64(i), rand.New(rand.NewPCG(from, uint64(i))))
			}
		})
	}
	workers.Wait()
	fmt.Printf("prove: %d rule sets (%d without Ethernet), %d packets, each through the reference, the eBPF program and the C; %d of them at tc too; "+
		"%d acted on, %d checksums and %d fields judged by an outside decoder, %d differences (seed %d)\n",
		total.rules.Load(), total.raw.Load(), total.packets.Load(), total.atTC.Load(),
		total.acted.Load(), total.sums.Load(), total.fields.Load(), total.differences.Load(), from)
	if total.acted.Load()*3 < total.packets.Load() {
		t.Error("less than a third of the packets were acted on: that proves little")
	}
}

// random tries one random program, if the checker takes it.
func (total *tally) random(t *testing.T, i uint64, r *rand.Rand) {
	style := packetgen.Style{}
	if i%onRaw == 0 {
		style.Link = field.RawIP
	}
	p, err := rule.Check(style.Program(r))
	if err != nil {
		return
	}
	total.rules.Add(1)
	if style.Link == field.RawIP {
		total.raw.Add(1)
	}
	ways := []loader{compiledXDP, cAtXDP, compiledTC}
	if i%viaTC == 0 {
		ways = everyWay
	}
	c, err := newCase(style.Link, p, ways...)
	if err != nil {
		t.Errorf("%s\n%v", p.Source, err)
		return
	}
	defer c.close()
	for _, frame := range packetgen.FramesOn(style.Link, r, p, framesPerRule) {
		d := c.try(frame)
		total.packets.Add(1)
		total.acted.Add(int64(c.acted))
		total.sums.Add(int64(c.sums))
		total.fields.Add(int64(c.fields))
		total.atTC.Add(int64(c.atTC))
		if d != "" {
			total.differences.Add(1)
			report(t, style.Link, p.Source, frame, d)
			return
		}
	}
	if d := c.compareCounters(); d != "" {
		total.differences.Add(1)
		t.Errorf("%s\n%s", p.Source, d)
	}
}

// implementation is one way to run the rules, apart from the reference.
type implementation struct {
	name     string
	options  engine.LoadOptions // the hook and the link
	run      func(frame, out []byte) (verdict uint32, got []byte, err error)
	counters func() ([]counter, error)
	close    func()
	want     []counter
}

// counter is what a rule has counted.
type counter struct{ Packets, Bytes uint64 }

// proofCase is one program in all implementations.
type proofCase struct {
	link    field.Link
	program *rule.Program
	all     []*implementation
	out     []byte
	// acted, sums, fields and atTC are of the last packet: whether a rule acted,
	// how many checksums and fields were judged, and whether it ran at tc too.
	acted, sums, fields, atTC int
}

// loader puts a program in the kernel in one of the ways.
type loader func(field.Link, *rule.Program) (*implementation, error)

var everyWay = []loader{compiledXDP, cAtXDP, compiledTC, cAtTC}

func newCase(link field.Link, p *rule.Program, ways ...loader) (*proofCase, error) {
	c := &proofCase{link: link, program: p, out: make([]byte, 80_000)}
	for _, load := range ways {
		i, err := load(link, p)
		if err != nil {
			c.close()
			return nil, err
		}
		i.want = make([]counter, len(p.Written))
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
func compiledXDP(link field.Link, p *rule.Program) (*implementation, error) {
	return compiled("eBPF", p, engine.LoadOptions{Link: link, Fragments: true})
}

func compiledTC(link field.Link, p *rule.Program) (*implementation, error) {
	return compiled("eBPF at tc", p, engine.LoadOptions{Link: link, Hook: bpf.TC})
}

func compiled(name string, p *rule.Program, o engine.LoadOptions) (*implementation, error) {
	l, err := engine.Load(p, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &implementation{
		name: name, options: o,
		run: runner(l.Program),
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

// try runs one frame through everything and says what differs, or "".
func (c *proofCase) try(frame []byte) string {
	want := reference.RunOn(c.link, c.program, frame)
	c.acted, c.atTC = 0, 0
	if want.Index >= 0 {
		c.acted = 1
	}
	if msg := c.judge(frame, want); msg != "" {
		return "reference: " + msg
	}
	for _, i := range c.all {
		if !engine.Testable(i.options, frame) {
			continue
		}
		if i.options.Hook == bpf.TC {
			c.atTC = 1
		}
		if want.Index >= 0 {
			i.want[want.Index].Packets++
			i.want[want.Index].Bytes += uint64(len(frame))
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
	if msg = oracle.StrayBitsOn(c.link, c.program, frame, want); msg != "" {
		return msg
	}
	if c.sums, msg = oracle.WrongSumsOn(c.link, c.program, frame, want); msg != "" {
		return msg
	}
	c.fields, msg = oracle.WrongFieldsOn(c.link, c.program, frame, want)
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

// report shrinks a difference, keeps it as a regression, and fails the test.
// clang takes a tenth of a second for each attempt, so it is left out if our
// own program differs without it.
func report(t *testing.T, link field.Link, text string, frame []byte, difference string) {
	ways := everyWay
	if differenceOf(link, text, frame, compiledXDP, compiledTC) != nil {
		ways = []loader{compiledXDP, compiledTC}
	}
	text, frame = packetgen.Shrink(text, frame, func(text string, frame []byte) bool {
		return differenceOf(link, text, frame, ways...) != nil
	})
	if d := differenceOf(link, text, frame, ways...); d != nil {
		difference = d.Error()
	}
	name, err := keep(link, text, frame)
	t.Errorf("rules: %s\nframe: %x\n%s\nkept as %s", text, frame, difference, name)
	if err != nil {
		t.Error(err)
	}
}

// differenceOf is the difference that one frame makes, or nil.
func differenceOf(link field.Link, text string, frame []byte, ways ...loader) error {
	p, err := rule.Check(text)
	if err != nil {
		return nil
	}
	c, err := newCase(link, p, ways...)
	if err != nil {
		return nil
	}
	defer c.close()
	if d := c.try(frame); d != "" {
		return errors.New(d)
	}
	if d := c.compareCounters(); d != "" {
		return errors.New(d)
	}
	return nil
}
