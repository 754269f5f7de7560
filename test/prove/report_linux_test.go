package prove

import (
	"testing"

	"repacket/internal/field"
	"repacket/test/rulegen"
)

// report shrinks a difference, keeps it as a regression, and fails the test.
// clang takes a tenth of a second for each attempt, so it is left out if our
// own program differs without it.
func report(t *testing.T, link field.Link, s rulegen.Source, p packet, difference string) {
	ways := everyWay
	if d, _ := differenceOf(link, s, p, inGo, compiledXDP, compiledTC); d != "" {
		ways = []loader{inGo, compiledXDP, compiledTC}
	}
	s, p.frame = rulegen.ShrinkSource(s, p.frame, func(s rulegen.Source, frame []byte) bool {
		d, _ := differenceOf(link, s, packet{frame, p.draws}, ways...)
		return d != ""
	})
	if d, _ := differenceOf(link, s, p, ways...); d != "" {
		difference = d
	}
	name, err := keep(link, s, p)
	t.Errorf("rules: %s\n%vframe: %x\ndraws: %x\n%s\nkept as %s", s.Text, s.Files, p.frame, p.draws, difference, name)
	if err != nil {
		t.Error(err)
	}
}

// differenceOf is the difference that one packet makes. The error says that some
// way does not take the rules.
func differenceOf(link field.Link, s rulegen.Source, p packet, ways ...loader) (string, error) {
	program, err := s.Check()
	if err != nil {
		return "", err
	}
	c, err := newCase(subject{link, s, program}, ways...)
	if err != nil {
		return "", err
	}
	defer c.close()
	if d := c.try(p); d != "" {
		return d, nil
	}
	return c.compareCounters(), nil
}
