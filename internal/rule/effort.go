package rule

// What a condition holds on can take more time to work out than anyone waits
// for: the cases of nested alternatives multiply. So the checker counts its
// steps. Behind the last of them it goes on with more packets than a condition
// holds on, which is always safe: it may overlook that a rule can never act, but
// calls nothing impossible that is not. Steps are counted, and no clock is read,
// so that one text is always answered alike.

// The steps for one byte of a rule, which no other rule can use up, and those
// that all rules share. A step is a fact, or a range of one, that is looked at:
// about 10 ns.
const (
	stepsPerByte = 100
	sharedSteps  = 10_000_000
)

// maxRemembered is the most facts of conditions that are remembered.
const maxRemembered = 500_000

// effort counts the steps, and remembers what conditions of the rule at hand
// hold on. The zero effort has no steps left.
type effort struct {
	own, shared int
	// spent are all steps so far.
	spent int
	known map[condition]union
	facts int // in known
}

// condition is a list of members, by its place in memory, and what is asked of it.
type condition struct {
	first *Expr
	len   int
	holds bool // all or one of them, or not
	all   bool
}

// newEffort has the steps for a text of so many bytes.
func newEffort(bytes int) *effort {
	e := &effort{shared: sharedSteps}
	e.turn(bytes)
	return e
}

// turn goes on to a rule of so many bytes.
func (w *effort) turn(bytes int) {
	w.own, w.known, w.facts = stepsPerByte*bytes, map[condition]union{}, 0
}

// spend takes n steps. It is false when there are none left.
func (w *effort) spend(n int) bool {
	w.spent += n
	if w.own >= n {
		w.own -= n
		return true
	}
	w.shared -= n - w.own
	w.own = 0
	return w.shared > 0
}

// over tells that no steps are left.
func (w *effort) over() bool { return w.own <= 0 && w.shared <= 0 }

// remember keeps what a condition holds on.
func (w *effort) remember(of condition, u union) {
	n := 1
	for _, s := range u.states {
		n += len(s.facts)
	}
	if w.known != nil && w.facts+n <= maxRemembered {
		w.known[of], w.facts = u, w.facts+n
	}
}

// either is what is in a or in b.
func (w *effort) either(a, b union) union {
	if w.over() {
		return outline(a, b)
	}
	out := union{append(make([]state, 0, len(a.states)+len(b.states)), a.states...), a.hull || b.hull}
	for i, s := range b.states {
		if !w.add(&out, s) {
			return outline(out, union{states: b.states[i+1:]})
		}
	}
	return out
}

// outline is a single state around all of a and b.
func outline(a, b union) union {
	switch {
	case a.empty():
		return b
	case b.empty():
		return a
	}
	out := state{}
	for _, u := range []union{a, b} {
		for _, s := range u.states {
			out.stacks |= s.stacks
		}
	}
	return union{states: []state{out}, hull: true}
}

// both is what is in a and in b.
func (w *effort) both(a, b union) union {
	out := union{hull: a.hull || b.hull}
	for _, x := range a.states {
		for _, y := range b.states {
			if !w.spend(1 + x.size() + y.size()) {
				return inside(a, b)
			}
			if s, ok := x.and(y); ok && !w.add(&out, s) {
				return inside(a, b)
			}
		}
	}
	return out
}

// inside is around what is in a and in b, found at once: what is in one of them
// and of which the other may have the headers.
func inside(a, b union) union {
	if len(b.states) < len(a.states) {
		a, b = b, a
	}
	other := stacks(0)
	for _, s := range b.states {
		other |= s.stacks
	}
	out := union{hull: true}
	for _, s := range a.states {
		if s.stacks &= other; s.stacks != 0 {
			out.states = append(out.states, s)
		}
	}
	return out
}

// meets tells whether a packet may be in both a and b. False is certain.
func (w *effort) meets(a, b union) bool {
	for _, x := range a.states {
		for _, y := range b.states {
			if !w.spend(1+min(x.size(), y.size())) || x.meets(y) {
				return true
			}
		}
	}
	return false
}

// add puts a state into a union: into one of its states, if both together are
// one state. It is false if no steps are left; then the state is in it too, and
// what else.
func (w *effort) add(u *union, s state) bool {
	steps := 1
	for i, have := range u.states {
		merged, n, ok := merge(have, s)
		if steps += n; ok {
			u.states[i] = merged
			return w.spend(steps)
		}
	}
	if len(u.states) < maxStates {
		u.states = append(u.states, s)
		return w.spend(steps + s.size())
	}
	last := &u.states[len(u.states)-1]
	*last = around(*last, s)
	u.hull = true
	return w.spend(steps + s.size() + last.size())
}

// size is how many facts and ranges there are in a state.
func (s state) size() int {
	n := 0
	for _, k := range s.facts {
		n += 1 + len(k.in)
	}
	return n
}
