package cli

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestShownOutput: what README.md and docs/manual.md show of check, and of rules
// that are rejected, is what the command says.
func TestShownOutput(t *testing.T) {
	t.Parallel()
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
			env.NoSession = true // whoever runs the tests may have come by ssh
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

// TestManualIsComplete: the manual names every flag, in either form, every command
// and every exit status.
func TestManualIsComplete(t *testing.T) {
	content, err := os.ReadFile("../../docs/manual.md")
	if err != nil {
		t.Fatal(err)
	}
	manual := string(content)
	wanted := 0
	want := func(what string, spellings ...string) {
		wanted++
		if !slices.ContainsFunc(spellings, func(s string) bool { return strings.Contains(manual, s) }) {
			t.Errorf("docs/manual.md does not name %s: none of %q", what, spellings)
		}
	}
	a := &app{env: System(), takes: map[*cobra.Command][]string{}}
	a.flags = newFlags(&a.opt)
	a.flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			want("the flag "+f.Name, "`--"+f.Name, "`-"+f.Shorthand+"`", "`-"+f.Shorthand+" ")
		}
	})
	for _, c := range a.commands().Commands() {
		want("the command "+c.Name(), "`"+c.Name()+"`")
	}
	for status := exitDone; status <= exitTaken; status++ {
		want("an exit status", "\n| "+strconv.Itoa(status)+" |")
	}
	if wanted < 25 {
		t.Errorf("only %d names were looked for", wanted)
	}
}
