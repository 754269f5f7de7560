package metrics_test

import (
	"os"
	"strings"
	"testing"

	"repacket/internal/run"
)

// TestPage: docs/metrics.md names every metric with its labels, and every reason.
func TestPage(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for key := range samples(t, written(t, example())) {
		name, labels, _ := strings.Cut(key, " ")
		row := "\n| `" + name + "` |"
		for label := range strings.FieldsSeq(labels) {
			label, _, _ = strings.Cut(label, "=")
			row += " `" + label + "`"
		}
		if !strings.Contains(page, row+" |") {
			t.Errorf("there is no row %q", row)
		}
	}
	for _, reason := range run.SkipReasons() {
		if !strings.Contains(page, "`"+string(reason)+"`") {
			t.Errorf("the reason %s is not there", reason)
		}
	}
}
