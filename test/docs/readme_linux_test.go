package docs

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"repacket/internal/cli"
	"repacket/internal/demo"
	"repacket/test/needs"
)

// TestReadmeExamples: a shell and `check` take every line of rules that README.md
// and docs/manual.md show.
func TestReadmeExamples(t *testing.T) {
	shown := append(blocks(t, "../../README.md"), blocks(t, "../../docs/manual.md")...)
	files := map[string]string{"rules": "rules.txt", "csv": "moves.csv"}
	written := blocks(t, "../../docs/language.md")
	t.Chdir(t.TempDir())
	for _, b := range written { // the first of a kind stays
		name, wanted := files[b.kind]
		if delete(files, b.kind); wanted {
			if err := os.WriteFile(name, []byte(strings.Join(b.lines, "\n")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tried := 0
	for _, b := range shown {
		if b.kind != "sh" {
			continue
		}
		for _, line := range b.lines {
			rest, ours := strings.CutPrefix(line, "repacket ")
			args := []string{"check"}
			if ours {
				args = append(args, words(t, rest)...)
			}
			if len(args) > 1 && slices.Contains([]string{"attach", "replace"}, args[1]) {
				args = slices.Delete(args, 1, 2)
			}
			if !slices.ContainsFunc(args, func(w string) bool { return strings.Contains(w, "if ") || w == "if" || w == "-f" }) {
				continue
			}
			tried++
			var said bytes.Buffer
			env := cli.System()
			env.NoSession = true // whoever runs the tests may have come by ssh
			env.Args, env.Stdout, env.Stderr = args, &said, &said
			if status := cli.Run(env); status != 0 {
				t.Errorf("%s: exit status %d\n%s", line, status, said.String())
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d examples found", tried)
	}
}

// TestReadmeDemo: the recording in the README is what the demo prints.
func TestReadmeDemo(t *testing.T) {
	needs.Kernel(t)
	var out bytes.Buffer
	if err := demo.Run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	compare(t, "the README", shown(t, "../../README.md", "$ make demo\n"), out.String())
}

// TestManualVerify: what the manual shows of verify is what it says. On a machine that does other things, too,
// the program can seem to take no time, of which verify says nothing: then it is asked again.
func TestManualVerify(t *testing.T) {
	needs.Kernel(t)
	const words = "verify if udp_src 53 then ip_dscp ef"
	said := ""
	for attempt := 0; attempt < 10 && !strings.Contains(said, "takes:"); attempt++ {
		var out bytes.Buffer
		env := cli.System()
		env.NoSession = true // whoever runs the tests may have come by ssh
		env.Args = strings.Fields(words)
		env.Stdout, env.Stderr = &out, &out
		if status := cli.Run(env); status != 0 {
			t.Fatalf("exit status %d\n%s", status, &out)
		}
		said = out.String()
	}
	compare(t, "the manual", shown(t, "../../docs/manual.md", "$ repacket "+words+"\n"), said)
}

// shown is what a page shows behind a command, up to the end of the block.
func shown(t *testing.T, page, command string) string {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(content), command)
	text, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("%s does not show %s", page, command)
	}
	return text
}

// measured are the numbers that differ from run to run: checksums, times, and
// the instructions and packets of verify.
var measured = regexp.MustCompile(`0x[0-9a-f]{4}|[0-9]+\.[0-9]+|[0-9]+ instructions|acted on: [0-9]+`)

// compare compares two outputs but for what is measured.
func compare(t *testing.T, page, want, got string) {
	t.Helper()
	if measured.ReplaceAllString(want, "N") != measured.ReplaceAllString(got, "N") {
		t.Errorf("the command says\n%s\n%s shows\n%s", got, page, want)
	}
}
