package live

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"repacket/internal/dissect"
	"repacket/internal/field"
	"repacket/internal/lab"
	"repacket/internal/run"
)

// recordingInto copies the packets that are recorded.
func recordingInto(shown chan<- run.Packet) *run.Recording {
	return &run.Recording{
		Bytes: 1 << 18,
		Packet: func(p *run.Packet) {
			c := *p
			c.Before, c.After = bytes.Clone(p.Before), bytes.Clone(p.After)
			shown <- c
		},
		Lost: func(uint64) { panic("packets are lost") },
	}
}

// TestEveryFieldIsShown sets every field, alone, on every hook: what is shown is the packet that
// was sent, the one that arrives behind the rules, and the change of that field, its checksums and
// of no other.
func TestEveryFieldIsShown(t *testing.T) {
	n := 0
	onSites(t, sites, lab.PairConfig{}, func(b *bench) {
		at := b.spot()
		at.shown = make(chan run.Packet, 1)
		b.at = &at
		for _, f := range field.Fields() {
			for _, kind := range carriers(f) {
				p := carrier(kind)
				sent := p.frame()
				text := rewriting(f, p)
				b.rewrites(text, sent, p.frame())
				b.shows(f, text, sent, p.frame())
				n++
			}
		}
	})
	t.Logf("figure: %d rewrites shown of %d fields on %d hooks and directions", n, len(field.Fields()), len(sites))
}

// shows compares what is shown of a packet.
func (b *bench) shows(f *field.Field, text string, sent, want []byte) {
	b.t.Helper()
	var p run.Packet
	select {
	case p = <-b.at.shown:
	case <-time.After(patience):
		b.t.Fatalf("%s: nothing is shown", text)
	}
	if !bytes.Equal(p.Before, sent) || !bytes.Equal(p.After, want) || p.Length != len(sent) {
		b.t.Errorf("%s: shown is\n%x\n%x\nand there were\n%x\n%x", text, p.Before, p.After, sent, want)
		return
	}
	var checks []string
	for _, c := range f.Covers {
		checks = append(checks, c.Check)
	}
	told := false
	for _, v := range dissect.New(&p).Changes() {
		switch mine := v.Field.Contains(f) || f.Contains(v.Field); {
		case mine:
			told = true
		case !slices.Contains(checks, v.Field.Name):
			b.t.Errorf("%s: %s is shown to change", text, v.Field.Name)
		}
	}
	if line := dissect.New(&p).Line(dissect.Style{}); told == strings.HasSuffix(line, "no change") {
		b.t.Errorf("%s: %s", text, line)
	}
}
