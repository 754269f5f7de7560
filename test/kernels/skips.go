package main

import (
	_ "embed"
	"fmt"
	"strings"
)

//go:embed skips.txt
var skipList string

// skip is a test that may be skipped on a kernel, and then must be: a skip
// that is not looked at turns a test off for ever.
type skip struct {
	kernel string // as in 6.1
	test   string // as in internal/hook.TestLink/native
	reason string // what the test says, or a part of it
}

// parseSkips reads one skip a line; # begins a comment.
func parseSkips(text string) ([]skip, error) {
	var skips []skip
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.SplitN(line, " ", 3)
		if len(words) < 3 {
			return nil, fmt.Errorf("skips.txt: %q is not KERNEL TEST REASON", line)
		}
		skips = append(skips, skip{words[0], words[1], strings.TrimSpace(words[2])})
	}
	return skips, nil
}

// audit compares the tests that were skipped on a kernel with those that are
// to be. With complete false only some tests ran.
func audit(kernel string, skipped []*test, skips []skip, complete bool) []string {
	var faults []string
	happened := map[skip]bool{}
	for _, t := range skipped {
		known := false
		for _, s := range skips {
			if s.kernel == kernel && s.test == t.name && strings.Contains(t.reason(), s.reason) {
				known, happened[s] = true, true
			}
		}
		if !known {
			faults = append(faults, fmt.Sprintf("%s was skipped, but not by skips.txt: %s", t.name, t.reason()))
		}
	}
	for _, s := range skips {
		if complete && s.kernel == kernel && !happened[s] {
			faults = append(faults, fmt.Sprintf("%s was not skipped, but skips.txt says so: %s", s.test, s.reason))
		}
	}
	return faults
}
