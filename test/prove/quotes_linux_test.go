package prove

import (
	"math/rand/v2"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
	"repacket/internal/rule"
	"repacket/test/needs"
	"repacket/test/quotes"
	"repacket/test/rulegen"
)

// TestQuotes runs programs over what ICMP errors quote in all implementations: those made by
// hand, and both that rules with replies become.
func TestQuotes(t *testing.T) {
	needs.Kernel(t)
	var programs []*rule.Program
	for _, c := range quotes.Cases {
		programs = append(programs, c.Program())
	}
	for _, text := range quotes.Answered {
		p, err := rule.Check(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		programs = append(programs, p, p.Replies)
	}
	r := rand.New(rand.NewPCG(seed(t), 6))
	acted, sums, fields := 0, 0, 0
	for _, p := range programs {
		for _, link := range []field.Link{field.Ethernet, field.RawIP} {
			c, err := newCase(subject{link, rulegen.Source{Text: p.Source}, p}, everyWay...)
			if err != nil {
				t.Fatalf("%s: %v", p.Source, err)
			}
			for range framesPerRule {
				frame := packetgen.FrameOn(link, r, p)
				if d := c.try(packet{frame: frame}); d != "" {
					t.Errorf("%s\nframe %x\n%s", p.Source, frame, d)
					break
				}
				acted, sums, fields = acted+c.acted, sums+c.sums, fields+c.fields
			}
			if d := c.compareCounters(); d != "" {
				t.Errorf("%s\n%s", p.Source, d)
			}
			c.close()
		}
	}
	if tried := 2 * len(programs) * framesPerRule; acted*3 < tried || fields == 0 || sums == 0 {
		t.Errorf("of %d packets %d were acted on, %d checksums and %d fields were judged: that proves little", tried, acted, sums, fields)
	}
}
