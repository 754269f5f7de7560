package cli

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"repacket/internal/run"
)

const badRule = "if all then ip_dscp 64"

func TestErrorAsText(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := newFake(t, "check", badRule).run()
	if status != exitUsage || stdout != "" {
		t.Errorf("exit status %d, stdout %q", status, stdout)
	}
	if want := "repacket: error: ip_dscp takes 0 to 63 (6 bits), not 64\n    if all then ip_dscp 64\n                        ^~\n"; !strings.HasPrefix(stderr, want) {
		t.Errorf("stderr is\n%s\nwant\n%s", stderr, want)
	}
}

// With --json an error is an object on stdout, with its place in the rules,
// wherever on the line the flag stands.
func TestErrorAsJSON(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--json", "check", badRule}, {"check", badRule, "-j"}} {
		status, stdout, stderr := newFake(t, args...).run()
		if status != exitUsage || stderr != "" {
			t.Errorf("%q: exit status %d, stderr %q", args, status, stderr)
		}
		for _, want := range []string{`"event":"error"`, `"status":2`, `"source":"if all then ip_dscp 64"`, `"start":20`, `"end":22`} {
			if !strings.Contains(stdout, want) || strings.Count(stdout, "\n") != 1 {
				t.Errorf("%q: %s is not in the line %s", args, want, stdout)
			}
		}
	}
}

func TestColor(t *testing.T) {
	t.Parallel()
	const red = "\x1b[1;31merror:\x1b[0m"
	for _, tt := range []struct {
		name  string
		args  string
		tty   bool
		vars  map[string]string
		color bool
	}{
		{"terminal", "", true, nil, true},
		{"no terminal", "", false, nil, false},
		{"NO_COLOR", "", true, map[string]string{"NO_COLOR": "1"}, false},
		{"dumb", "", true, map[string]string{"TERM": "dumb"}, false},
		{"always", "--color always", false, map[string]string{"NO_COLOR": "1"}, true},
		{"never", "--color=never", true, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, append(strings.Fields(tt.args), "-i")...)
			f.tty = tt.tty
			if tt.vars != nil {
				f.vars = tt.vars
			}
			_, _, stderr := f.run()
			want := "repacket: error: -i needs a value\n  hint: -i IFACE\n"
			if tt.color {
				want = "repacket: " + red + " -i needs a value\n  \x1b[36mhint:\x1b[0m -i IFACE\n"
			}
			wantText(t, "stderr", stderr, want)
		})
	}
}

