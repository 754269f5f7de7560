package rule

import (
	"os"
	"strings"
	"testing"
)

// TestExamples: the lines of examples.txt pass the checker without a warning.
func TestExamples(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		_, text, _ := strings.Cut(line, "if ")
		p := mustCheckRows(t, "if "+text)
		for _, w := range p.Warnings {
			if text != strings.TrimPrefix(spoilingExample, "if ")+"\n" {
				t.Error(w.Format())
			}
		}
		checkReprint(t, line, p)
		n++
	}
	if n != 22 {
		t.Errorf("%d examples", n)
	}
}

// spoilingExample is what people say and what stops IPv6: they are warned.
const spoilingExample = "if all then ttl 65"
