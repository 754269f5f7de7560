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
	for _, x := range p.Rules {
		chances(x.Cond, func(c rule.Chance) {
			edge := c.Threshold()
			out[c.Index] = [...]uint32{0, uint32(edge - 1), uint32(min(edge, math.MaxUint32)), r.Uint32()}[r.IntN(4)]
		})
	}
	return out
}

// chances calls f for each chance in a condition.
func chances(e rule.Expr, f func(rule.Chance)) {
	var xs []rule.Expr
	switch e := e.(type) {
	case rule.Chance:
		f(e)
	case rule.Not:
		chances(e.X, f)
	case rule.And:
		xs = e.X
	case rule.Or:
		xs = e.X
	}
	for _, x := range xs {
		chances(x, f)
	}
}
