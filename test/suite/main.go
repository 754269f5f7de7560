// Command suite is what make test runs: every test, part by part. It tells how far
// it is and how long the rest may take, shows the figures that tests print and the
// whole output of those that fail, and counts. A skipped test is a failure: on the
// machine where this runs, everything can be tested.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// part is a group of packages that are tested together.
type part struct {
	name     string
	args     []string // for go test, beside the packages
	packages []string
}

func main() {
	goTool := flag.String("go", "go", "the Go command")
	execWith := flag.String("exec", "", "what runs the tests, as in go test -exec")
	flag.Parse()
	s := &suite{goTool: *goTool, out: os.Stdout, began: time.Now(), ended: time.Now(), beat: 20 * time.Second, expected: seconds}
	if *execWith != "" {
		s.args = []string{"-exec", *execWith}
	}
	all, err := s.list()
	if err == nil {
		err = s.run(parts(all))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "make test: %v\n", err)
		os.Exit(1)
	}
}

// parts are the packages in the order in which they are tested: what finds a wrong
// program soonest comes first.
func parts(all []string) []part {
	prove, live, faults, chaos := "repacket/test/prove", "repacket/test/live", "repacket/test/faults", "repacket/test/chaos"
	others := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains([]string{prove, live, faults, chaos}, p) })
	return []part{
		{"the implementations compared with each other, on random rules", []string{"-failfast"}, []string{prove}},
		{"packets on veth pairs, byte for byte", nil, []string{live}},
		{"system calls that fail, one in a run", nil, []string{faults}},
		{"commands killed, stopped and raced at random moments", nil, []string{chaos}},
		{"all other packages", nil, others},
	}
}

// suite is one run of all tests.
type suite struct {
	goTool   string
	args     []string
	out      io.Writer
	began    time.Time
	beat     time.Duration // the longest silence
	expected map[string]float64

	left                    float64   // expected seconds of what has not ended
	done                    float64   // and of what has
	ended                   time.Time // of the last package, or when the suite began
	passed, failed, skipped int
	packages                int
}

// list are the packages that have tests.
func (s *suite) list() ([]string, error) {
	const format = `{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}`
	out, err := exec.Command(s.goTool, "list", "-f", format, "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	return strings.Fields(string(out)), nil
}

func (s *suite) run(parts []part) error {
	for _, p := range parts {
		for _, name := range p.packages {
			s.left += s.expects(name)
		}
	}
	for i, p := range parts {
		fmt.Fprintf(s.out, "part %d of %d: %s (%s)\n", i+1, len(parts), p.name, s.remaining())
		if err := s.test(p); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "all passed: %d tests of %d packages in %.1f minutes\n", s.passed, s.packages, time.Since(s.began).Minutes())
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return nil
}

// test runs one part. The error says what failed, whose output has been shown.
func (s *suite) test(p part) error {
	args := slices.Concat([]string{"test", "-json", "-timeout", "30m"}, s.args, p.args, p.packages)
	cmd := exec.Command(s.goTool, args...)
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run the tests: %w", err)
	}
	s.follow(events)
	if err := cmd.Wait(); err != nil || s.failed > 0 || s.skipped > 0 {
		return fmt.Errorf("%d passed, %d failed, %d skipped", s.passed, s.failed, s.skipped)
	}
	return nil
}

// event is a line of go test -json (cmd/test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64 // seconds
}

// follow reads the events of go test to their end, and says that time goes by where
// nothing else is said.
func (s *suite) follow(r io.Reader) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(r)
		in.Buffer(nil, 16<<20)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	silence := time.NewTicker(s.beat)
	defer silence.Stop()
	outputs := map[[2]string][]string{}
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				fmt.Fprintln(s.out, line) // not a test's: the compiler's
				continue
			}
			if s.event(e, outputs) {
				silence.Reset(s.beat)
			}
		case <-silence.C:
			fmt.Fprintf(s.out, "  … %d passed (%s)\n", s.passed, s.remaining())
		}
	}
}

// event counts, keeps what a test prints until it is known to have passed, and
// reports whether it has told anything.
func (s *suite) event(e event, outputs map[[2]string][]string) (told bool) {
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		outputs[key] = append(outputs[key], e.Output)
		if figure, ok := figureIn(e.Output); ok {
			fmt.Fprintf(s.out, "  %s\n", figure)
			return true
		}
		return false
	case "fail", "build-fail":
		fmt.Fprintf(s.out, "  FAIL %s %s\n%s", strings.TrimPrefix(e.Package, "repacket/"), e.Test, strings.Join(outputs[key], ""))
	case "skip":
		if e.Test == "" {
			break // no tests to run
		}
		s.skipped++
		fmt.Fprintf(s.out, "  SKIPPED %s %s\n%s", strings.TrimPrefix(e.Package, "repacket/"), e.Test, strings.Join(outputs[key], ""))
	}
	delete(outputs, key)
	if e.Test != "" {
		switch e.Action {
		case "pass":
			s.passed++
			return false
		case "fail":
			s.failed++
		}
		return e.Action == "fail" || e.Action == "skip"
	}
	if e.Action != "pass" && e.Action != "skip" {
		return e.Action == "fail"
	}
	s.packages++
	s.left -= s.expects(e.Package)
	s.done += s.expects(e.Package)
	s.ended = time.Now()
	fmt.Fprintf(s.out, "  ok %s, %.0f s (%s)\n", strings.TrimPrefix(e.Package, "repacket/"), e.Elapsed, s.remaining())
	return true
}

// figureMark begins the lines of tests that are shown though they passed.
const figureMark = "figure: "

// figureIn is the figure that a line of a test's output tells.
func figureIn(line string) (string, bool) {
	_, figure, ok := strings.Cut(strings.TrimSpace(line), figureMark)
	return figure, ok
}

// remaining says how long the rest may take, at the pace so far, less what has gone by
// of what is running.
func (s *suite) remaining() string {
	pace := 1.0
	if s.done > 30 {
		pace = time.Since(s.began).Seconds() / s.done
	}
	left := s.left*pace - time.Since(s.ended).Seconds()
	return fmt.Sprintf("about %.0f min left", max(1, left/60))
}

func (s *suite) expects(name string) float64 {
	if d, ok := s.expected[strings.TrimPrefix(name, "repacket/")]; ok {
		return d
	}
	return 1
}
