package plan

import (
	"maps"
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// vary is a test whose values differ between the rules of a table.
type vary struct {
	field *field.Field
	cell  int
	not   bool
}

// varies reports whether there is such a test in a condition.
func varies(n node) bool {
	switch n := n.(type) {
	case vary:
		return true
	case allOf:
		return slices.ContainsFunc(n, varies)
	case anyOf:
		return slices.ContainsFunc(n, varies)
	}
	return false
}

// parted is a condition that is a conjunction of varying tests and the rest; ok
// is false if it is none.
func parted(n node) (list []vary, rest node, ok bool) {
	var others []node
	for _, x := range flatten[allOf]([]node{n}) {
		v, is := x.(vary)
		switch {
		case is && v.not, !is && varies(x):
			return nil, nil, false
		case is:
			list = append(list, v)
		default:
			others = append(others, x)
		}
	}
	return list, unwrap[allOf](others, always), len(list) > 0
}

// table makes the step of rules of one shape in the class. It is false where no
// table can serve them.
func (w *tableWalk) table(m *bundle) (Step, bool) {
	list, rest, ok := parted(w.simplified(m.pattern, w.class.facts()))
	if !ok || overlapping(list, rest) || setsBitsOf(list, m.pattern) {
		return Step{}, false
	}
	moved := movedIn(m.pattern.Actions)
	key := list
	if len(moved) > 0 && samePrefix(list) {
		key = list[:1]
	}
	t := w.b.tables.tableFor(m, key)
	if t == nil || len(key) < len(list) && !t.apart() || len(moved) > 0 && !movesKeys(list, key, m.pattern, moved) {
		return Step{}, false
	}
	// What moves a prefix does the same to each packet of a row as to its first one.
	p := probing{walk: w.walk, bundle: m, keys: list, rest: rest, exact: t.single || len(moved) > 0, moved: moved}
	p.fields = fieldsOf(list, p.exact, m.pattern.Actions)
	s, ok := p.template(t)
	if !ok {
		return Step{}, false
	}
	s.Lookup = &Lookup{Table: t, Key: keyWindows(t.Kind, key), InMap: w.crowded}
	if len(key) < len(list) {
		s.Lookup.Same = t.sameBits(list[0], list[1])
	}
	if m.rule != nil {
		s.Lookup.Rule = t.column(ruleColumn{}, 4)
	}
	return s, true
}

// setsBitsOf reports whether a rule sets some of the bits of a field that varies, but
// not the field: what that changes depends on these bits alone, not on its value.
func setsBitsOf(list []vary, r *rule.Rule) bool {
	bits := patterns{}
	for _, v := range list {
		bits.of(v.field.Proto).put(v.field, v.field.Max())
	}
	return slices.ContainsFunc(r.Actions, func(a rule.Action) bool {
		same := slices.ContainsFunc(list, func(v vary) bool { return v.field == a.Field })
		return !same && overlaps(bits, a.Field)
	})
}

// overlapping reports whether two tests look at the same bits, of which one at
// least varies.
func overlapping(list []vary, rest node) bool {
	bits := patterns{}
	for _, v := range list {
		if overlaps(bits, v.field) {
			return true
		}
		bits.of(v.field.Proto).put(v.field, v.field.Max())
	}
	return slices.ContainsFunc(flatten[allOf]([]node{rest}), func(n node) bool { // those in an "or" do not count
		t, is := n.(test)
		return is && overlaps(bits, t.field)
	})
}

func overlaps(bits patterns, f *field.Field) bool {
	mask, _ := placed(f, field.Value{})
	for i, m := range mask {
		if bits.of(f.Proto).mask[f.Byte()+i]&m != 0 {
			return true
		}
	}
	return false
}

// keyWindows are what the key is made of, the widest first, so that each is
// aligned; those of an ordered field in the field's order.
func keyWindows(k TableKind, list []vary) []Window {
	if k == Ordered {
		return fieldWindows(list[0].field)
	}
	bits := patterns{}
	for _, v := range list {
		bits.of(v.field.Proto).put(v.field, field.Value{})
	}
	var out []Window
	bits.each(func(p *pattern) {
		for _, l := range p.loads() {
			out = append(out, l.Window)
		}
	})
	slices.SortStableFunc(out, func(a, b Window) int { return b.Size - a.Size })
	return out
}

// probing finds out what the step of a pattern comes to, and how it follows from
// the cells: by planning rules with values of its choice. All that depends on
// them is linear.
type probing struct {
	*walk
	bundle *bundle
	keys   []vary
	rest   node
	exact  bool
	moved  []int // the actions that move the prefix of the keys
	// fields are those of the cells that the step can depend on.
	fields map[int]*field.Field
}

// probes are how often other values are tried where some came to something
// special, as a value that is there already.
const probes = 4

func (p *probing) template(t *Table) (Step, bool) {
	without, ok := step(p.program, p.rule(p.values(0)), p.rest, p.class)
	if !ok {
		return Step{}, false
	}
	for seed := range probes {
		if s, ok := p.try(t, p.values(seed)); ok {
			s.Cond = without.Cond
			return s, true
		}
	}
	return Step{}, false
}

// values are a value for each cell that counts, and not the highest.
func (p *probing) values(seed int) []field.Value {
	out := make([]field.Value, len(p.bundle.rows().Cells))
	for _, cell := range p.cells() {
		f := p.fields[cell]
		out[cell] = field.V(uint64(0x1234567*(seed+1) + 0x2345*(cell+1)*(2*seed+3))).Low(f.Width)
		if out[cell] == f.Max() {
			out[cell] = out[cell].Dec()
		}
	}
	return out
}

// rule is the pattern with values in its cells.
func (p *probing) rule(values []field.Value) *rule.Rule {
	out := *p.bundle.pattern
	out.Rows = nil
	out.Actions = slices.Clone(out.Actions)
	for i, a := range out.Actions {
		if a.Cell > 0 {
			out.Actions[i].Value, out.Actions[i].Cell = values[a.Cell-1], 0
		}
		if slices.Contains(p.moved, i) {
			out.Actions[i].Op, out.Actions[i].Bits = operand.Set, 0
		}
	}
	return &out
}

// plan is the step with values in the cells.
func (p *probing) plan(values []field.Value) (Step, bool) {
	var n []node
	if p.rest != always {
		n = flatten[allOf]([]node{p.rest})
	}
	if p.exact {
		for _, k := range p.keys {
			n = append(n, test{k.field, field.One(values[k.cell])})
		}
	}
	return step(p.program, p.rule(values), unwrap[allOf](n, always), p.class)
}

// try makes the step from values, and is false if these are special.
func (p *probing) try(t *Table, values []field.Value) (Step, bool) {
	if !p.effort.spend(stepsOfRule * (1 + len(p.cells()))) {
		return Step{}, false
	}
	base, ok := p.plan(values)
	if !ok {
		return Step{}, false
	}
	moved := map[int]Step{}
	for _, cell := range p.cells() {
		next := slices.Clone(values)
		next[cell] = next[cell].Inc()
		other, ok := p.plan(next)
		if !ok || !alike(base, other) {
			return Step{}, false
		}
		moved[cell] = other
	}
	for i := range base.Sums {
		s := &base.Sums[i]
		for part := range s.Parts {
			l := p.linear(s.Parts[part], values, func(cell int) uint32 { return moved[cell].Sums[i].Parts[part] })
			if len(l.factors) > 0 {
				s.Rows = append(s.Rows, RowPart{Part(part), t.column(l, 2)})
				s.Const = (s.Const + modulus - s.Parts[part]) % modulus
				s.Parts[part] = 0
			}
		}
	}
	for i := range base.Writes {
		if !p.write(t, &base.Writes[i]) {
			return Step{}, false
		}
	}
	return base, true
}

// linear is how a sum, which comes to sum for the values, follows from cells;
// moved is what it comes to with one more in a cell.
func (p *probing) linear(sum uint32, values []field.Value, moved func(cell int) uint32) linear {
	l := linear{start: sum}
	for _, cell := range p.cells() {
		f := (moved(cell) + modulus - sum) % modulus
		if f == 0 {
			continue
		}
		l.factors = append(l.factors, factorOf{cell, f})
		l.start = (l.start + modulus - f*residue(values[cell])%modulus) % modulus
	}
	return l
}

// residue is v modulo 65535.
func residue(v field.Value) uint32 { return uint32((v.Hi%modulus + v.Lo%modulus) % modulus) }

// at is what it comes to for the values.
func (l linear) at(value func(cell int) field.Value) uint32 {
	sum := uint64(l.start)
	for _, f := range l.factors {
		sum += uint64(f.factor) * uint64(residue(value(f.cell)))
	}
	return uint32(sum % modulus)
}

// cells are those that the step can depend on.
func (p *probing) cells() []int { return slices.Sorted(maps.Keys(p.fields)) }

// fieldsOf are the fields of the cells that a step can depend on: those of the key, if
// a row says what they were, and those of the actions.
func fieldsOf(keys []vary, exact bool, actions []rule.Action) map[int]*field.Field {
	out := map[int]*field.Field{}
	for _, a := range actions {
		if a.Cell > 0 {
			out[a.Cell-1] = a.Field
		}
	}
	for _, k := range keys {
		if exact {
			out[k.cell] = k.field
		}
	}
	return out
}

// write makes a write take from the row what differs. It is false if a prefix
// that is moved shares the window with another field.
func (p *probing) write(t *Table, w *Write) bool {
	for _, i := range p.moved {
		a := p.bundle.pattern.Actions[i]
		if slices.Contains(w.Fields, a.Field) {
			key, to := pieceOf(w.Window, a.Field, p.keys[0].cell), pieceOf(w.Window, a.Field, a.Cell-1)
			w.Row, w.Value, w.Xor = t.column(image{size: w.Size, pieces: []piece{key, to}, xor: true}, w.Size), 0, true
			return len(w.Fields) == 1
		}
	}
	img := image{size: w.Size, fixed: w.Value}
	for _, f := range w.Fields {
		for _, a := range p.bundle.pattern.Actions {
			if a.Cell > 0 && a.Field == f {
				piece := pieceOf(w.Window, f, a.Cell-1)
				img.fixed &^= piece.mask
				img.pieces = append(img.pieces, piece)
			}
		}
	}
	if len(img.pieces) > 0 {
		w.Row, w.Value = t.column(img, w.Size), img.fixed
	}
	return true
}

// alike reports whether two steps differ in nothing but constants.
func alike(a, b Step) bool {
	return slices.EqualFunc(a.Sums, b.Sums, func(s, t Sum) bool {
		return s.Check == t.Check && len(s.Changes) == len(t.Changes) && slices.Equal(s.Terms, t.Terms)
	}) && slices.EqualFunc(a.Writes, b.Writes, func(v, w Write) bool { return v.Window == w.Window })
}
