package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// output2json is what a test binary writes with -test.v=test2json.
const output2json = "\x16=== RUN   TestGood\n" +
	"    a_test.go:1: said on the way\n" +
	"\x16--- PASS: TestGood (0.01s)\n" +
	"\x16=== RUN   TestParent\n" +
	"\x16=== RUN   TestParent/child\n" +
	"    a_test.go:2: this kernel has no tcx\n" +
	"    \x16--- SKIP: TestParent/child (0.00s)\n" +
	"\x16--- PASS: TestParent (0.00s)\n" +
	"\x16=== RUN   TestBad\n" +
	"    a_test.go:3: got 1, want 2\n" +
	"\x16--- FAIL: TestBad (0.00s)\n" +
	"\x16=== RUN   TestHangs\n"

func TestParseTests(t *testing.T) {
	t.Parallel()
	tests, err := parseTests("internal/a", []byte(output2json))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, test := range tests {
		got = append(got, test.name+" "+test.action+" "+test.reason())
	}
	want := []string{
		"internal/a.TestGood pass a_test.go:1: said on the way",
		"internal/a.TestParent pass ",
		"internal/a.TestParent/child skip a_test.go:2: this kernel has no tcx",
		"internal/a.TestBad fail a_test.go:3: got 1, want 2",
		"internal/a.TestHangs fail ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func newResults() *results {
	return &results{
		line:     "6.1",
		kernel:   &kernel{debianPackage: debianPackage{name: "linux-image-x", version: "1-2"}},
		out:      io.Discard,
		complete: true,
	}
}

// TestFaults: everything that is not well is told.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		run  func(r *results)
		want []string // the faults' beginnings
	}{
		{"well", func(r *results) {
			r.begin("a")
			r.output("\x16=== RUN   TestA\n")
			r.output("\x16--- PASS: TestA (0.00s)\n\x16PASS\n")
			r.end("ok")
		}, nil},
		{"tests failed", func(r *results) {
			r.begin("a")
			r.output(output2json)
			r.end("exit status 1")
		}, []string{"a.TestBad failed:", "a.TestHangs failed:"}},
		{"only the binary failed", func(r *results) {
			r.begin("a")
			r.output("\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16PASS\ngoleak: one left\n")
			r.end("exit status 1")
		}, []string{"a: exit status 1\n"}},
		{"nothing to run", func(r *results) {
			r.begin("a")
			r.output("\x16PASS\n")
			r.end("ok")
		}, []string{"a: no test was run\n"}},
		{"the machine ended within a package", func(r *results) {
			r.begin("a")
			r.output("\x16=== RUN   TestA\n")
			r.brokeOff(errors.New("it is gone"))
		}, []string{"it is gone", "a.TestA failed:"}},
	} {
		r := newResults()
		test.run(r)
		got := r.faults()
		ok := slices.EqualFunc(got, test.want, strings.HasPrefix)
		if !ok {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	r := newResults()
	r.release("6.1.0-9")
	r.begin("a")
	r.output(output2json)
	r.end("exit status 1")
	want := `linux 6.1: linux-image-x 1-2, up as 6.1.0-9: 1 packages, 4 tests run in 0 s: 2 passed, 2 failed, 1 skipped
  skipped a.TestParent/child: a_test.go:2: this kernel has no tcx
  2 FAULTS, see above`
	if got := r.summary(2); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
