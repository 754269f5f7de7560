package rule

import "repacket/internal/packetset"

// evaluator works out the packets on which conditions hold, and remembers those
// of the rule at hand.
type evaluator struct {
	*packetset.Budget
	known map[condition]packetset.Set
	size  int // of the sets in known
}

// condition is a list of members, by its place in memory, and what is asked of it.
type condition struct {
	first *Expr
	len   int
	holds bool // all or one of them, or not
	all   bool
}

// maxRemembered is the most facts of conditions that are remembered.
const maxRemembered = 500_000

// The steps for one byte of a rule, and those that all rules share.
const (
	stepsPerByte = 100
	sharedSteps  = 10_000_000
)

func newEvaluator() *evaluator { return &evaluator{Budget: packetset.NewBudget(sharedSteps)} }

// turn goes on to a rule of so many bytes.
func (v *evaluator) turn(bytes int) {
	v.Turn(stepsPerByte * bytes)
	v.known, v.size = map[condition]packetset.Set{}, 0
}

// packets are the packets on which e holds, or can by chance.
func (v *evaluator) packets(e Expr) packetset.Set { return v.evaluate(e, true) }

// others are the packets on which e does not hold, or need not by chance.
func (v *evaluator) others(e Expr) packetset.Set { return v.evaluate(e, false) }

// evaluate is the packets on which e is holds, or can be by chance.
func (v *evaluator) evaluate(e Expr, holds bool) packetset.Set {
	switch e := e.(type) {
	case All:
		if holds {
			return packetset.All()
		}
		return packetset.Set{}
	case Has:
		if holds {
			return packetset.With(e.Proto)
		}
		return packetset.Without(e.Proto)
	case Test:
		v.Spend(1 + len(e.In))
		switch {
		case len(e.Cells) > 0 && holds: // what the rows hold is not looked at
			return packetset.With(e.Field.Proto).Around()
		case len(e.Cells) > 0:
			return packetset.All().Around()
		case holds:
			return packetset.Where(e.Field, e.In)
		}
		return packetset.Unless(e.Field, e.In)
	case Chance: // may hold on every packet, and may not
		return packetset.All()
	case Not:
		return v.evaluate(e.X, !holds)
	case And:
		return v.members(e.X, holds, holds)
	case Or:
		return v.members(e.X, holds, !holds)
	}
	panic("rule: unknown kind of condition")
}

// members evaluates the members of an and or an or, once; all: what is in all of
// them, else in any.
func (v *evaluator) members(xs []Expr, holds, all bool) packetset.Set {
	of := condition{&xs[0], len(xs), holds, all}
	out, known := v.known[of]
	if known {
		return out
	}
	out = v.combine(xs, holds, all)
	if size := 1 + out.Size(); v.known != nil && v.size+size <= maxRemembered {
		v.known[of], v.size = out, v.size+size
	}
	return out
}

func (v *evaluator) combine(xs []Expr, holds, all bool) packetset.Set {
	switch {
	case len(xs) == 1:
		return v.evaluate(xs[0], holds)
	case !all: // halves, so that thousands of members are quick
		half := len(xs) / 2
		return v.Union(v.combine(xs[:half], holds, all), v.combine(xs[half:], holds, all))
	}
	out := v.evaluate(xs[0], holds)
	for _, x := range xs[1:] {
		if out.Empty() || !out.Exact() && (len(xs) > packetset.MaxStates || v.Over()) {
			break // what is left out could only make the set smaller
		}
		out = v.Intersect(out, v.evaluate(x, holds))
	}
	return out
}
