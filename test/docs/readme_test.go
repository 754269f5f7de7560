package docs

import (
	"io"
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
		if _, err := rule.CheckWith(strings.Trim(line[start:], " '"), rule.Options{Open: moves}); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if tried < 15 {
		t.Errorf("only %d lines found", tried)
	}
}

// moves is the file that lines of the page take rows from.
func moves(string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("old,new\n192.0.2.1,198.51.100.7\n")), nil
}
