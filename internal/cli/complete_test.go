package cli

import (
	"strings"
	"testing"
)

// An empty word behind completion is no shell either.
func TestCompletionForNothing(t *testing.T) {
	t.Parallel()
	if status, _, stderr := newFake(t, "completion", "").run(); status != exitUsage || !strings.Contains(stderr, "no completions") {
		t.Errorf("exit status %d, %q", status, stderr)
	}
}

// Names that a terminal or a shell would act on are not offered.
func TestCompletionIsHarmless(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"__complete", "-i", ""}, {"__complete", "if", "udp", "then", "redirect", ""}} {
		f := newFake(t, args...)
		f.kernel.others = []string{"\x1b]0;pwned\a", "$(reboot)", "`id`", "a;b", "\xff\xfe", "eth0.100@x"}
		_, stdout, _ := f.run()
		wantText(t, strings.Join(args, " "), stdout, "eth0\neth1\neth0.100@x\n:4\n")
	}
}
