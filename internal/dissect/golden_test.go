package dissect_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/dissect"
	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/run"
)

var update = flag.Bool("update", false, "write what the code says into the golden file")

// TestShown compares with testdata/shown.txt. Lines that begin with "$ " are a frame in
// hexadecimal, ways to show it, a bar, and rules, which the reference carries out; below
// stands what is expected.
func TestShown(t *testing.T) {
	t.Parallel()
	const file = "testdata/shown.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(data), "$ ")
	out := head
	for block := range strings.SplitSeq(rest, "\n$ ") {
		command, want, _ := strings.Cut(strings.TrimRight(block, "\n")+"\n", "\n")
		got := shown(t, command)
		out += "$ " + command + "\n" + strings.TrimRight(got, "\n") + "\n\n"
		if diff := cmp.Diff(strings.TrimRight(want, "\n"), strings.TrimRight(got, "\n")); diff != "" && !*update {
			t.Errorf("%s\n(- want, + got)\n%s", command, diff)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimRight(out, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is what a command of the golden file comes to.
func shown(t *testing.T, command string) string {
	t.Helper()
	ways, source, _ := strings.Cut(command, " | ")
	words := strings.Fields(ways)
	frame, err := hex.DecodeString(words[0])
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	has := func(word string) bool { return slices.Contains(words, word) }
	number := func(name string) (n int) {
		for _, w := range words {
			if value, ok := strings.CutPrefix(w, name+"="); ok {
				if _, err := fmt.Sscan(value, &n); err != nil {
					t.Fatal(err)
				}
			}
		}
		return n
	}
	p := run.Packet{
		Time:              time.Date(2026, 11, 30, 16, 20, 31, 4512000, time.UTC),
		Program:           mustCheck(source),
		OffloadedChecksum: has("offloaded"),
		Segments:          number("segments"),
	}
	if has("raw") {
		p.Link = field.RawIP
	}
	result := reference.RunOn(p.Link, p.Program, frame)
	if result.Rule < 0 {
		t.Fatalf("%s: no rule acts", command)
	}
	p.Rule, p.Length, p.Before, p.After = result.Index, len(frame), frame, result.Frame
	if captured := number("captured"); captured > 0 {
		p.Before, p.After = p.Before[:captured], p.After[:captured]
	}
	if result.Verdict == rule.Drop {
		p.After = nil
	}
	return inWays(t, dissect.New(&p), has, number("width"))
}

// inWays is a packet in each of the ways that are asked for.
func inWays(t *testing.T, d dissect.Packet, has func(string) bool, width int) (text string) {
	style := dissect.Style{Color: has("color"), Width: width}
	if has("block") {
		text += d.Block(style)
	} else {
		text += d.Line(style) + "\n"
	}
	if has("bytes") {
		text += d.Bytes(style)
	}
	if has("json") {
		before, after := d.Objects()
		for _, o := range []dissect.Object{before, after} {
			line, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			text += string(line) + "\n"
		}
	}
	return strings.ReplaceAll(text, "\x1b", "ESC")
}
