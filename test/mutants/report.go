package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// report gathers what became of the faults, and prints it.
type report struct {
	out     io.Writer
	verbose bool
	listed  map[string]string // reasons, by fault

	mu     sync.Mutex
	pkg    string
	tried  int // of the package, that compiled
	killed int
	total  tally
	wrong  []string // what is not as survivors.txt says
	err    error
}

// tally counts faults over all packages: those that compiled, those that were
// noticed, and those that the list says change nothing that could be noticed.
type tally struct{ tried, killed, same int }

// begin starts a target. What is listed of it has to be among its faults.
func (r *report) begin(t target, all []mutant) {
	r.pkg, r.tried, r.killed = t.pkg, 0, 0
	known := map[string]bool{}
	for _, m := range all {
		known[m.String()] = true
	}
	for _, text := range slices.Sorted(maps.Keys(r.listed)) {
		if t.has(text) && !known[text] {
			r.complain("listed, and not in the code any more:\n%s\n", text)
		}
	}
}

// enough reports whether n faults of the package have been tried, with those
// that are under way.
func (r *report) enough(n, underWay int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return n > 0 && r.tried+underWay >= n
}

func (r *report) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *report) add(m mutant, v verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.err != nil {
		r.err = errors.Join(r.err, v.err)
		return
	}
	if v.outcome == senseless {
		return
	}
	r.tried++
	r.total.tried++
	reason, listed := r.listed[m.String()]
	switch {
	case v.outcome == killed:
		r.killed++
		r.total.killed++
		if listed {
			r.complain("noticed after all by %s; take it off the list:\n%s\n", v.by, m)
		}
	case listed:
		if strings.HasPrefix(reason, sameThing) {
			r.total.same++
		}
	default:
		r.complain("noticed by no test:\n%s\n", m)
	}
	if r.verbose {
		r.tell(m, v, reason)
	}
}

func (r *report) tell(m mutant, v verdict, reason string) {
	what := "survived " + reason
	if v.outcome == killed {
		what = "killed by " + v.by
	}
	fmt.Fprintf(r.out, "%s, %s (%v)\n%s\n\n", m.kind, what, v.took.Round(10*time.Millisecond), m)
}

func (r *report) complain(format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// done prints a line for the package.
func (r *report) done() {
	fmt.Fprintf(r.out, "%-20s %4d faults, %4d noticed, %3d not\n", r.pkg, r.tried, r.killed, r.tried-r.killed)
}

// end prints the sum. The error says that something is not as it should be.
func (r *report) end() error {
	for _, w := range r.wrong {
		fmt.Fprintf(r.out, "\n%s", w)
	}
	t := r.total
	if t.tried == t.same {
		return errors.New("no fault was tried")
	}
	share := float64(t.killed) / float64(t.tried-t.same) * 100
	fmt.Fprintf(r.out, "\n%d faults, %d noticed, %d that change nothing, %d not noticed: %.1f of 100 that change something are noticed\n",
		t.tried, t.killed, t.same, t.tried-t.killed-t.same, share)
	var errs []error
	if share < required {
		errs = append(errs, fmt.Errorf("fewer than %d of 100 faults were noticed", required))
	}
	if len(r.wrong) > 0 {
		errs = append(errs, fmt.Errorf("%d are not as %s says", len(r.wrong), survivorsFile))
	}
	return errors.Join(errs...)
}
