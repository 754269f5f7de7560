// Command kernels runs the tests that need a kernel on other kernels than this
// machine's: Debian's, from their packages, in a virtual machine without
// hardware support, so it works wherever qemu does.
//
// It ends with status 1 if a test failed, if a machine did not get to the end,
// or if what was skipped is not exactly what skips.txt says.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// lines are the kernels: the lowest that Repacket claims to run on, and the
// stable one of the next Debian.
var lines = []string{"6.1", "6.12"}

// modules are the kernel modules that the tests need. What they need in turn
// is found out.
var modules = []string{
	"veth", "sch_ingress", "cls_bpf", "cls_u32", "tun", "bridge", "ifb", "vxlan", "macvlan", "fuse",
}

// options are what a run may be narrowed to.
type options struct {
	lines    string
	packages string
	run      string
	rules    int // random rules for the tests that count them
	dir      string
	timeout  time.Duration
}

// narrowed says that not everything runs, so not every skip happens.
func (o options) narrowed() bool { return o.packages != "" || o.run != "" }

func main() {
	var o options
	flag.StringVar(&o.lines, "kernel", strings.Join(lines, ","), "kernels to run on")
	flag.StringVar(&o.packages, "package", "", "packages to run, as in internal/hook (all that need a kernel)")
	flag.StringVar(&o.run, "run", "", "tests to run (regular expression)")
	flag.IntVar(&o.rules, "rules", 15, "random rules that the implementations are compared on")
	flag.StringVar(&o.dir, "dir", "bin/kernels", "where packages, test binaries and logs are kept")
	flag.DurationVar(&o.timeout, "timeout", time.Hour, "how long one machine may run; one package has half of it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := runAll(ctx, os.Stdout, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// runAll runs the tests on one kernel after the other. It says whether all is
// well; an error means that it could not be found out.
func runAll(ctx context.Context, out io.Writer, o options) (bool, error) {
	skips, err := parseSkips(skipList)
	if err != nil {
		return false, err
	}
	if err := installTools(ctx); err != nil {
		return false, err
	}
	s, err := buildSuite(ctx, o)
	if err != nil {
		return false, err
	}
	for _, l := range s.leftOut {
		fmt.Fprintf(out, "left out: %s: %s\n", l, l.reason)
	}
	runs, err := prepare(ctx, s, o)
	if err != nil {
		return false, err
	}
	var summaries []string
	ok := true
	for _, r := range runs {
		if r.run(ctx, out, o.timeout); ctx.Err() != nil {
			return false, ctx.Err()
		}
		faults := append(r.faults(), audit(r.line, r.skipped(), skips, !o.narrowed())...)
		for _, f := range faults {
			fmt.Fprintf(out, "FAULT on %s: %s\n", r.line, f)
		}
		ok = ok && len(faults) == 0
		summaries = append(summaries, r.summary(len(faults)))
	}
	fmt.Fprintln(out, strings.Join(summaries, "\n"))
	return ok, nil
}

// prepare makes a machine for each kernel.
func prepare(ctx context.Context, s *suite, o options) ([]*results, error) {
	var runs []*results
	for _, line := range strings.Split(o.lines, ",") {
		k, err := fetchKernel(ctx, line, o.dir)
		if err != nil {
			return nil, fmt.Errorf("linux %s: %w", line, err)
		}
		m := machine{
			kernel:  k.image,
			initrd:  filepath.Join(o.dir, line+".cpio"),
			console: filepath.Join(o.dir, line+".console"),
			log:     filepath.Join(o.dir, line+".log"),
		}
		if err := s.writeInitramfs(ctx, m.initrd, line, k); err != nil {
			return nil, fmt.Errorf("linux %s: %w", line, err)
		}
		runs = append(runs, &results{line: line, kernel: k, machine: m, complete: !o.narrowed()})
	}
	return runs, nil
}

// run boots the machine and takes in what it tells. One that does not get to
// its end is among the results.
func (r *results) run(ctx context.Context, out io.Writer, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r.out, r.started = out, time.Now()
	if err := boot(ctx, r.machine, r); err != nil {
		r.brokeOff(err)
	}
	r.took = time.Since(r.started)
}
