package cli

import (
	"context"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"repacket/internal/run"
)

// TestTopics: every topic goes to stdout, as plain text of at most 80 columns.
func TestTopics(t *testing.T) {
	t.Parallel()
	for _, topic := range topics {
		for _, args := range [][]string{{"help", topic.name}, {"--color", "always", "help", strings.ToUpper(topic.name)}} {
			status, stdout, stderr := newFake(t, args...).run()
			if status != exitDone || stderr != "" || strings.Count(stdout, "\n") < 40 {
				t.Errorf("%s: exit status %d, stdout\n%s\nstderr %s", args, status, stdout, stderr)
			}
			narrow(t, "help "+topic.name, stdout)
		}
	}
}

// narrow wants a text that a terminal of 80 columns shows as it is.
func narrow(t *testing.T, what, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > 80 || strings.TrimRight(line, " ") != line || strings.Contains(line, "\t") {
			t.Errorf("%s has a line of %d columns, or with blanks at its end or tabs: %q", what, n, line)
		}
	}
}

// TestRulesTopicIsComplete: the topic names and its examples use every word of the grammar in
// docs/semantics.md 2.1, but for set, which means nothing.
func TestRulesTopicIsComplete(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	_, grammar, _ := strings.Cut(string(page), "### 2.1 Grammar")
	grammar, _, _ = strings.Cut(grammar, "### 2.2")
	words := regexp.MustCompile(`"([a-z]+)"`).FindAllStringSubmatch(grammar, -1)
	if len(words) < 25 {
		t.Fatalf("the grammar has only %d words", len(words))
	}
	reference, shown, _ := strings.Cut(rulesTopic(), "\nEXAMPLES\n")
	for _, m := range words {
		word := regexp.MustCompile(`\b` + m[1] + `\b`)
		if m[1] != "set" && (!word.MatchString(reference) || !word.MatchString(shown)) {
			t.Errorf("help rules does not explain %s, or has no example of it", m[1])
		}
	}
}

// TestHelpExamples: every command has examples, and those of rules pass check.
func TestHelpExamples(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{"rules.txt": "if udp_dest 53 then ip_dscp ef\n", "moves.csv": "old,new\n192.0.2.1,198.51.100.7\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := []string{}
	for _, e := range taskExamples {
		lines = append(lines, "repacket "+e.line)
	}
	for _, m := range regexp.MustCompile(`(?m)^    (repacket .*?)(  .*)?$`).FindAllStringSubmatch(packetsTopic, -1) {
		lines = append(lines, m[1])
	}
	if len(lines) < len(taskExamples)+8 {
		t.Errorf("only %d lines found", len(lines))
	}
	a := &app{env: System(), takes: map[*cobra.Command][]string{}}
	a.flags = newFlags(&a.opt)
	root := a.commands()
	for _, c := range append(root.Commands(), root) {
		if c.Example == "" {
			t.Errorf("%s has no example", c.Name())
		}
		narrow(t, c.Name()+" --help", c.Long+"\n"+c.Example)
		lines = append(lines, strings.Split(c.Example, "\n")...)
	}
	for _, line := range lines {
		args := strings.Fields(line)[1:]
		if slices.Contains([]string{"attach", "replace", "verify"}, args[0]) {
			args = args[1:]
		}
		if args[0] != "check" && (slices.Contains(args, "if") || slices.Contains(args, "-f")) && args[0] != "compile" {
			args = append([]string{"check"}, args...)
		}
		f := newFake(t, args...)
		if args[0] == "top" { // test/terminal has a terminal
			if status, _, stderr := f.run(); status != exitUsage || !strings.Contains(stderr, "top is for people at a terminal") {
				t.Errorf("%s: exit status %d\n%s", line, status, stderr)
			}
			continue
		}
		f.Demo = func(context.Context, io.Writer) error { return nil }
		if args[0] == "exporter" { // it goes on until it is asked to stop
			f.signals = make(chan os.Signal, 1)
			f.signals <- os.Interrupt
		}
		f.kernel.attached = []run.Attached{{Target: run.Target{Interface: "eth1"}}, {Target: run.Target{Interface: "eth1", Direction: run.Out}}}
		if status, stdout, stderr := f.run(); status != exitDone || strings.Contains(oneWayWarning.ReplaceAllString(stderr, ""), "warning") {
			t.Errorf("%s: exit status %d\n%s%s", line, status, stdout, stderr)
		}
	}
}

// TestHelpNamesTheLanguage: who reads no further than --help knows what there is.
func TestHelpNamesTheLanguage(t *testing.T) {
	t.Parallel()
	_, stdout, _ := newFake(t, "--help").run()
	for _, word := range strings.Fields("drop random hash chance swap atmost or reflect redirect") {
		if !regexp.MustCompile(`\b` + word + `\b`).MatchString(stdout) {
			t.Errorf("--help does not mention %s", word)
		}
	}
	for _, topic := range topics {
		if !strings.Contains(stdout, "repacket help "+topic.name) {
			t.Errorf("--help does not mention help %s", topic.name)
		}
	}
}

// TestTopicsAreOffered: shells offer topics behind help only, and a topic's name alone leads
// to it.
func TestTopicsAreOffered(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]bool{"help": true, "help rules": false, "": false} {
		_, stdout, _ := newFake(t, append(append([]string{"__complete"}, strings.Fields(words)...), "")...).run()
		if got := strings.Contains(stdout, "packets\t"); got != want {
			t.Errorf("behind %q, topics are offered: %v\n%s", words, got, stdout)
		}
	}
	_, stdout, _ := newFake(t, "__complete", "help", "ru").run()
	wantText(t, "help ru", stdout, "rules\t"+topics[0].short+"\n:4\n")
	status, _, stderr := newFake(t, "rules").run()
	wantText(t, "rules", stderr, "repacket: error: unknown command \"rules\"\n  hint: did you mean repacket help rules?\n")
	if status != exitUsage {
		t.Errorf("rules: exit status %d", status)
	}
	if status, _, stderr = newFake(t, "help", "ruels").run(); status != exitUsage || !strings.Contains(stderr, "repacket help rules") {
		t.Errorf("help ruels: exit status %d, %s", status, stderr)
	}
}
