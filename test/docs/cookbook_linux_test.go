package docs

import (
	"bytes"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/cli"
	"repacket/internal/engine"
	"repacket/internal/rule"
	"repacket/test/needs"
)

// recipe is an entry of docs/cookbook.md.
type recipe struct {
	title string
	// commands are the words of each command line of repacket, without the name itself
	// and what stands before it.
	commands [][]string
	text     string // all of the entry
}

// tried reports whether the page says that the recipe has been run on real packets.
func (r recipe) tried() bool { return strings.Contains(r.text, "**Tried.**") }

// warned reports whether the command warns of what the recipe does not take care of. Where it
// has a command for each direction, that TCP needs the other one is no news.
func (r recipe) warned(said string) bool {
	out := slices.IndexFunc(r.commands, func(c []string) bool { return slices.Contains(c, "out") })
	if in := slices.IndexFunc(r.commands, func(c []string) bool { return !slices.Contains(c, "out") }); out >= 0 && in >= 0 {
		said = strings.ReplaceAll(said, "warning: TCP connections do not survive this: their packets of the other direction keep", "")
	}
	if strings.Contains(r.text, "whoever uses the new") { // and so it warns itself
		said = strings.ReplaceAll(said, "warning: whoever talks to", "")
	}
	return strings.Contains(said, "warning")
}

// ourCommand is repacket where a line calls it, behind other programs too.
var ourCommand = regexp.MustCompile(`(^|^ip netns .* |^nsenter .* |^ExecStart=/usr/local/bin/)repacket `)

// cookbook reads docs/cookbook.md.
func cookbook(t *testing.T) (all []recipe) {
	t.Helper()
	content, err := os.ReadFile("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range strings.Split(string(content), "\n### ")[1:] {
		entry, _, _ = strings.Cut(entry, "\n## ")
		title, _, _ := strings.Cut(entry, "\n")
		r := recipe{title: title, text: entry}
		for line := range strings.Lines(entry) {
			if at := ourCommand.FindStringIndex(line); at != nil {
				r.commands = append(r.commands, words(t, strings.TrimSpace(line[at[1]:])))
			}
		}
		all = append(all, r)
	}
	return all
}

// checked is a command as one that only checks.
func checked(command []string) []string {
	if command[0] == "attach" || command[0] == "replace" {
		command = command[1:]
	}
	return append([]string{"check"}, command...)
}

// cookbookFiles are the files that the recipes name.
var cookbookFiles = map[string]string{
	"moves.csv":   "old,new\n192.0.2.1,198.51.100.7\n192.0.2.2,198.51.100.9\n",
	"blocked.csv": "address\n192.0.2.1\n198.51.100.0/24\n",
	"rules.txt":   "if all then dscp 0\n",
	"eth1.rules":  "if all then dscp 0\n",
}

// TestCookbookCommands: a shell and the command take every line of the cookbook, and have
// nothing to warn of. Each entry says in a sentence what it is for and what others call it.
func TestCookbookCommands(t *testing.T) {
	recipes := cookbook(t)
	if len(recipes) < 40 {
		t.Fatalf("only %d recipes found", len(recipes))
	}
	t.Chdir(t.TempDir())
	for name, content := range cookbookFiles {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range recipes {
		if len(r.commands) == 0 || len(r.commands) != strings.Count(r.text, "repacket -i")+strings.Count(r.text, "repacket -r")+strings.Count(r.text, "repacket attach -i")+strings.Count(r.text, "repacket replace -i") {
			t.Errorf("%s: %d commands found in\n%s", r.title, len(r.commands), r.text)
		}
		if _, names, _ := strings.Cut(r.text, "*Elsewhere:*"); len(strings.Fields(names)) < 3 {
			t.Errorf("%s does not say what other tools call it", r.title)
		}
		for _, command := range r.commands {
			for i := range command {
				command[i] = strings.TrimPrefix(command[i], "/etc/repacket/")
			}
			var said bytes.Buffer
			env := cli.System()
			env.NoSession = true // whoever runs the tests may have come by ssh
			env.Args, env.Stdout, env.Stderr = checked(command), &said, &said
			if status := cli.Run(env); status != 0 || r.warned(said.String()) {
				t.Errorf("%s: %s: exit status %d\n%s", r.title, command, status, said.String())
			}
		}
	}
}

// TestCookbookCounted: pages that say how many tasks there are say it right.
func TestCookbookCounted(t *testing.T) {
	tasks := strconv.Itoa(len(cookbook(t))) + " tasks"
	for _, page := range []string{"README.md", "CHANGELOG.md", "docs/manual.md"} {
		content, err := os.ReadFile("../../" + page)
		if err != nil || !strings.Contains(string(content), tasks) {
			t.Errorf("%s does not say that the cookbook has %s: %v", page, tasks, err)
		}
	}
}

// TestCookbookRules: the kernel takes the rules of every recipe, and they act on synthetic
// packets as the reference says.
func TestCookbookRules(t *testing.T) {
	needs.Kernel(t)
	open := func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(cookbookFiles[name])), nil
	}
	for _, r := range cookbook(t) {
		for _, command := range r.commands {
			begin := slices.Index(command, "if")
			if begin < 0 {
				continue // -f
			}
			p, err := rule.CheckWith(strings.Join(command[begin:], " "), rule.Options{Open: open})
			if err != nil {
				t.Errorf("%s: %v", r.title, err)
				continue
			}
			for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
				if h == bpf.XDP && slices.Contains(command, "out") {
					continue
				}
				proof, err := engine.SelfTest(p, engine.LoadOptions{Hook: h, Redirect: map[string]int{"eth2": 9}}, 200)
				if err != nil || proof.Acted == 0 {
					t.Errorf("%s: %s, at %v: %+v, %v", r.title, command, h, proof, err)
				}
			}
		}
	}
}
