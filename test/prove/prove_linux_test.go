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

	"repacket/internal/engine"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/oracle"
)

// Rules and packets of one run; each packet runs through three
// implementations, two of them in the kernel.
const (
	defaultRules  = 2000
	framesPerRule = 500
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
	rules, packets, acted, sums, differences atomic.Int64
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
				total.random(t, rand.New(rand.NewPCG(from, uint64(i))))
			}
		})
	}
	workers.Wait()
	fmt.Printf("prove: %d rule sets, %d packets, each through the reference, the eBPF program and the C; %d acted on, %d checksums judged by an outside decoder, %d differences (seed %d)\n",
		total.rules.Load(), total.packets.Load(), total.acted.Load(), total.sums.Load(), total.differences.Load(), from)
	if total.acted.Load()*3 < total.packets.Load() {
		t.Error("less than a third of the packets were acted on: that proves little")
	}
}

// random tries one random program, if the checker takes it.
func (total *tally) random(t *testing.T, r *rand.Rand) {
	p, err := rule.Check(packetgen.Program(r))
	if err != nil {
		return
	}
	total.rules.Add(1)
	c, err := newCase(p, everyWay...)
	if err != nil {
		t.Errorf("%s\n%v", p.Source, err)
		return
	}
	defer c.close()
	for _, frame := range packetgen.Frames(r, p, framesPerRule) {
		d := c.try(frame)
		total.packets.Add(1)
		total.acted.Add(int64(c.acted))
		total.sums.Add(int64(c.sums))
		if d != "" {
			total.differences.Add(1)
			report(t, p.Source, frame, d)
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
	run      func(frame, out []byte) (verdict uint32, got []byte, err error)
	counters func() ([]counter, error)
	close    func()
}

// counter is what a rule has counted.
type counter struct{ Packets, Bytes uint64 }

// proofCase is one program in all implementations.
type proofCase struct {
	program *rule.Program
	all     []implementation
	want    []counter
	out     []byte
	// acted and sums are of the last packet: whether a rule acted, and how many
	// checksums were judged.
	acted, sums int
}

// loader puts a program in the kernel in one of the ways.
type loader func(*rule.Program) (implementation, error)

var everyWay = []loader{compiled, viaC}

func newCase(p *rule.Program, ways ...loader) (*proofCase, error) {
	c := &proofCase{program: p, want: make([]counter, len(p.Written)), out: make([]byte, 80_000)}
	for _, load := range ways {
		i, err := load(p)
		if err != nil {
			c.close()
			return nil, err
		}
		c.all = append(c.all, i)
	}
	return c, nil
}

func (c *proofCase) close() {
	for _, i := range c.all {
		i.close()
	}
}

// compiled is the program of our own compiler.
func compiled(p *rule.Program) (implementation, error) {
	l, err := engine.Load(p, engine.LoadOptions{Fragments: true})
	if err != nil {
		return implementation{}, fmt.Errorf("eBPF: %w", err)
	}
	return implementation{
		name: "eBPF",
		run:  runner(l.Program),
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
	want := reference.Run(c.program, frame)
	c.acted = 0
	if want.Index >= 0 {
		c.acted = 1
		c.want[want.Index].Packets++
		c.want[want.Index].Bytes += uint64(len(frame))
	}
	if msg := oracle.StrayBits(c.program, frame, want); msg != "" {
		return "reference: " + msg
	}
	var msg string
	if c.sums, msg = oracle.WrongSums(c.program, frame, want); msg != "" {
		return "reference: " + msg
	}
	for _, i := range c.all {
		verdict, got, err := i.run(frame, c.out)
		if err != nil {
			return fmt.Sprintf("%s: %v", i.name, err)
		}
		if verdict != 2 || !bytes.Equal(got, want.Frame) {
			return fmt.Sprintf("%s: verdict %d\nreference %x\n%-9s %x", i.name, verdict, want.Frame, i.name, got)
		}
	}
	return ""
}

// compareCounters compares what has been counted over all frames.
func (c *proofCase) compareCounters() string {
	for _, i := range c.all {
		got, err := i.counters()
		if err != nil {
			return fmt.Sprintf("%s: %v", i.name, err)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			return fmt.Sprintf("%s counted %v, the reference %v", i.name, got, c.want)
		}
	}
	return ""
}

// report shrinks a difference, keeps it as a regression, and fails the test.
// clang takes a tenth of a second for each attempt, so it is left out if our
// own program differs without it.
func report(t *testing.T, text string, frame []byte, difference string) {
	ways := everyWay
	if differenceOf(text, frame, compiled) != nil {
		ways = []loader{compiled}
	}
	text, frame = packetgen.Shrink(text, frame, func(text string, frame []byte) bool {
		return differenceOf(text, frame, ways...) != nil
	})
	if d := differenceOf(text, frame, ways...); d != nil {
		difference = d.Error()
	}
	name, err := keep(text, frame)
	t.Errorf("rules: %s\nframe: %x\n%s\nkept as %s", text, frame, difference, name)
	if err != nil {
		t.Error(err)
	}
}

// differenceOf is the difference that one frame makes, or nil.
func differenceOf(text string, frame []byte, ways ...loader) error {
	p, err := rule.Check(text)
	if err != nil {
		return nil
	}
	c, err := newCase(p, ways...)
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
