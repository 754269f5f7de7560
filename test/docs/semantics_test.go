package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCitedSections: every section of docs/semantics.md that a comment cites is on
// the page, and no comment cites what a reader of the repository cannot see.
func TestCitedSections(t *testing.T) {
	page, err := os.ReadFile("../../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (\d+(?:\.\d+)?)\.? `).FindAllStringSubmatch(string(page), -1) {
		sections[m[1]] = true
	}
	cited := 0
	for name, source := range goFiles(t) {
		for _, number := range citations(source) {
			if cited++; !sections[number] {
				t.Errorf("%s cites section %s, which docs/semantics.md does not have", name, number)
			}
		}
		if strings.Contains(source, "of the "+"design") {
			t.Errorf("%s cites the "+"design, which is not in the repository", name)
		}
	}
	if cited < 20 {
		t.Errorf("only %d citations found", cited)
	}
}

// TestCitations: a citation may name several sections and continue on the next
// line of a comment.
func TestCitations(t *testing.T) {
	source := "// a (semantics.md 3.6)\n// b semantics.md\n// 3.1 and 4.4. c semantics.md 2 to 4\n// RFC 9293 section 3.1"
	if got := strings.Join(citations(source), " "); got != "3.6 3.1 4.4 2 4" {
		t.Errorf("citations are %s", got)
	}
}

var (
	commentLine = regexp.MustCompile(`\n\s*// ?`)
	citation    = regexp.MustCompile(`semantics\.md (\d+(?:\.\d+)?)(?:(?:,| and| to) (\d+(?:\.\d+)?))*`)
	sectionName = regexp.MustCompile(`\d+(?:\.\d+)?`)
)

// citations returns the numbers of the sections of docs/semantics.md that a
// source file cites.
func citations(source string) (numbers []string) {
	for _, m := range citation.FindAllString(commentLine.ReplaceAllString(source, " "), -1) {
		numbers = append(numbers, sectionName.FindAllString(m, -1)...)
	}
	return numbers
}

// goFiles returns the text of every Go file of the repository but this one, by
// its path.
func goFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || d.Name() == "semantics_test.go" {
			return err
		}
		source, err := os.ReadFile(path)
		files[path] = string(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
