package cli

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestShownOutput: what README.md and docs/manual.md show of check, and of rules
// that are rejected, is what the command says.
func TestShownOutput(t *testing.T) {
	compared := 0
	for _, page := range []string{"../../README.md", "../../docs/manual.md"} {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range strings.Split(string(content), "\n$ repacket ")[1:] {
			line, want, _ := strings.Cut(shown, "\n")
			want, _, _ = strings.Cut(want, "```")
			args := strings.Fields(line)
			if !slices.Contains([]string{"check", "if"}, args[0]) {
				continue
			}
			compared++
			var said bytes.Buffer
			env := System()
			env.Args = append([]string{"check"}, strings.Fields(strings.TrimPrefix(line, "check "))...)
			env.Stdout, env.Stderr = &said, &said
			Run(env)
			if said.String() != want {
				t.Errorf("%s: repacket %s says\n%s, the page\n%s", page, line, said.String(), want)
			}
		}
	}
	if compared < 3 {
		t.Errorf("only %d outputs found", compared)
	}
}
