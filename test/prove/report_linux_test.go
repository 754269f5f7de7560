package prove

import (
	"errors"
	"testing"

	"repacket/internal/field"
	"repacket/internal/packetgen"
)

// report shrinks a difference, keeps it as a regression, and fails the test.
// clang takes a tenth of a second for each attempt, so it is left out if our
// own program differs without it.
func report(t *testing.T, link field.Link, s packetgen.Source, p packet, difference string) {
	ways := everyWay
	if differenceOf(link, s, p, compiledXDP, compiledTC) != nil {
		ways = []loader{compiledXDP, compiledTC}
	}
	s, p.frame = packetgen.ShrinkSource(s, p.frame, func(s packetgen.Source, frame []byte) bool {
		return differenceOf(link, s, packet{frame, p.draws}, ways...) != nil
	})
	if d := differenceOf(link, s, p, ways...); d != nil {
		difference = d.Error()
	}
	name, err := keep(link, s, p)
	t.Errorf("rules: %s\n%vframe: %x\ndraws: %x\n%s\nkept as %s", s.Text, s.Files, p.frame, p.draws, difference, name)
	if err != nil {
		t.Error(err)
	}
}

// differenceOf is the difference that one packet makes, or nil.
func differenceOf(link field.Link, s packetgen.Source, p packet, ways ...loader) error {
	program, err := s.Check()
	if err != nil {
		return nil
	}
	c, err := newCase(subject{link, s, program}, ways...)
	if err != nil {
		return nil
	}
	defer c.close()
	if d := c.try(p); d != "" {
		return errors.New(d)
	}
	if d := c.compareCounters(); d != "" {
		return errors.New(d)
	}
	return nil
}
