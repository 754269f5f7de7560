package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// test is what became of one test.
type test struct {
	name   string // package and test, as in internal/hook.TestLink/native
	action string // pass, fail or skip
	output strings.Builder
}

// take takes one event in. A test that runs several times fails if it does
// once.
func (t *test) take(action, output string) {
	switch action {
	case "output":
		t.output.WriteString(output)
	case "pass", "fail", "skip":
		if t.action != "fail" {
			t.action = action
		}
	}
}

// reason is what a skipped test said last.
func (t *test) reason() string {
	var said string
	for line := range strings.Lines(t.output.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			said = line
		}
	}
	return said
}

// results are those of one kernel.
type results struct {
	line     string // the kernel's line, as in 6.1
	kernel   *kernel
	machine  machine
	complete bool      // all tests are to run
	out      io.Writer // told of each package, a line at once
	started  time.Time
	took     time.Duration

	running string // the kernel's own name for itself
	pkg     string // the package that runs
	begun   time.Time
	text    bytes.Buffer // the package's output so far

	packages int
	tests    []*test
	broken   []string // what went wrong beside the tests
}

func (r *results) release(name string) { r.running = name }

func (r *results) begin(pkg string) {
	r.pkg, r.begun = pkg, time.Now()
	r.text.Reset()
}

func (r *results) output(line string) { r.text.WriteString(line) }

// end takes in what a package's binary has told.
func (r *results) end(result string) {
	tests, err := parseTests(r.pkg, r.text.Bytes())
	if err != nil {
		result = err.Error()
	}
	if len(tests) == 0 && r.complete {
		result = "no test was run"
	}
	count := counts(tests)
	if result != "ok" && count["fail"] == 0 {
		r.broken = append(r.broken, fmt.Sprintf("%s: %s\n%s", r.pkg, result, r.text.String()))
	}
	r.packages++
	r.tests = append(r.tests, tests...)
	fmt.Fprintf(r.out, "%-5s %-18s %4d passed %3d failed %3d skipped %7.1f s  %s\n", r.line, r.pkg,
		count["pass"], count["fail"], count["skip"], time.Since(r.begun).Seconds(), result)
	r.pkg = ""
}

// brokeOff takes in that the machine did not get to the end, or not well.
func (r *results) brokeOff(err error) {
	if r.pkg != "" {
		r.end("broken off")
	}
	r.broken = append(r.broken, err.Error())
}

// parseTests reads the output of a test binary that ran with
// -test.v=test2json. A test that did not end failed.
func parseTests(pkg string, text []byte) ([]*test, error) {
	cmd := exec.Command("go", "tool", "test2json")
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("test2json: %w", err)
	}
	var tests []*test
	byName := map[string]*test{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var e struct{ Action, Test, Output string }
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("test2json: %w", err)
		}
		if e.Test == "" {
			continue
		}
		t := byName[e.Test]
		if t == nil {
			t = &test{name: pkg + "." + e.Test}
			byName[e.Test] = t
			tests = append(tests, t)
		}
		t.take(e.Action, e.Output)
	}
	for _, t := range tests {
		if t.action == "" {
			t.action = "fail"
		}
	}
	return tests, nil
}

// counts says how many tests passed, failed and were skipped.
func counts(tests []*test) map[string]int {
	n := map[string]int{}
	for _, t := range tests {
		n[t.action]++
	}
	return n
}

func (r *results) skipped() []*test {
	var skipped []*test
	for _, t := range r.tests {
		if t.action == "skip" {
			skipped = append(skipped, t)
		}
	}
	return skipped
}

// faults are what went wrong, with the output of the tests that failed.
func (r *results) faults() []string {
	faults := slices.Clone(r.broken)
	for _, t := range r.tests {
		if t.action == "fail" {
			faults = append(faults, fmt.Sprintf("%s failed:\n%s", t.name, &t.output))
		}
	}
	return faults
}

// summary is the line about one kernel.
func (r *results) summary(faults int) string {
	n := counts(r.tests)
	s := fmt.Sprintf("linux %s: %s %s, up as %s: %d packages, %d tests run in %.0f s: %d passed, %d failed, %d skipped",
		r.line, r.kernel.name, r.kernel.version, r.running, r.packages, n["pass"]+n["fail"],
		r.took.Seconds(), n["pass"], n["fail"], n["skip"])
	for _, t := range r.skipped() {
		s += fmt.Sprintf("\n  skipped %s: %s", t.name, t.reason())
	}
	if faults > 0 {
		s += fmt.Sprintf("\n  %d FAULTS, see above", faults)
	}
	return s
}
