// Package packetgen makes synthetic packets that hit and miss rules. With them
// the implementations of the language are compared with each other, in tests, in
// fuzzing and before a program is attached.
//
// All of it is deterministic: the same random source gives the same frames.
// It knows nothing of the kernel.
package packetgen

import (
	"math/rand/v2"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// attempts is how often a frame that should make a rule act is built anew
// when it does not.
const attempts = 6

// Frames makes n Ethernet frames of 14 bytes or more for p: most are built to
// satisfy the condition of one of its rules, at the edges of its ranges where
// it has any; some to miss it by one; the rest are hostile: fragments, cut
// off, with lying lengths, of other protocols. In about half of those that
// carry IP all checksums are right.
func Frames(r *rand.Rand, p *rule.Program, n int) [][]byte {
	return FramesOn(field.Ethernet, r, p, n)
}

// FramesOn is Frames for any link. None has fewer than 14 bytes, because the
// kernel takes no shorter ones for a test run.
func FramesOn(link field.Link, r *rand.Rand, p *rule.Program, n int) [][]byte {
	frames := make([][]byte, 0, n)
	for range n {
		frames = append(frames, FrameOn(link, r, p))
	}
	return frames
}

// Frame makes one frame as Frames does.
func Frame(r *rand.Rand, p *rule.Program) []byte { return FrameOn(field.Ethernet, r, p) }

// FrameOn makes one frame as FramesOn does.
func FrameOn(link field.Link, r *rand.Rand, p *rule.Program) []byte {
	m := maker{link, r, p}
	switch x := r.IntN(100); {
	case len(p.Rules) == 0 || x < 10:
		return m.stray()
	case x < 25:
		return m.miss()
	case x < 35:
		return m.spoiled()
	}
	return m.hit()
}

// maker makes frames.
type maker struct {
	link field.Link
	r    *rand.Rand
	p    *rule.Program
}

// hit makes a frame that makes a rule act, if one is found.
func (m maker) hit() []byte {
	var frame []byte
	for range attempts {
		w, ok := m.aim()
		if !ok {
			continue
		}
		d := newDraft(m.r, w)
		d.finish()
		d.extend()
		d.towardsZero(m.p)
		frame = d.frame
		if reference.RunOn(m.link, m.p, frame).Rule >= 0 {
			return frame
		}
	}
	if frame == nil {
		return m.stray()
	}
	return frame
}

// miss makes a frame that holds a value just outside one of the tests.
func (m maker) miss() []byte {
	w, ok := m.aim()
	if !ok {
		return m.stray()
	}
	w.leaveOne(m.r)
	d := newDraft(m.r, w)
	d.finish()
	d.extend()
	return d.frame
}

// spoiled makes a frame that fits a rule, then breaks the packet's build.
func (m maker) spoiled() []byte {
	w, ok := m.aim()
	if !ok {
		return m.stray()
	}
	return hostile(m.r, w)
}

// stray makes a frame that takes no heed of any rule.
func (m maker) stray() []byte {
	if m.r.IntN(8) == 0 {
		b := make([]byte, shortest+m.r.IntN(80))
		fill(m.r, b)
		return b
	}
	w := newWish(m.link)
	w.quotes = m.looksIntoQuotes() && m.r.IntN(2) == 0
	if w.quotes {
		w.present(quoters[m.r.IntN(len(quoters))])
	}
	return hostile(m.r, w)
}

// shortest is the length of the shortest frame.
const shortest = 14

// aim picks a rule and finds out what a frame needs for that rule to act, and
// none before it.
func (m maker) aim() (*wish, bool) {
	i := m.r.IntN(len(m.p.Rules))
	target := m.oneRow(m.p.Rules[i])
	w := newWish(m.link)
	w.actions = target.Actions
	if !w.needs(m.r, target) {
		return nil, false
	}
	const earlier = 8 // so many rules before it are kept away; with more it is luck
	for _, before := range m.p.Rules[max(0, i-earlier):i] {
		if len(before.Actions)+len(before.Swaps) > 0 && m.r.IntN(4) == 0 {
			continue // may be away for want of its actions' headers
		}
		if !w.want(m.r, m.oneRow(before).Cond, false) {
			return nil, false
		}
	}
	return w, w.implied(m.r)
}

// oneRow is the rule of a row of r, if r has rows: the first, the last, or any.
func (m maker) oneRow(r *rule.Rule) *rule.Rule {
	if r.Rows == nil {
		return r
	}
	last := r.Rows.Len - 1
	return r.Row([]int{0, last, m.r.IntN(last + 1), m.r.IntN(last + 1)}[m.r.IntN(4)])
}

// needs adds what it takes for a rule to act.
func (w *wish) needs(r *rand.Rand, target *rule.Rule) bool {
	if !w.want(r, target.Cond, true) {
		return false
	}
	for _, s := range target.Swaps {
		if !w.present(s.Proto) {
			return false
		}
	}
	for _, a := range target.Actions {
		for _, f := range a.Needs() {
			if !w.present(f.Proto) {
				return false
			}
		}
		w.whole = w.whole || a.Op.Sums()
	}
	return true
}
