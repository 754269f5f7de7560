package prove

import (
	"encoding/binary"
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
// three dashes, the frame in hexadecimal and, where there are any, the random
// numbers in another line, 32 bits each. Names that begin with raw are of links
// without Ethernet.
const (
	regressions = "testdata/regressions"
	rawPrefix   = "raw-"
)

// keep writes a found difference down.
func keep(link field.Link, text string, p packet) (string, error) {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s%x", text, p.frame)
	prefix := ""
	if link == field.RawIP {
		prefix = rawPrefix
	}
	name := filepath.Join(regressions, fmt.Sprintf("%s%08x.txt", prefix, h.Sum32()))
	content := fmt.Appendf(nil, "%s\n---\n%x\n", strings.TrimSpace(text), p.frame)
	for i, n := range p.draws {
		content = fmt.Appendf(content, "%08x", n)
		if i == len(p.draws)-1 {
			content = append(content, '\n')
		}
	}
	return name, os.WriteFile(name, content, 0o644)
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
		p, err := readPacket(dump)
		if !ok || err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		link := field.Ethernet
		if strings.HasPrefix(filepath.Base(f), rawPrefix) {
			link = field.RawIP
		}
		if d := differenceOf(link, text, p, everyWay...); d != nil {
			t.Errorf("%s: %s\n%v", f, text, d)
		}
	}
}

// readPacket reads what keep has written behind the dashes.
func readPacket(dump string) (p packet, err error) {
	first, second, _ := strings.Cut(strings.TrimSpace(dump), "\n")
	if p.frame, err = hex.DecodeString(first); err != nil {
		return p, err
	}
	draws, err := hex.DecodeString(second)
	for ; len(draws) >= 4; draws = draws[4:] {
		p.draws = append(p.draws, binary.BigEndian.Uint32(draws))
	}
	return p, err
}
