package dissect_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"repacket/internal/dissect"
	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/reference"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/test/rulegen"
)

// rewritten is a packet and what the reference makes of it.
type rewritten struct {
	link   field.Link
	result reference.Result
	packet dissect.Packet
}

// forRewritten gives check packets on which rules of random programs act.
func forRewritten(t *testing.T, check func(t *rapid.T, c rewritten)) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		link := field.Link(r.IntN(2))
		p, err := rule.Check(rulegen.Style{Link: link, Operands: true}.Program(r))
		if err != nil {
			return
		}
		for _, in := range packetgen.FramesOn(link, r, p, 10) {
			result := reference.RunDrawn(link, p, in, reference.Seeded(r.Uint64()))
			if result.Rule < 0 {
				continue
			}
			packet := run.Packet{Program: p, Rule: result.Index, Link: link, Length: len(in), Before: in, After: result.Frame}
			if result.Verdict == rule.Drop {
				packet.After = nil
			}
			check(t, rewritten{link, result, dissect.New(&packet)})
		}
	})
}

// matches fails where a rule does not match a frame.
func (c rewritten) matches(t *rapid.T, source string, frame []byte) {
	p, err := rule.Check(source)
	if err != nil {
		t.Fatalf("%s\n%v\nof %x", source, err, frame)
	}
	if reference.RunOn(c.link, p, frame).Rule < 0 {
		t.Fatalf("%s does not match %x", source, frame)
	}
}

// TestFieldsAreRules: each field of a block can be typed as a rule, which matches the packet
// as it arrived, and every field that a rule finds in the packet is shown.
func TestFieldsAreRules(t *testing.T) {
	t.Parallel()
	forRewritten(t, func(t *rapid.T, c rewritten) {
		shown := map[string]bool{}
		var tests []string
		for _, v := range c.packet.Fields() {
			shown[v.Field.Name] = true
			tests = append(tests, v.Field.Name+" "+rule.PrintValue(v.Field, v.Before))
		}
		if len(tests) > 0 {
			c.matches(t, "if "+strings.Join(tests, " "), c.packet.Before)
		}
		for _, f := range field.Fields() {
			there := reference.RunOn(c.link, presence[f], c.packet.Before).Rule >= 0
			if there != shown[f.Name] {
				t.Fatalf("%s: there %t, shown %t in %x", f.Name, there, shown[f.Name], c.packet.Before)
			}
		}
	})
}

// presence are programs that match the packets that have a field.
var presence = func() map[*field.Field]*rule.Program {
	all := map[*field.Field]*rule.Program{}
	for _, f := range field.Fields() {
		source := "if " + f.Name + " "
		switch f.Kind {
		case field.Flag:
			source += "on,off"
		case field.Address6:
			source += "::/0"
		case field.Address4:
			source += "0.0.0.0/0"
		case field.MAC:
			source += "00:00:00:00:00:00/0"
		default:
			source += "ge 0"
		}
		all[f] = mustCheck(source)
	}
	return all
}()

// TestChangesAreRules: the changes of a line, typed as the tests and actions of a rule, make
// of the packet that arrived the packet that left.
func TestChangesAreRules(t *testing.T) {
	t.Parallel()
	forRewritten(t, func(t *rapid.T, c rewritten) {
		p := c.packet
		_, deed, _ := strings.Cut(p.Line(dissect.Style{}), " | ")
		var tests, actions []string
		for item := range strings.SplitSeq(deed, ", ") {
			before, after, changed := strings.Cut(item, " → ")
			if !changed || strings.Contains(before, "byte") {
				continue
			}
			if label, rest, labelled := strings.Cut(before, ": "); labelled && label == p.Label() {
				before = rest
			}
			name, _, _ := strings.Cut(before, " ")
			tests, actions = append(tests, before), append(actions, name+" "+after)
		}
		if (len(tests) > 0 || len(p.Rest()) > 0) == bytes.Equal(p.Before, c.result.Frame) && p.After != nil {
			t.Fatalf("%q is said of\n%x\n%x", deed, p.Before, p.After)
		}
		if len(tests) == 0 {
			return
		}
		c.matches(t, "if "+strings.Join(tests, " "), p.Before)
		if namesChecksum(c.result.Acted) || len(p.Rest()) > 0 {
			return // such a checksum stays where others follow
		}
		again, err := rule.Check("if " + strings.Join(tests, " ") + " then " + strings.Join(actions, ", "))
		if err != nil {
			t.Fatal(err)
		}
		if got := reference.RunOn(c.link, again, p.Before).Frame; !bytes.Equal(got, p.After) {
			t.Fatalf("%q makes of\n%x\n%x, not\n%x", again.Source, p.Before, got, p.After)
		}
	})
}

// namesChecksum reports whether a rule says what becomes of a checksum.
func namesChecksum(r *rule.Rule) bool {
	for _, a := range r.Actions {
		if a.Field.Kind == field.Checksum {
			return true
		}
	}
	return false
}

// TestObjectsHoldTheFields: the JSON objects have the same fields as the block, and of the
// packet as it left those of the frame that the reference makes.
func TestObjectsHoldTheFields(t *testing.T) {
	t.Parallel()
	forRewritten(t, func(t *rapid.T, c rewritten) {
		before, after := c.packet.Objects()
		if c.packet.After == nil && after != nil {
			t.Fatal("what was dropped has left")
		}
		text, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(text, &read); err != nil || len(read) != len(c.packet.Fields()) {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

// headersWithin is a length within which the headers are of most packets.
const headersWithin = 140

// TestCutOff: of a packet of which only the first bytes were captured, nothing is shown that
// is not shown of the whole, and nothing panics.
func TestCutOff(t *testing.T) {
	t.Parallel()
	forRewritten(t, func(t *rapid.T, c rewritten) {
		whole := map[*field.Field]dissect.Value{}
		for _, v := range c.packet.Fields() {
			whole[v.Field] = v
		}
		for range 5 {
			n := rapid.IntRange(0, min(len(c.packet.Before), headersWithin)).Draw(t, "captured")
			cut := *c.packet.Packet
			cut.Before = cut.Before[:n]
			if cut.After != nil {
				cut.After = cut.After[:n]
			}
			p := dissect.New(&cut)
			for _, v := range p.Fields() {
				if whole[v.Field] != v {
					t.Fatalf("of %d bytes of %x: %s %v, of all %v", n, c.packet.Before, v.Field.Name, v, whole[v.Field])
				}
			}
			if p.Block(dissect.Style{}) == "" || n > 0 && p.Bytes(dissect.Style{}) == "" {
				t.Fatal("nothing is shown")
			}
		}
	})
}
