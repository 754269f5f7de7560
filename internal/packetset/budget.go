package packetset

// Budget is the steps that may be taken to work out sets. What a condition holds
// on can take more time than anyone waits for: the cases of nested alternatives
// multiply. Behind the last step sets hold more packets than they should, which
// is always safe: the checker may overlook that a rule can never act, but calls
// nothing impossible that is not. Steps are counted, and no clock is read, so
// that one text is always answered alike. A step is a fact, or a range of one,
// that is looked at: about 10 ns.
type Budget struct {
	own, shared int
	spent       int
}

// NewBudget has the steps that all rules share.
func NewBudget(shared int) *Budget { return &Budget{shared: shared} }

// Turn goes on to a rule with steps of its own, which no other rule can use up.
func (b *Budget) Turn(own int) { b.own = own }

// Spent is how many steps were taken so far.
func (b *Budget) Spent() int { return b.spent }

// Over reports whether no steps are left.
func (b *Budget) Over() bool { return b.own <= 0 && b.shared <= 0 }

// Spend takes n steps. It is false when there are none left.
func (b *Budget) Spend(n int) bool {
	b.spent += n
	if b.own >= n {
		b.own -= n
		return true
	}
	b.shared -= n - b.own
	b.own = 0
	return b.shared > 0
}

// Union is what is in x or in y.
func (b *Budget) Union(x, y Set) Set {
	if b.Over() {
		return outline(x, y)
	}
	out := Set{append(make([]state, 0, len(x.states)+len(y.states)), x.states...), x.hull || y.hull}
	for i, s := range y.states {
		if !b.add(&out, s) {
			return outline(out, Set{states: y.states[i+1:]})
		}
	}
	return out
}

// outline is a single state around all of x and y.
func outline(x, y Set) Set {
	switch {
	case x.Empty():
		return y
	case y.Empty():
		return x
	}
	return Set{states: []state{{stacks: x.stacks().or(y.stacks())}}, hull: true}
}

// Intersect is what is in x and in y.
func (b *Budget) Intersect(x, y Set) Set {
	out := Set{hull: x.hull || y.hull}
	for _, s := range x.states {
		for _, t := range y.states {
			if !b.Spend(1 + s.size() + t.size()) {
				return inside(x, y)
			}
			if both, ok := s.and(t); ok && !b.add(&out, both) {
				return inside(x, y)
			}
		}
	}
	return out
}

// inside is around what is in x and in y, found at once: what is in one of them
// and of which the other may have the headers.
func inside(x, y Set) Set {
	if len(y.states) < len(x.states) {
		x, y = y, x
	}
	other := y.stacks()
	out := Set{hull: true}
	for _, s := range x.states {
		if s.stacks = s.stacks.and(other); s.stacks != (stacks{}) {
			out.states = append(out.states, s)
		}
	}
	return out
}

// Meets reports whether a packet may be in both x and y. False is certain.
func (b *Budget) Meets(x, y Set) bool {
	for _, s := range x.states {
		for _, t := range y.states {
			if !b.Spend(1+min(s.size(), t.size())) || s.meets(t) {
				return true
			}
		}
	}
	return false
}

// add puts a state into a set: into one of its states, if both together are one
// state. It is false if no steps are left; then the state is in it too, and what
// else.
func (b *Budget) add(u *Set, s state) bool {
	steps := 1
	for i, have := range u.states {
		merged, n, ok := merge(have, s)
		if steps += n; ok {
			u.states[i] = merged
			return b.Spend(steps)
		}
	}
	if len(u.states) < MaxStates {
		u.states = append(u.states, s)
		return b.Spend(steps + s.size())
	}
	last := &u.states[len(u.states)-1]
	*last = around(*last, s, true)
	u.hull = true
	return b.Spend(steps + s.size() + last.size())
}
