package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// rename gives the file new content as a whole.
func (r *fileRun) rename(text string) {
	r.t.Helper()
	next := filepath.Join(filepath.Dir(r.path), "next")
	if err := errors.Join(os.WriteFile(next, []byte(text), 0o600), os.Rename(next, r.path)); err != nil {
		r.t.Fatal(err)
	}
}

// TestFollow: rules follow their file without a signal. A wrong file, one of 9 MiB and one that is gone are each
// told once and change nothing, and the next one that is right is taken. Metrics know all of it.
func TestFollow(t *testing.T) {
	t.Parallel()
	r := newFileRun(t, "--follow", "--metrics", "0")
	r.start()
	r.await(&r.stderr, "/metrics\n")
	reloads := func(lines ...string) {
		t.Helper()
		_, text := scrape(t, r.fake)
		wantLines(t, text, lines...)
	}
	reloads(`repacket_reload_success 1`, `repacket_reloads_total{result="replaced"} 0`, `repacket_reloads_total{result="refused"} 0`,
		`repacket_reload_success_timestamp_seconds 1700000000`)
	r.rename(newRules)
	r.await(&r.stderr, "as it is now\n")
	r.rename("if udp_dset 3")
	r.await(&r.stderr, "udp_dest?\neth1: the rules before go on\n")
	r.rename(strings.Repeat("# 9 MiB\n", 9<<20/8))
	r.await(&r.stderr, "and from FILE\neth1: the rules before go on\n")
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.await(&r.stderr, "no such file\neth1: the rules before go on\n")
	reloads(`repacket_reload_success 0`, `repacket_reloads_total{result="replaced"} 1`, `repacket_reloads_total{result="refused"} 3`)
	r.write(oldRules)
	r.awaitTimes("as it is now\n", 2)
	reloads(`repacket_reload_success 1`, `repacket_reloads_total{result="replaced"} 2`, `repacket_reloads_total{result="refused"} 3`)
	r.send(syscall.SIGINT)
	if got := r.wait(); got != exitDone {
		t.Errorf("exit status %d", got)
	}
	if !slices.Equal(r.kernel.swapped, []string{newRules, oldRules}) {
		t.Errorf("the rules were replaced by %q", r.kernel.swapped)
	}
	told := r.stderr.String()
	for text, times := range map[string]int{"the rules before go on": 3, "longer than the 8388608 bytes that are read": 1, "there is no such file": 1} {
		if got := strings.Count(told, text); got != times {
			t.Errorf("%q stands %d times, not %d, in:\n%s", text, got, times, told)
		}
	}
}

// TestFollowNothing: without a file that is read again there is none to follow.
func TestFollowNothing(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"-i", "eth1", "--follow", "if", "udp"},
		{"-i", "eth1", "--follow", "-f", "-"},
		{"-i", "eth1", "--follow", "--once", "-f", "rules"},
	} {
		f := newFake(t, args...)
		status, _, stderr := f.run()
		const want = "repacket: error: --follow is about a file of rules that is read again, and this run has none\n  hint: -f FILE --follow, without --once\n"
		if status != exitUsage || stderr != want || len(f.kernel.jobs) != 0 {
			t.Errorf("%v: exit status %d, %q", args, status, stderr)
		}
	}
}
