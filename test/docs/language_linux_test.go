package docs

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"repacket/internal/bpf"
	"repacket/internal/engine"
	"repacket/internal/rule"
	"repacket/test/needs"
)

// block is a fenced piece of a page.
type block struct {
	kind  string
	lines []string
}

// blocks are the fenced pieces of a page that have a kind.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	inside := false
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			inside, out = true, append(out, block{kind: kind})
		case fence:
			inside = false
		case inside:
			last := &out[len(out)-1]
			last.lines = append(last.lines, line)
		}
	}
	return out
}

// words are what a shell makes of the words behind a command.
func words(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "repacket() { printf '%s\\n' \"$@\"; }; repacket "+line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: the shell says %s", line, out)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// program is the rules of a line.
func program(t *testing.T, line string) string {
	t.Helper()
	return strings.TrimPrefix(strings.Join(words(t, line), " "), "-Q out ")
}

// lessons are the pages whose rules run.
var lessons = []string{"../../docs/language.md", "../../docs/semantics.md"}

// lessonBlocks are the fenced pieces of all lessons.
func lessonBlocks(t *testing.T) (all []block) {
	t.Helper()
	for _, page := range lessons {
		all = append(all, blocks(t, page)...)
	}
	return all
}

// TestLanguageExamples: the kernel takes every example of docs/language.md and
// docs/semantics.md, and does on synthetic packets what the reference says.
func TestLanguageExamples(t *testing.T) {
	needs.Kernel(t)
	tried := 0
	for _, b := range lessonBlocks(t) {
		if b.kind != "repacket" {
			continue
		}
		for _, line := range b.lines {
			tried++
			p, err := rule.Check(program(t, line))
			if err != nil {
				t.Errorf("%s: %v", line, err)
				continue
			}
			for _, h := range []bpf.Hook{bpf.XDP, bpf.TC} {
				o := engine.LoadOptions{Hook: h, Redirect: map[string]int{"eth2": 9}}
				proof, err := engine.SelfTest(p, o, 200)
				if err != nil {
					t.Errorf("%s: %v", line, err)
				} else if proof.Acted == 0 {
					t.Errorf("%s: acted on none of %d packets", line, proof.Packets)
				}
			}
		}
	}
	if tried < 55 {
		t.Errorf("only %d examples found", tried)
	}
}

// TestLanguageFiles: the files of rules on the page run, with the rows that stand
// before them.
func TestLanguageFiles(t *testing.T) {
	needs.Kernel(t)
	tried, rows := 0, ""
	for _, b := range blocks(t, "../../docs/language.md") {
		text := strings.Join(b.lines, "\n")
		switch b.kind {
		case "csv":
			rows = text
		case "rules":
			tried++
			p, err := rule.CheckWith(text, rule.Options{Open: func(string) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(rows)), nil
			}})
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if proof, err := engine.SelfTest(p, engine.LoadOptions{}, 200); err != nil || proof.Acted == 0 {
				t.Errorf("%s: %+v, %v", text, proof, err)
			}
		}
	}
	if tried < 2 {
		t.Errorf("only %d examples found", tried)
	}
}

// TestLanguageRejected: what the pages say is rejected is, in these words.
func TestLanguageRejected(t *testing.T) {
	tried := 0
	for _, b := range lessonBlocks(t) {
		if b.kind != "rejected" {
			continue
		}
		for i := 0; i+1 < len(b.lines); i += 2 {
			tried++
			want := strings.TrimPrefix(b.lines[i+1], "! ")
			if _, err := rule.Check(program(t, b.lines[i])); err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", b.lines[i], err, want)
			}
		}
	}
	if tried < 12 {
		t.Errorf("only %d examples found", tried)
	}
}
