// Package docs keeps the documents true.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSafetyNamesTests: every test that docs/safety.md names is there, in the
// package that it names.
func TestSafetyNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/safety.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`\\s+in\\s+`([\\w/]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 15 {
		t.Errorf("the page names %d tests", len(named))
	}
	if all := strings.Count(string(page), "`Test"); all != len(named) {
		t.Errorf("the page names %d tests, %d of them with their package", all, len(named))
	}
	for _, m := range named {
		if !defined(t, "../../"+m[2], m[1]) {
			t.Errorf("%s is not in %s", m[1], m[2])
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
