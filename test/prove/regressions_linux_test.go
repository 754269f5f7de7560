package prove

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"repacket/internal/field"
)

// regressions is where found differences are kept: the rules, a line with
// three dashes, the frame in hexadecimal. Names that begin with raw are of links
// without Ethernet.
const (
	regressions = "testdata/regressions"
	rawPrefix   = "raw-"
)

// keep writes a found difference down.
func keep(link field.Link, text string, frame []byte) (string, error) {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s%x", text, frame)
	prefix := ""
	if link == field.RawIP {
		prefix = rawPrefix
	}
	name := filepath.Join(regressions, fmt.Sprintf("%s%08x.txt", prefix, h.Sum32()))
	return name, os.WriteFile(name, fmt.Appendf(nil, "%s\n---\n%x\n", strings.TrimSpace(text), frame), 0o644)
}

// TestRegressions: what once differed does not differ again.
func TestRegressions(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(regressions, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no regressions found: %v", err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text, dump, ok := strings.Cut(string(content), "\n---\n")
		frame, err := hex.DecodeString(strings.TrimSpace(dump))
		if !ok || err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		link := field.Ethernet
		if strings.HasPrefix(filepath.Base(f), rawPrefix) {
			link = field.RawIP
		}
		if d := differenceOf(link, text, frame, everyWay...); d != nil {
			t.Errorf("%s: %s\n%v", f, text, d)
		}
	}
}
