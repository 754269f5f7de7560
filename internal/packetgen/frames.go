// Package packetgen makes frames and rules for comparing the implementations
// of the language with each other: in tests, in fuzzing and before a program
// is attached.
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
// carry IPv4 all checksums are right.
func Frames(r *rand.Rand, p *rule.Program, n int) [][]byte {
	frames := make([][]byte, 0, n)
	for range n {
		frames = append(frames, Frame(r, p))
	}
	return frames
}

// Frame makes one frame as Frames does.
func Frame(r *rand.Rand, p *rule.Program) []byte {
	switch x := r.IntN(100); {
	case len(p.Rules) == 0 || x < 10:
		return stray(r)
	case x < 25:
		return miss(r, p)
	case x < 35:
		return spoiled(r, p)
	}
	return hit(r, p)
}

// hit makes a frame that makes a rule act, if one is found.
func hit(r *rand.Rand, p *rule.Program) []byte {
	var frame []byte
	for range attempts {
		w, ok := aim(r, p)
		if !ok {
			continue
		}
		d := newDraft(r, w)
		d.finish()
		d.extend()
		d.towardsZero(p)
		frame = d.frame
		if reference.Run(p, frame).Rule >= 0 {
			return frame
		}
	}
	if frame == nil {
		return stray(r)
	}
	return frame
}

// miss makes a frame that holds a value just outside one of the tests.
func miss(r *rand.Rand, p *rule.Program) []byte {
	w, ok := aim(r, p)
	if !ok {
		return stray(r)
	}
	w.leaveOne(r)
	d := newDraft(r, w)
	d.finish()
	d.extend()
	return d.frame
}

// spoiled makes a frame that fits a rule, then breaks the packet's build.
func spoiled(r *rand.Rand, p *rule.Program) []byte {
	w, ok := aim(r, p)
	if !ok {
		return stray(r)
	}
	return hostile(r, w)
}

// stray makes a frame that takes no heed of any rule.
func stray(r *rand.Rand) []byte {
	if r.IntN(8) == 0 {
		b := make([]byte, 14+r.IntN(80))
		fill(r, b)
		return b
	}
	return hostile(r, &wish{has: map[field.Protocol]bool{}})
}

// aim picks a rule and finds out what a frame needs for that rule to act, and
// none before it.
func aim(r *rand.Rand, p *rule.Program) (*wish, bool) {
	i := r.IntN(len(p.Rules))
	target := p.Rules[i]
	w := &wish{has: map[field.Protocol]bool{}, actions: target.Actions}
	if !w.want(r, target.Cond, true) {
		return nil, false
	}
	for _, a := range target.Actions {
		if !w.present(a.Field.Proto) {
			return nil, false
		}
		w.whole = w.whole || a.Op != rule.Set
	}
	const earlier = 8 // so many rules before it are kept away; with more it is luck
	for _, before := range p.Rules[max(0, i-earlier):i] {
		if len(before.Actions) > 0 && r.IntN(4) == 0 {
			continue // may be away for want of its actions' headers
		}
		if !w.want(r, before.Cond, false) {
			return nil, false
		}
	}
	return w, w.implied()
}
