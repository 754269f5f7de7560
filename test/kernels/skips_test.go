package main

import (
	"slices"
	"testing"
)

func TestSkipListIsWellFormed(t *testing.T) {
	t.Parallel()
	if _, err := parseSkips(skipList); err != nil {
		t.Error(err)
	}
}

func TestParseSkips(t *testing.T) {
	t.Parallel()
	got, err := parseSkips("# why\n\n6.1 a.TestA/b   needs 6.6: no tcx\n")
	if want := []skip{{"6.1", "a.TestA/b", "needs 6.6: no tcx"}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if got, err := parseSkips("6.1 a.TestA\n"); err == nil {
		t.Errorf("a skip without a reason is read as %q", got)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	skips := []skip{{"6.1", "a.TestA", "no tcx"}, {"6.1", "a.TestB", "no tcx"}, {"6.12", "a.TestC", "no clang"}}
	skipped := func(name, reason string) *test {
		s := &test{name: name, action: "skip"}
		s.output.WriteString("=== RUN   TestA\n    a_test.go:7: " + reason + "\n--- SKIP: TestA (0.00s)\n")
		return s
	}
	a, b := skipped("a.TestA", "this kernel has no tcx"), skipped("a.TestB", "this kernel has no tcx")
	for _, c := range []struct {
		name     string
		skipped  []*test
		complete bool
		want     []string
	}{
		{"as listed", []*test{a, b}, true, nil},
		{"one did not happen", []*test{a}, true, []string{"a.TestB was not skipped, but skips.txt says so: no tcx"}},
		{"one was not to run", []*test{a}, false, nil},
		{"listed for another kernel", []*test{a, b, skipped("a.TestC", "no clang")}, true, []string{"a.TestC was skipped, but not by skips.txt: a_test.go:7: no clang"}},
		{"for another reason", []*test{a, skipped("a.TestB", "not root")}, false, []string{"a.TestB was skipped, but not by skips.txt: a_test.go:7: not root"}},
	} {
		if got := audit("6.1", c.skipped, skips, c.complete); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
