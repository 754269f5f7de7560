package cli

import (
	"fmt"
	"strings"

	"repacket/internal/run"
	"repacket/internal/spelling"
)

// shownCounts is how many packets were shown, and how many not and why.
type shownCounts struct {
	Shown    uint64 `json:"shown"`
	NotShown uint64 `json:"not_shown"` // they were read too slowly
	Limited  uint64 `json:"limited"`   // what was asked for, or a terminal's rate, kept them back
	limits   string // what that is
	unread   uint64 // of those not shown, for which the ring had room
}

// counts are those of a run that has counted so many packets.
func (s *shower) counts(c run.Counts) *shownCounts {
	if s == nil || s.level == 0 {
		return nil
	}
	return s.shownOf(c.Total().Matched + c.Total().Replies)
}

// soFar is counts while the run goes on. What has just been counted may still be on its way here, so
// of limits it tells what they have kept back of the packets that were counted when it was asked before.
func (s *shower) soFar(c run.Counts) *shownCounts {
	if s == nil || s.level == 0 {
		return nil
	}
	before := s.counted
	s.counted = c.Total().Matched + c.Total().Replies
	return s.shownOf(before)
}

// shownOf is how many of so many packets were shown.
func (s *shower) shownOf(counted uint64) *shownCounts {
	out := &shownCounts{Shown: s.shown.Load(), unread: s.unread.Load(), limits: s.limits()}
	out.NotShown = s.lost.Load() + out.unread
	if told := s.wire.Load() + out.NotShown; out.limits != "" && counted > told {
		out.Limited = counted - told
	}
	return out
}

// limits are the flags that keep packets back, also the one that a terminal stands for.
func (s showing) limits() string {
	var flags []string
	for _, f := range []struct {
		name string
		n    uint64
	}{{"--show", s.most}, {"--show-every", uint64(s.every)}, {"--show-rate", uint64(s.rate)}} {
		if f.n > 0 {
			flags = append(flags, fmt.Sprintf("%s %d", f.name, f.n))
		}
	}
	return strings.Join(flags, ", ")
}

// line says what was not shown, or "" where all was.
func (c *shownCounts) line() string {
	if c == nil || c.NotShown+c.Limited == 0 {
		return ""
	}
	text := spelling.Thousands(int(c.Shown)) + " shown"
	if lost := c.NotShown - c.unread; lost > 0 {
		text += fmt.Sprintf(", %s not shown (ring full)", spelling.Thousands(int(lost)))
	}
	if c.unread > 0 {
		text += fmt.Sprintf(", %s not shown (read too slowly)", spelling.Thousands(int(c.unread)))
	}
	if c.Limited > 0 {
		text += fmt.Sprintf(", %s not shown (%s)", spelling.Thousands(int(c.Limited)), c.limits)
	}
	return text
}

// tellNotShown tells a person who looks at packets, at most once a second, how many more there were
// that were not shown: the line with the counts stands still then.
func (r *running) tellNotShown() error {
	if !r.out.live || !r.report.still() {
		return nil
	}
	counts, err := r.session.Counts()
	if err != nil {
		return err
	}
	c := r.shower.soFar(counts)
	if not := c.NotShown + c.Limited; not > r.notShown {
		r.notShown = not
		r.out.status("%s", c.line())
	}
	return nil
}
