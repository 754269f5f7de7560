package rulegen_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/test/rulegen"
)

// TestRowsAreRules: a rule with rows means one rule a row, in their order, and
// what is read from the file is what is written in it.
func TestRowsAreRules(t *testing.T) {
	t.Parallel()
	r, valid, acted, refused := source(60), 0, 0, map[string]int{}
	const n = 500
	for i := range n {
		s := everything.Source(r)
		p, err := s.Check()
		if err != nil {
			meaning := slices.ContainsFunc([]string{"nothing can match", "do not go together", "no packet has both"},
				func(reason string) bool { return strings.Contains(err.Error(), reason) })
			if !meaning {
				t.Fatalf("%v\n%s\n%v", err, s.Text, s.Files)
			}
			refused[err.Error()]++
			continue
		}
		valid++
		for range 5 {
			frame := packetgen.Frame(r, p)
			draws := reference.Seeded(uint64(i))
			got := reference.RunDrawn(field.Ethernet, p, frame, draws)
			want := reference.RunDrawn(field.Ethernet, p.WrittenOut(), frame, draws)
			got.Rule, want.Rule, got.Passed, want.Passed = 0, 0, 0, 0 // a rule with rows is one rule
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s\n%v\n%x\n(- row by row, + rows)\n%s", s.Text, s.Files, frame, diff)
			}
			if got.Index >= 0 {
				acted++
			}
		}
	}
	if valid < n*7/10 || acted < valid*5*4/10 {
		t.Errorf("%d of %d programs are valid, on %d of %d frames a rule acts; refused: %v", valid, n, acted, 5*valid, refused)
	}
}

// TestSourcesCoverTheLanguage: a column occurs wherever one can stand.
func TestSourcesCoverTheLanguage(t *testing.T) {
	t.Parallel()
	r, seen := source(61), map[string]bool{}
	for range 600 {
		p, err := everything.Source(r).Check()
		if err != nil {
			continue
		}
		for _, x := range p.Rules {
			if x.Rows == nil {
				continue
			}
			walk(x.Cond, func(e rule.Test) {
				if len(e.Cells) > 0 {
					c := x.Rows.Cells[e.Cells[0]]
					seen[fmt.Sprint("test ", c.Compare, e.Not, len(e.Cells) > 1, len(e.In) > 0)] = true
				}
			})
			for _, a := range x.Actions {
				if a.Cell > 0 {
					seen[fmt.Sprint("action ", a.Op)] = true
				}
			}
		}
	}
	var want []string
	for _, op := range []operand.Op{operand.Set, operand.Prefix, operand.Add, operand.Sub, operand.AtLeast, operand.AtMost} {
		want = append(want, fmt.Sprint("action ", op))
	}
	for _, list := range []string{"false false false", "false true false", "false false true", "true false false", "true true true"} {
		want = append(want, "test "+list)
	}
	for _, compare := range []string{"lt", "le", "gt", "ge"} {
		want = append(want, "test "+compare+"false false false")
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("never: %q; there are %q", w, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// TestFramesHitRows: frames are made for the first row, the last and others.
func TestFramesHitRows(t *testing.T) {
	t.Parallel()
	var csv strings.Builder
	const rows = 10_000
	csv.WriteString("old,new\n")
	for i := range rows {
		fmt.Fprintf(&csv, "10.0.%d.%d,%d\n", i>>8, i&255, i)
	}
	s := rulegen.Source{Text: "if ip_dest @old then ip_id @new from a.csv", Files: rulegen.Files{"a.csv": csv.String()}}
	p, err := s.Check()
	if err != nil {
		t.Fatal(err)
	}
	r, hit := source(62), map[uint64]int{}
	for range 200 {
		frame := packetgen.Frame(r, p)
		if result := reference.Run(p, frame); result.Rule == 0 {
			at := bytes.Index(result.Frame, []byte{8, 0, 0x45}) + 2 // no tags, no options
			if at == 1 {
				continue
			}
			hit[uint64(result.Frame[at+4])<<8|uint64(result.Frame[at+5])]++
		}
	}
	if hit[0] < 10 || hit[rows-1] < 10 || len(hit) < 20 {
		t.Errorf("the first row acts %d times, the last %d, and %d rows do", hit[0], hit[rows-1], len(hit))
	}
}

// TestShrinkSource: of many rows the one that matters is left.
func TestShrinkSource(t *testing.T) {
	t.Parallel()
	s := rulegen.Source{
		Text:  "if tcp then ip_ttl 5; if ip_dest @a udp then udp_dest @b, ip_ttl 7 from x.csv",
		Files: rulegen.Files{"x.csv": "\ufeffa,b,c\r\n10.0.0.1,5,6\r\n\r\n10.0.0.2,\"77\",8\r\n10.0.0.3,9,9\r\n"},
	}
	frame := bytes.Repeat([]byte{7}, 100)
	fails := func(s rulegen.Source, _ []byte) bool {
		p, err := s.Check()
		if err != nil {
			return false
		}
		return slices.ContainsFunc(p.WrittenOut().Rules, func(r *rule.Rule) bool { // some udp_dest is set to 77
			return slices.ContainsFunc(r.Actions, func(a rule.Action) bool { return a.Field.Name == "udp_dest" && a.Value == field.V(77) })
		})
	}
	small, bits := rulegen.ShrinkSource(s, frame, fails)
	want := rulegen.Source{
		Text:  "if all then udp_dest @b from x.csv",
		Files: rulegen.Files{"x.csv": "a,b,c\n0,77,0\n"},
	}
	if diff := cmp.Diff(want, small); diff != "" || len(bits) != 14 {
		t.Errorf("a frame of %d bytes, (- want, + got)\n%s", len(bits), diff)
	}
}

// TestExamples: each rule in examples.txt acts on a packet that is made for it, and changes it or sends it elsewhere.
func TestExamples(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../internal/rule/testdata/examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	files := rulegen.Files{"moves.csv": "old,new\n10.0.0.1,10.1.0.1\n10.0.0.2,10.1.0.2\n"}
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		_, text, _ := strings.Cut(line, "if ")
		s := rulegen.Source{Text: "if " + text, Files: files}
		p, err := s.Check()
		if err != nil {
			t.Fatalf("%s%v", line, err)
		}
		r, changed := source(63), false
		for range 200 {
			frame := packetgen.Frame(r, p)
			got := reference.Run(p, frame)
			changed = changed || got.Rewritten && (got.Verdict != rule.Pass || !bytes.Equal(got.Frame, frame))
		}
		if !changed {
			t.Errorf("no packet is changed: %s", line)
		}
	}
}
