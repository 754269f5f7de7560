package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The two repeat counts between which the slope is taken: what a call costs
// once, whatever it repeats, cancels out.
const (
	fewRepeats  = 50_000
	manyRepeats = 1_050_000
)

// entrant is a program that is timed.
type entrant struct {
	name string
	load func() (*program, error)
	// frame is what it is timed on, if not on the frame of all.
	frame []byte
	ns    []float64 // by round
}

// timePart shows nanoseconds for every rule.
func timePart(o options) (string, error) {
	rules, cc, err := prepare(o)
	if err != nil {
		return "", err
	}
	defer cc.close()
	t := table{words: 3}
	t.add("rule", "packet", "program", "median", "lowest", "highest", "over nothing", "ours / this")
	for _, r := range rules {
		for _, name := range []string{again, nearMiss} {
			p, ok := r.packet(name)
			if !ok {
				continue
			}
			entrants := misses(r, cc)
			if name == again {
				entrants = hits(r, cc)
			}
			if err := measure(entrants, p.frame, o.rounds); err != nil {
				return "", fmt.Errorf("%s: %w", r.text, err)
			}
			addTimes(&t, r.name, name, entrants)
		}
	}
	return fmt.Sprintf("Nanoseconds for one packet: BPF_PROG_TEST_RUN, CPU time of the thread, slope between %d and %d\n"+
		"repeats, %d rounds in turn, each program loaded anew for each round.\n\n%s",
		fewRepeats, manyRepeats, o.rounds, &t), nil
}

// misses are the entrants for a packet that the rule does not take: nothing
// and ours first.
func misses(r *benchRule, cc *compiler) []*entrant {
	return []*entrant{
		{name: "nothing", load: nothing},
		ourEntrant(r, "ours", countFirst),
		cEntrant(r, cc, "C v3", "v3", countFirst),
		cEntrant(r, cc, "C generic", "generic", countFirst),
	}
}

// hits are the entrants for a packet that the rule takes, and counts.
func hits(r *benchRule, cc *compiler) []*entrant {
	return append(misses(r, cc),
		ourEntrant(r, "ours, several buffers", countAll),
		cEntrant(r, cc, "C v3, several buffers", "v3", countAll),
		ourEntrant(r, "ours, not counting", countNothing),
		cEntrant(r, cc, "C v3, not counting", "v3", countNothing),
	)
}

func ourEntrant(r *benchRule, name string, what counting) *entrant {
	return &entrant{name: name, load: func() (*program, error) { return ours(r, what) }}
}

func cEntrant(r *benchRule, cc *compiler, name, cpu string, what counting) *entrant {
	return &entrant{name: name, load: func() (*program, error) { return cc.load(r, cpu, what) }}
}

// measure times the entrants in turn, another one first in each round. Each
// program is loaded anew for each round, because where the kernel places its
// code makes a difference that belongs to neither.
func measure(entrants []*entrant, frame []byte, rounds int) error {
	for _, e := range entrants {
		e.ns = make([]float64, rounds)
	}
	for round := range rounds {
		for i := range entrants {
			e := entrants[(i+round)%len(entrants)]
			p, err := e.load()
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			on := frame
			if e.frame != nil {
				on = e.frame
			}
			e.ns[round], err = slope(p.prog, on)
			p.close()
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	return nil
}

// slope is how many nanoseconds one run more takes.
func slope(p *ebpf.Program, frame []byte) (float64, error) {
	few, err := cpuTime(p, frame, fewRepeats)
	if err != nil {
		return 0, err
	}
	many, err := cpuTime(p, frame, manyRepeats)
	if err != nil {
		return 0, err
	}
	return float64(many-few) / (manyRepeats - fewRepeats), nil
}

// cpuTime runs a program and takes the time that the thread has spent on a
// CPU, so that neither waiting in the kernel nor other programs count.
func cpuTime(p *ebpf.Program, frame []byte, repeat uint32) (time.Duration, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime()
	o := ebpf.RunOptions{Data: frame, Repeat: repeat}
	if _, err := p.Run(&o); err != nil {
		return 0, err
	}
	return threadTime() - began, nil
}

func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // every Linux has it
	}
	return time.Duration(t.Nano())
}

// addTimes adds the entrants; the first is nothing, the second ours.
func addTimes(t *table, rule, packet string, entrants []*entrant) {
	idle, ours := entrants[0].ns, entrants[1].ns
	for i, e := range entrants {
		cells := append([]any{rule, packet, e.name}, spreadOf(e.ns)...)
		if i > 0 {
			cells = append(cells, over(e.ns, idle), ratio(ours, e.ns))
		}
		t.add(cells...)
		rule, packet = "", ""
	}
}

// paired compares what was measured in the same round: the machine has good
// and bad moments, and a round is short.
func paired(a, b []float64, f func(a, b float64) float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = f(a[i], b[i])
	}
	return out
}

// spreadOf are the cells of what was measured: median, lowest, highest.
func spreadOf(v []float64) []any { return []any{median(v), slices.Min(v), slices.Max(v)} }

// over is how much more a took than b in the same round, in the median.
func over(a, b []float64) float64 {
	return median(paired(a, b, func(a, b float64) float64 { return a - b }))
}

// ratio is a to b in the same round, in the median.
func ratio(a, b []float64) string {
	return fmt.Sprintf("%.2f", median(paired(a, b, func(a, b float64) float64 { return a / b })))
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
