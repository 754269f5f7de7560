package cli

import (
	"fmt"
	"strings"
	"testing"
)

// TestCheckRefuses: rules that no program can hold are refused, but not for the
// C, which is never loaded here.
func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	var rules strings.Builder
	for i := range 1500 { // a list of its own in each, so no two have one shape
		fmt.Fprintf(&rules, "if ip_ttl %d-%d,%d-%d ip_id ne %d then ip_tos +%d\n", i%90, 95+i%9, 120, 130+i%77, i, 1+i%200)
	}
	args := []string{"check", strings.TrimSpace(rules.String())}
	status, stdout, stderr := newFake(t, args...).run()
	if status != exitUnsupported || !strings.Contains(stderr, "and a program can have 32767\n") {
		t.Errorf("exit status %d, stderr ends with %q", status, stderr[max(0, len(stderr)-200):])
	}
	if !strings.Contains(stdout, "rule 1500: ") {
		t.Error("what the rules do is not said")
	}
	if status, _, stderr := newFake(t, append(args, "--backend", "clang")...).run(); status != exitDone {
		t.Errorf("for clang: exit status %d, stderr ends with %q", status, stderr[max(0, len(stderr)-200):])
	}
}
