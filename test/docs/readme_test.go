package docs

import (
	"os"
	"strings"
	"testing"

	"repacket/internal/rule"
)

// TestReadmeLines: every line of the README that runs rules has rules that are
// valid, without a warning that its reader would wonder at.
func TestReadmeLines(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for line := range strings.Lines(string(page)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		line = strings.TrimPrefix(strings.TrimPrefix(line, "$ "), "sudo ")
		if !strings.HasPrefix(line, "repacket ") || !strings.Contains(line, "if ") || strings.Contains(line, "tcp_cwr") {
			continue // the last one is shown being refused
		}
		start := strings.Index(line, "if ")
		if quote := strings.IndexByte(line, '\''); quote >= 0 {
			start = quote + 1
		}
		tried++
		if _, err := rule.Check(strings.Trim(line[start:], " '")); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if tried < 15 {
		t.Errorf("only %d lines found", tried)
	}
}
