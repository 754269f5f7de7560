package docs

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"repacket/internal/cli"
)

// TestReadmeExamples: a shell and `check` take every line of rules that the
// README shows.
func TestReadmeExamples(t *testing.T) {
	shown := blocks(t, "../../README.md")
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
