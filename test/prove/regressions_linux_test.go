package prove

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"repacket/internal/field"
	"repacket/test/needs"
	"repacket/test/rulegen"
)

// regressions is where found differences are kept: the rules, a line with
// three dashes, the frame in hexadecimal and, where there are any, the random
// numbers in another line, 32 bits each; then the files of rows, each behind a
// line with three dashes and its name. Names that begin with raw are of links
// without Ethernet, and behind that with replies of programs for packets of the other direction.
const (
	regressions   = "testdata/regressions"
	rawPrefix     = "raw-"
	repliesPrefix = "replies-"
)

// keep writes a found difference down.
func keep(link field.Link, s rulegen.Source, p packet) (string, error) {
	h := fnv.New32a()
	fmt.Fprintf(h, "%s%x", s.Text, p.frame)
	prefix := ""
	if link == field.RawIP {
		prefix = rawPrefix
	}
	if s.Replies {
		prefix += repliesPrefix
	}
	name := filepath.Join(regressions, fmt.Sprintf("%s%08x.txt", prefix, h.Sum32()))
	content := fmt.Appendf(nil, "%s\n---\n%x\n", strings.TrimSpace(s.Text), p.frame)
	for i, n := range p.draws {
		content = fmt.Appendf(content, "%08x", n)
		if i == len(p.draws)-1 {
			content = append(content, '\n')
		}
	}
	for _, file := range slices.Sorted(maps.Keys(s.Files)) {
		content = fmt.Appendf(content, "--- %s\n%s", file, s.Files[file])
	}
	return name, os.WriteFile(name, content, 0o644)
}

// TestRegressions: what once differed does not differ again.
func TestRegressions(t *testing.T) {
	needs.Kernel(t)
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
		dump, files := readFiles(dump)
		p, err := readPacket(dump)
		if !ok || err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		name, raw := strings.CutPrefix(filepath.Base(f), rawPrefix)
		link := field.Ethernet
		if raw {
			link = field.RawIP
		}
		s := rulegen.Source{Text: text, Files: files, Replies: strings.HasPrefix(name, repliesPrefix)}
		d, err := differenceOf(link, s, p, everyWay...)
		if err != nil || d != "" {
			t.Errorf("%s: %s\n%s%v", f, text, d, err)
		}
	}
}

// readFiles reads the files of rows that keep has written, and gives what stands
// before them.
func readFiles(content string) (rest string, files rulegen.Files) {
	parts := strings.Split(content, "--- ")
	files = rulegen.Files{}
	for _, part := range parts[1:] {
		name, rows, _ := strings.Cut(part, "\n")
		files[name] = rows
	}
	return parts[0], files
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
