package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeIsShort: a page that is read to the end has at most 8 KB. It names the
// two commands that a fresh machine needs, and requirements come before flags.
func TestReadmeIsShort(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	const limit = 8 << 10
	if len(page) > limit {
		t.Errorf("README.md has %d bytes, more than %d", len(page), limit)
	}
	text := string(page)
	for _, command := range []string{"\nmake demo ", "\nmake test "} {
		if !strings.Contains(text, command) {
			t.Errorf("README.md does not have the command%q", command)
		}
	}
	if requires, flag := strings.Index(text, "Linux 6.1"), strings.Index(text, "--for"); requires < 0 || requires > flag {
		t.Errorf("README.md shows flags (at %d) before the requirements (at %d)", flag, requires)
	}
}

// pages are the Markdown files of the repository.
func pages(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md"} {
		found, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 12 {
		t.Errorf("only %d pages found", len(names))
	}
	return names
}

var (
	link    = regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// TestLinks: every link to a file of the repository leads to a file that is there,
// and to a heading that the file has.
func TestLinks(t *testing.T) {
	tried := 0
	for _, page := range pages(t) {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			tried++
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %v", page, err)
			} else if m[2] != "" && !anchors(string(text))[m[2][1:]] {
				t.Errorf("%s: %s has no heading %s", page, target, m[2])
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d links found", tried)
	}
}

// anchors are the names by which headings are linked to: lower case, blanks as
// hyphens, no punctuation.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		out[strings.ReplaceAll(text, " ", "-")] = true
	}
	return out
}