// Warnings do not keep rules from running; -q silences them, and --json makes
// them objects.
func TestWarnings(t *testing.T) {
	t.Parallel()
	const rules = "if udp then ip_ttl 1 else if udp_dest 53 then ip_ttl 2"
	for _, tt := range []struct {
		args                   []string
		wantStdout, wantStderr string
	}{
		{[]string{rules}, "", "repacket: warning: "},
		{[]string{"-q", rules}, "", ""},
		{[]string{"-j", rules}, `"event":"warning"`, ""},
	} {
		f := newFake(t, tt.args...)
		f.kernel.count(run.Count{}, run.Count{})
		close(f.kernel.done)
		status, stdout, stderr := f.run()
		if status != exitDone {
			t.Errorf("%q: exit status %d, want 0", tt.args, status)
		}
		if !strings.Contains(stdout, tt.wantStdout) || !strings.HasPrefix(stderr, tt.wantStderr) {
			t.Errorf("%q: stdout %q, stderr %q", tt.args, stdout, stderr)
		}
		if tt.wantStderr == "" && stderr != "" {
			t.Errorf("%q: stderr %q", tt.args, stderr)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

// A failed write is no success.
func TestStdoutIsFull(t *testing.T) {
	t.Parallel()
	f := newFake(t, "fields")
	f.Stdout = fullDisk{}
	status := Run(f.Env)
	if status != exitFailed {
		t.Errorf("exit status %d, want 1", status)
	}
	wantText(t, "stderr", f.stderr.String(), "repacket: error: no space left on device\n")
}

// What was given does not act on the terminal when it comes back in a message.
func TestMessagesAreHarmless(t *testing.T) {
	t.Parallel()
	_, _, stderr := newFake(t, "-i", "\x1b[31mred\a", "if all").run()
	wantText(t, "stderr", stderr, "repacket: error: there is no interface \ufffd[31mred\ufffd\n")
}

// Every line of README.md and docs/manual.md that runs rules passes the checker,
// except the one that shows an error.
func TestReadmeLines(t *testing.T) {
	var pages []byte
	for _, page := range []string{"../../README.md", "../../docs/manual.md"} {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, content...)
	}
	t.Chdir(t.TempDir()) // where the file is that lines take rows from
	if err := os.WriteFile("moves.csv", []byte("old,new\n192.0.2.1,198.51.100.7\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(pages)) {
		line, _, _ = strings.Cut(strings.ReplaceAll(line, "'", ""), "  #")
		words := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(line, "$ "), "sudo "))
		if len(words) == 0 || words[0] != "repacket" || !slices.Contains(words, "if") || slices.Contains(words, "tcp_cwr") {
			continue
		}
		lines++
		commands := []string{"attach", "replace", "check", "verify"}
		words = slices.DeleteFunc(words[1:], func(w string) bool { return slices.Contains(commands, w) })
		if status, _, stderr := newFake(t, append([]string{"check"}, words...)...).run(); status != exitDone {
			t.Errorf("%s\n%s", line, stderr)
		}
	}
	if lines < 25 {
		t.Errorf("only %d lines found", lines)
	}
}

// TestManyRules: of many rules the summary has those that matched.
func TestManyRules(t *testing.T) {
	t.Parallel()
	counts := make([]run.RuleCount, 22)
	for i := range counts {
		counts[i].Text, counts[i].DryRun = "if udp", true
	}
	counts[4].Matched = 7
	var said bytes.Buffer
	(&report{out: &output{stderr: &said}}).lines(run.Counts{Rules: counts}, 0)
	const want = "5   7 pkts  0 bytes  if udp\n21 more rules have matched nothing\nmatch 7 pkts in 0.000 s\n"
	if got := said.String(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestFullDisk: where JSON cannot be written, stderr says so, and the exit status is that
// of what was done.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	const why = ", but this could not be reported: write /dev/full: no space left on device\n"
	for _, tt := range []struct{ command, stderr string }{
		{"attach -i eth1 if udp", "repacket: warning: the rules are attached" + why + "  hint: to detach them: repacket detach -i eth1\n"},
		{"replace -i eth1 if udp", "repacket: warning: the rules are attached" + why + "  hint: to detach them: repacket detach -i eth1\n"},
		{"detach -i eth1", "repacket: warning: the rules are detached" + why},
	} {
		f := newFake(t, append([]string{"--json"}, strings.Fields(tt.command)...)...)
		f.kernel.attached = []run.Attached{{Target: run.Target{Interface: "eth1", Direction: run.In}}}
		f.Stdout = full
		status, _, stderr := f.run()
		if status != exitDone {
			t.Errorf("%s: exit status %d, want 0", tt.command, status)
		}
		wantText(t, tt.command, stderr, tt.stderr)
	}
}

// Where stdout takes nothing before anything is attached, nothing is.
func TestFullDiskBefore(t *testing.T) {
	t.Parallel()
	f := newFake(t, "--json", "attach", "-i", "eth1", "if", "udp")
	f.kernel.advice = []run.Advice{{Message: "it is slow"}}
	f.Stdout = fullDisk{}
	status, _, stderr := f.run()
	if status != exitFailed || len(f.kernel.jobs) > 0 {
		t.Errorf("exit status %d, %d jobs", status, len(f.kernel.jobs))
	}
	wantText(t, "stderr", stderr, "repacket: error: no space left on device\n")
}

func TestQuietLeavesErrorsOnly(t *testing.T) {
	t.Parallel()
	f := newFake(t, append([]string{"-q"}, rewriteWords...)...)
	f.tty = true
	f.kernel.closeErr = errFake
	close(f.kernel.done)
	status, stdout, stderr := f.run()
	if status != exitFailed {
		t.Errorf("exit status %d, want 1", status)
	}
	wantText(t, "stdout", stdout, "")
	wantText(t, "stderr", stderr, "repacket: \x1b[1;31merror:\x1b[0m the kernel is gone\n")
}
