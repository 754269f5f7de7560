// Package docs keeps the documents true.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSafetyNamesTests: every test that the pages of promises and of threats name is there, in the
// package that they name.
func TestSafetyNamesTests(t *testing.T) {
	for name, least := range map[string]int{"safety.md": 15, "threats.md": 30} {
		page, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`(Test\\w+)`\\s+in\\s+`([\\w/]+)`").FindAllStringSubmatch(string(page), -1)
		if len(named) < least {
			t.Errorf("%s names %d tests", name, len(named))
		}
		if all := strings.Count(string(page), "`Test"); all != len(named) {
			t.Errorf("%s names %d tests, %d of them with their package", name, all, len(named))
		}
		for _, m := range named {
			if !defined(t, "../../"+m[2], m[1]) {
				t.Errorf("%s: %s is not in %s", name, m[1], m[2])
			}
		}
	}
}

// defined reports whether a test function is in a folder.
func defined(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
