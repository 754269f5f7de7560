// Command mutants puts faults into the code that decides what happens to a
// packet, one at a time, and looks whether the tests notice. The faults go
// through the compiler's overlay: no file of the tree is touched.
//
// It ends with status 1 if a fault was noticed by no test and survivors.txt
// does not say why, if a listed one is noticed after all, or if fewer than 95
// of 100 were noticed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// required is how many of 100 faults the tests have to notice.
const required = 95

// options are what a run is narrowed to.
type options struct {
	sample   int
	seed     uint64
	packages string
	only     string
	list     bool
	verbose  bool
	jobs     int
	exec     string
}

func main() {
	var o options
	flag.IntVar(&o.sample, "n", 25, "faults a package, 0 for all")
	flag.Uint64Var(&o.seed, "seed", 1, "which ones")
	flag.StringVar(&o.packages, "package", "", "only packages that match (regular expression)")
	flag.StringVar(&o.only, "only", "", "only faults whose text matches (regular expression)")
	flag.BoolVar(&o.list, "list", false, "list the faults, try none")
	flag.BoolVar(&o.verbose, "v", false, "print every fault and what became of it")
	flag.IntVar(&o.jobs, "jobs", 2, "faults that are tried side by side")
	flag.StringVar(&o.exec, "exec", "", "command that runs the tests, such as sudo -E: those that load programs need root")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, o options) error {
	if err := modest(); err != nil {
		return err
	}
	b, err := newBench(ctx, o.exec)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.tmp)
	chosen, err := choose(b.root, o)
	if err != nil {
		return err
	}
	if o.list {
		list(out, chosen)
		return nil
	}
	r := &report{out: out, verbose: o.verbose}
	if r.listed, err = readSurvivors(b.root); err != nil {
		return err
	}
	for _, c := range chosen {
		r.begin(c.target, c.all)
		if err := b.try(ctx, c, o, r); err != nil {
			return err
		}
		r.done()
	}
	return r.end()
}

func list(out io.Writer, chosen []choice) {
	for _, c := range chosen {
		for _, m := range c.mutants {
			fmt.Fprintf(out, "%s\n\n", m)
		}
	}
}

// modest keeps the run, and all that it starts, from being in the way of
// others: a low priority, and an end to memory, because a
// fault can make a loop endless.
func modest() error {
	const memory = 3 << 30
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return fmt.Errorf("read the limit of memory: %w", err)
	}
	limit.Cur = min(limit.Cur, memory)
	return errors.Join(
		unix.Setpriority(unix.PRIO_PROCESS, 0, 10),
		unix.Setrlimit(unix.RLIMIT_DATA, &limit),
	)
}

// choice is a package and the faults that it is tried with, in the order in
// which they are tried.
type choice struct {
	target
	all     []mutant // that there are
	mutants []mutant
}

func choose(root string, o options) ([]choice, error) {
	packages, err := regexp.Compile(o.packages)
	if err != nil {
		return nil, err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return nil, err
	}
	var out []choice
	for _, t := range targets {
		if !packages.MatchString(t.pkg) {
			continue
		}
		all, err := faults(root, t)
		if err != nil {
			return nil, err
		}
		c := choice{target: t, all: all}
		for _, m := range mixed(all, o.seed) {
			if only.MatchString(m.String()) {
				c.mutants = append(c.mutants, m)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// try tries the faults of a package until enough of them have compiled.
func (b *bench) try(ctx context.Context, c choice, o options, r *report) error {
	if err := b.sound(ctx, c.target); err != nil {
		return err
	}
	jobs := make(chan struct{}, o.jobs)
	var wait sync.WaitGroup
	for i, m := range c.mutants {
		jobs <- struct{}{}
		if r.enough(o.sample, len(jobs)-1) {
			wait.Wait() // those under way may not compile
			if r.enough(o.sample, 0) {
				break
			}
		}
		if r.failure() != nil || ctx.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-jobs }()
			r.add(m, b.judge(ctx, c.target, m, fmt.Sprintf("%s-%d", slot(c.pkg), i)))
		})
	}
	wait.Wait()
	return errors.Join(ctx.Err(), r.failure())
}
