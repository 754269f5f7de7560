package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"repacket/test/needs"
)

const (
	commandManualFile = "../../docs/man/man8/repacket.8"
	rulesManualFile   = "../../docs/man/man5/repacket-rules.5"
)

// TestManPages: the manual pages are what the tables say.
func TestManPages(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{commandManualFile: commandManual(), rulesManualFile: rulesManual()} {
		if *update {
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(want), 0o644))
		}
		got, err := os.ReadFile(file)
		must(t, err)
		if string(got) != want {
			t.Errorf("%s is not what the tables say: make docs", file)
		}
	}
}

// mandoc runs mandoc(1) on a page. The pages are the only ones that the machine has, for mandoc
// looks there for those that a page refers to.
func mandoc(t *testing.T, page string, args ...string) string {
	t.Helper()
	const script = `mount -t tmpfs man /usr/share/man && cp -R ../../docs/man/* /usr/share/man &&
		makewhatis /usr/share/man && exec mandoc "$@"`
	cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "mandoc", page}, args...)...)
	out, err := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status > 6 || status < 0 { // 6 is what it says of itself (mandoc(1))
		t.Fatalf("mandoc (make deps installs it): %v\n%s", err, out)
	}
	return string(out)
}

// TestManPagesLint: mandoc finds nothing to say about the pages, and does about another one.
func TestManPagesLint(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	wrong := filepath.Join(t.TempDir(), "wrong.8")
	must(t, os.WriteFile(wrong, []byte(".Dd today\n.Dt WRONG 8\n.Os\n.Sh NAME\n.Nm wrong\n"), 0o600))
	if mandoc(t, wrong, "-T", "lint") == "" {
		t.Error("mandoc finds nothing wrong with a page that is")
	}
	for _, page := range []string{commandManualFile, rulesManualFile} {
		if said := mandoc(t, page, "-T", "lint"); said != "" {
			t.Errorf("mandoc -T lint:\n%s", said)
		}
		for line := range strings.Lines(backspaced.ReplaceAllString(mandoc(t, page, "-T", "utf8"), "")) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%s has a line of %d columns: %s", page, n, line)
			}
		}
	}
}

// TestManPageSaysWhatHelpSays: repacket-rules(5), as mandoc shows it, has the words of help
// rules, section by section and in the same order.
func TestManPageSaysWhatHelpSays(t *testing.T) {
	needs.Kernel(t)
	t.Parallel()
	_, help, _ := newFake(t, "help", "rules").run()
	shownPage := strings.TrimSpace(mandoc(t, rulesManualFile, "-T", "utf8"))
	page := sections(shownPage[:strings.LastIndex(shownPage, "\n")]) // without the footer
	shown := sections(help)
	if len(shown) < 7 {
		t.Fatalf("help rules has only %d sections", len(shown))
	}
	for title, want := range shown {
		got := page[title]
		if title == "SEE ALSO" {
			got = slices.DeleteFunc(got, func(word string) bool { return word == "repacket(8)" })
		}
		for i := range max(len(got), len(want)) {
			if i >= min(len(got), len(want)) || got[i] != want[i] {
				t.Errorf("%s: the page has\n%q\nand help rules\n%q", title, got[min(i, len(got)):], want[min(i, len(want)):])
				break
			}
		}
	}
}

// sections are the words under each heading, which is not indented. The sign that a command
// goes on in the next line is none.
func sections(text string) map[string][]string {
	out := map[string][]string{}
	title := ""
	for line := range strings.Lines(text) {
		line = backspaced.ReplaceAllString(line, "")
		if heading.MatchString(line) {
			title = strings.TrimSpace(line)
			continue
		}
		out[title] = append(out[title], slices.DeleteFunc(strings.Fields(line), func(word string) bool { return word == "\\" })...)
	}
	return out
}

var (
	heading    = regexp.MustCompile(`^[A-Z][A-Z ]+\n$`)
	backspaced = regexp.MustCompile(`.\x08`) // how mandoc shows bold and underlined letters
)
