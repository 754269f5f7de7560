package rule

import "repacket/internal/packetset"

// Reach works out on which packets the rules of a program act, as sets of packets.
type Reach struct {
	*packetset.Budget
	solver *solver
}

// NewReach is for the rules of a program.
func NewReach(p *Program) *Reach {
	v := newSolver(p.Source)
	return &Reach{v.sets.Budget, v}
}

// Turn goes on to a rule as written, which has steps of its own.
func (v *Reach) Turn(w Written) { v.solver.sets.turn(w.Span.End - w.Span.Start) }

// Acts are the packets on which the rule acts if no rule before it does, or can by chance. Where
// columns stand it may have more packets.
func (v *Reach) Acts(r *Rule) packetset.Set { return v.solver.sets.packets(v.solver.complete(r)) }

// Leaves are the packets that the rule leaves to those behind it, or may.
func (v *Reach) Leaves(r *Rule) packetset.Set {
	for _, a := range r.Actions {
		if a.Op.Sums() { // whether a datagram is whole is known in part
			return packetset.All()
		}
	}
	return v.solver.sets.others(v.solver.complete(r))
}
