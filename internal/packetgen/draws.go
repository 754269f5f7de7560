package packetgen

import (
	"math"
	"math/rand/v2"

	"repacket/internal/rule"
)

// Draws makes the random numbers of one packet: many on the edge between two
// outcomes, so that rare ones come about as often as others.
func Draws(r *rand.Rand, p *rule.Program) []uint32 {
	out := make([]uint32, p.Draws)
	for i := range out {
		out[i] = [...]uint32{0, math.MaxUint32, r.Uint32(), r.Uint32()}[r.IntN(4)]
	}
	if p.Draws == 0 { // the usual case, and there may be many rules
		return out
	}
	for _, x := range p.Rules {
		for _, e := range rule.Leaves(x.Cond) {
			if c, ok := e.(rule.Chance); ok {
				edge := c.Threshold()
				out[c.Index] = [...]uint32{0, uint32(edge - 1), uint32(min(edge, math.MaxUint32)), r.Uint32()}[r.IntN(4)]
			}
		}
	}
	return out
}
