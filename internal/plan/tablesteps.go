package plan

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// BuildTables is Build for those who have tables: rules of one shape become one
// step that looks a row up, so that their number does not count. The error is a
// *RowsError, a *TooLargeError or that of rule.Program.TooComplex.
func BuildTables(p *rule.Program, link field.Link) (*Program, error) {
	return buildTables(p, link, nil)
}

// BuildWhy is BuildTables, but counts why the first rules do not act.
func BuildWhy(p *rule.Program, link field.Link) (*Program, error) {
	return buildTables(p, link, why.Tests(p))
}

func buildTables(p *rule.Program, link field.Link, tests []why.Test) (*Program, error) {
	b := newBuilder(p, link, effortFor(p))
	b.examine(tests)
	t := b.tables
	var err error
	if t.items, err = b.items(); err != nil {
		return nil, err
	}
	b.examineBehind(t.items)
	out := b.build()
	out.Tables, out.OneByOne, out.Tests = t.all, b.written, tests
	if t.err == nil {
		t.err = b.effort.err
	}
	return out, t.err
}

// tables are the rules of a builder in order, and the tables that are made of them;
// without shapes there are none.
type tables struct {
	items   []item
	bundles map[bundleKey]*bundle
	all     []*Table
	err     error
}

// bundleKey is what the rules of one shape are known by: those of one shape
// follow each other, whatever class they are for.
type bundleKey struct {
	shape *shape
	first uint32
	count int
}

// steps are the steps of a class: of the rules that can act on its packets, in order.
// They end behind a rule that takes all that is left.
func (b *builder) steps(c Class) []Step {
	w := tableWalk{walk: b.newWalk(c), b: b, live: map[*shape]bool{}}
	var run []item
	for i, it := range b.tables.items {
		switch {
		case !headersThere(it.rule, c):
		case it.shape == nil:
			w.run(run)
			run = nil
			w.rule(it.rule)
		case w.acts(it.shape):
			run = append(run, it)
		}
		if tests := b.behind[i]; tests != nil {
			w.run(run)
			run = nil
			w.why(tests)
		}
	}
	w.run(run)
	return w.out
}

// tableWalk makes the steps of one class.
type tableWalk struct {
	*walk
	b    *builder
	live map[*shape]bool
	// crowded: so much is looked up side by side that no search is written out:
	// the verifier follows each way through one with each way through the others.
	crowded bool
}

// acts reports whether rules of a shape can act on packets of the class.
func (w *tableWalk) acts(s *shape) bool {
	acts, known := w.live[s]
	if !known {
		acts = w.simplified(s.pattern, w.class.facts()) != never
		w.live[s] = acts
	}
	return acts
}

// run makes steps of rules that have shapes. Those whose shape is rare here
// part the others.
func (w *tableWalk) run(run []item) {
	if len(run) == 0 || w.done {
		return
	}
	count := map[*shape]int{}
	for _, it := range run {
		count[it.shape] += it.weight()
	}
	start := 0
	for i, it := range run {
		if count[it.shape] >= tableFrom {
			continue
		}
		w.run(run[start:i])
		w.rule(it.rule)
		start = i + 1
	}
	if start > 0 {
		w.run(run[start:])
		return
	}
	if len(count) == 1 || !w.choose(run, len(count)) {
		w.apart(run)
	}
}

// weight is how many rules an item is.
func (it item) weight() int {
	if it.rows != nil {
		return it.rows.count
	}
	return 1
}

// apart makes steps of rules shape by shape, where they change.
func (w *tableWalk) apart(run []item) {
	for len(run) > 0 {
		n, weight := 0, 0
		for n < len(run) && run[n].shape == run[0].shape {
			weight += run[n].weight()
			n++
		}
		w.same(run[:n], weight)
		run = run[n:]
	}
}

// same makes steps of rules of one shape that follow each other.
func (w *tableWalk) same(run []item, weight int) {
	if w.done {
		return
	}
	if m := w.bundle(run); m != nil && weight >= tableFrom {
		if s, ok := w.table(m); ok {
			w.out = append(w.out, s)
			return
		}
		if m.rows() != nil && run[0].rows != nil {
			w.rows(m)
			return
		}
	}
	for _, it := range run {
		w.rule(it.rule)
	}
}

// rows writes the rows of a file out.
func (w *tableWalk) rows(m *bundle) {
	t := w.b.tables
	if n, known := w.constant(m); known {
		w.node(m.pattern.Row(0), n)
		return
	}
	if !slices.Contains(w.b.written, m.pattern) {
		w.b.written = append(w.b.written, m.pattern)
	}
	if err := (&writtenRows{}).add(m.pattern, m.count); err != nil {
		t.err = err
		return
	}
	for i := range m.rows().Len {
		w.rule(m.pattern.Row(i))
	}
}

// constant is the condition of all rows, if the class settles what differs.
func (w *tableWalk) constant(m *bundle) (node, bool) {
	n := w.simplified(m.pattern, w.known)
	return n, !varies(n)
}

// bundle are rules of one shape as a pattern with rows, or nil.
func (w *tableWalk) bundle(run []item) *bundle {
	if run[0].rows != nil {
		return run[0].rows
	}
	t := w.b.tables
	key := bundleKey{run[0].shape, run[0].order, len(run)}
	m, known := t.bundles[key]
	if !known {
		m = bundleOf(run)
		t.bundles[key] = m
	}
	return m
}

// mostChosen is how many shapes are looked up side by side.
const mostChosen = 32

// mostCrossed is how many rules times shapes have their searches written out.
const mostCrossed = 4000

// choose makes one step of rules of several shapes: each is looked up, and the
// first of the rules that are found acts. It is false if that cannot be done.
func (w *tableWalk) choose(run []item, shapes int) bool {
	if shapes > mostChosen || w.done {
		return false
	}
	w.crowded = len(run)*shapes > mostCrossed
	defer func() { w.crowded = false }()
	byShape := map[*shape][]item{}
	var order []*shape
	for _, it := range run {
		if byShape[it.shape] == nil {
			order = append(order, it.shape)
		}
		byShape[it.shape] = append(byShape[it.shape], it)
	}
	var out Step
	for _, s := range order {
		m := w.bundle(byShape[s])
		if m == nil {
			return false
		}
		step, ok := w.table(m)
		if !ok || makesSums(step) {
			return false
		}
		l := *step.Lookup
		l.Order, l.First = l.Table.column(orderColumn{}, 4), m.first
		step.Lookup = &l
		out.Select = append(out.Select, step)
	}
	w.out = append(w.out, out)
	return true
}

// makesSums reports whether a step makes a whole sum; then its condition leaves
// something behind that another one would change.
func makesSums(s Step) bool {
	return slices.ContainsFunc(s.Sums, func(sum Sum) bool { return sum.Op != Adjust })
}

// Acting are the steps that act: those of a Select in its place.
func (c *Chain) Acting() []Step {
	var out []Step
	for _, s := range c.Steps {
		switch {
		case len(s.Select) > 0:
			out = append(out, s.Select...)
		case s.Why == nil:
			out = append(out, s)
		}
	}
	return out
}
