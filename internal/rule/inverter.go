package rule

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// maxCases is the most cases of old values that one rule has.
const maxCases = packetset.MaxStates

// inverter finds the inverse of one rule.
type inverter struct {
	*checker
	node syntax.RuleNode
	rule *Rule
	// flow holds on the flows that the rule rewrites, and in are these packets.
	flow Expr
	in   packetset.Set
	// rows are those of the rule, with more cells behind its own, or nil.
	rows *Rows
}

// invert is the inverse of a rule, one for each case of old values; of earlier rules those
// are given that may take its packets.
func (c *checker) invert(node syntax.RuleNode, r *Rule, earlier []int) []inverse {
	v := &inverter{checker: c, node: node, rule: r}
	if r.Rows != nil {
		v.rows = &Rows{File: r.Rows.File, Len: r.Rows.Len, Cells: slices.Clone(r.Rows.Cells)}
		v.rowsApart(columnTests(both(v.asked(), r.Cond.Span())), "test for")
	}
	v.flow = v.flows(earlier)
	v.in = c.sets.packets(v.flow)
	if c.sets.Over() {
		v.tooComplex()
	}
	cases := [][]change{nil}
	for _, a := range r.Actions {
		if !changesFlow(a) {
			continue
		}
		var next [][]change
		for _, ch := range v.changes(a) {
			for _, before := range cases {
				next = append(next, append(slices.Clone(before), ch))
			}
		}
		if cases = next; len(cases) > maxCases {
			v.noInverse(a, v.in.Values(a.Field))
		}
	}
	if c.err != nil {
		return nil
	}
	return v.inverses(cases)
}

// tooComplex is the error for a rule whose inverse takes more steps than there are.
func (v *inverter) tooComplex() {
	v.fail(v.node.RepliesAt, "put the rule with replies first, and split its condition into rules joined by else",
		"the rule, and those before it, are too complex to be undone in replies")
}

// asked is what the rule asks of a flow, itself and by its actions. That a datagram is whole, as fix
// and bad ask, says nothing about its flow.
func (v *inverter) asked() (out []Expr) {
	for _, cl := range v.claims(v.rule) {
		if cl.sum {
			cl.expr = cl.expr.(And).X[0]
		}
		out = append(out, possible(cl.expr))
	}
	return out
}

// flows is the condition that a flow is rewritten by the rule: that the rule holds on some of its
// packets, and no earlier rule on all of them.
func (v *inverter) flows(earlier []int) Expr {
	list := v.asked()
	others := map[*field.Field][]field.Range{} // that earlier rules take by the value of one field
	var order []*field.Field
	for _, i := range earlier {
		early := v.program.Rules[i]
		v.sets.Spend(1)
		if early.Index == v.rule.Index || !v.sets.Meets(v.where[early], v.where[v.rule]) || v.apartByRows(early, v.rule) {
			continue
		}
		taken := v.taken(early)
		if v.sets.Over() {
			break // the rule is rejected
		}
		if t, ok := taken.(Test); ok && len(t.Cells) == 0 {
			if others[t.Field] == nil {
				order = append(order, t.Field)
			}
			others[t.Field] = append(others[t.Field], t.In...)
			continue
		}
		list = append(list, negate(taken, early.Cond.Span()))
	}
	at := v.rule.Cond.Span()
	for _, f := range order {
		list = append(list, Not{Test{Field: f, In: field.NewSet(others[f]...), At: at}, at})
	}
	return both(list, at)
}

// stepsPerLeaf are the steps for a test of an earlier rule that is written into an inverse.
const stepsPerLeaf = 10

// taken is the condition that an earlier rule takes all packets of a flow, worked out once.
func (v *inverter) taken(early *Rule) Expr {
	e, known := v.takenWhole[early]
	if !known {
		e = lean(v.takenBy(early), &Rule{})
		v.takenWhole[early] = e
	}
	v.sets.Spend(stepsPerLeaf * len(Leaves(e)))
	return e
}

// takenBy is the condition that an earlier rule takes all packets of a flow.
func (v *inverter) takenBy(early *Rule) Expr {
	e := certain(v.complete(early))
	columns := columnsIn(e)
	var in field.Set
	if len(columns) == 1 && len(columns[0].Cells) == 1 && wants(e) {
		in = v.column(early.Rows, columns[0].Cells[0])
	}
	switch {
	case len(columns) == 0:
		return e
	case len(in) > 0 && len(in) <= maxColumn:
		return rewrite(e, func(t Test) Expr {
			if len(t.Cells) > 0 {
				t.In, t.Cells = t.In.Union(in), nil
			}
			return t
		})
	case early.Rows.Len > maxTakenRows:
		v.tooManyRows(early)
		return e
	}
	var rows []Expr
	for row := range early.Rows.Len {
		rows = append(rows, certain(v.complete(early.Row(row))))
	}
	return either(rows, early.Cond.Span())
}

// tooManyRows is the error for an earlier rule whose rows are too many to be kept out of the inverse.
func (v *inverter) tooManyRows(early *Rule) {
	v.fail(v.node.RepliesAt, "put the rule with replies first", "%s takes packets of this rule by too many rows to be told apart in replies", v.nameRule(early.Index))
}

// inverses are the inverses of the rule for the cases of old values that there can be.
func (v *inverter) inverses(cases [][]change) (out []inverse) {
	var sets []packetset.Set
	for _, changes := range cases {
		of := []Expr{v.flow}
		for _, ch := range changes {
			if len(cases) > 1 {
				of = append(of, ch.old)
			}
		}
		v.spendRows(changes)
		inv := newInverse(v.rule, v.rows, both(of, v.flow.Span()), changes)
		if inv.parted != nil {
			v.fail(v.node.RepliesAt, "leave these rows out, or put the rule first", "some rows of %s never act, and replies do not tell which", v.rule.Rows.File)
		}
		in := v.sets.packets(inv.result)
		if in.Empty() {
			continue
		}
		for i, other := range out {
			if v.sets.Meets(sets[i], in) {
				a := differing(other, inv).redo
				v.noInverse(a, v.in.Values(a.Field))
				return nil
			}
		}
		if v.rows != nil && len(out) == 0 { // the others have the same columns
			v.rowsApart(columnTests(inv.result), "become")
		}
		out, sets = append(out, inv), append(sets, in)
	}
	return out
}

// spendRows takes the steps for the tests that are held against the old values of all rows.
func (v *inverter) spendRows(changes []change) {
	for _, ch := range changes {
		if len(ch.old.Cells) == 0 {
			continue
		}
		for _, t := range find[Test](v.flow) {
			if t.Field == ch.redo.Field && len(t.Cells) == 0 {
				v.sets.Spend(v.rows.Len)
			}
		}
	}
	if v.sets.Over() {
		v.tooComplex()
	}
}

// differing is the first change of two inverses of a rule that is not the same.
func differing(a, b inverse) change {
	for i, ch := range a.changes {
		if !ch.old.In.Equal(b.changes[i].old.In) {
			return ch
		}
	}
	return a.changes[0]
}

// changes are the cases that an action makes of the values that a field may have before: each
// can be undone by one action.
func (v *inverter) changes(a Action) (out []change) {
	old, lost := v.in.Values(a.Field), a.Field.Width
	if v.rows != nil {
		if ch, ok := v.changeOfRows(a, old); ok {
			return []change{ch}
		}
	}
	switch a.Op {
	case operand.Add, operand.Sub:
		if !old.Empty() && saturates(a, old) {
			v.saturates(a)
		}
		return []change{newChange(a, old)}
	case operand.Prefix:
		lost = a.Bits
	case operand.Set:
	default:
		v.fail(a.At, inverseHint, "%s has no inverse: which %s did the client use?", a.Print(), noun(a.Field)).Propose(v.tracked())
		return nil
	}
	for _, block := range blocks(old, a.Field.Width-lost, maxCases+1) {
		out = append(out, newChange(a, old.Intersect(field.Set{block})))
	}
	return out
}

// saturates reports whether a shift stops at an end for one of the values.
func saturates(a Action, old field.Set) bool {
	if a.Op == operand.Sub {
		return old[0].Lo.Cmp(a.Value) < 0
	}
	return old[len(old)-1].Hi.Cmp(a.Field.Max().Minus(a.Value)) > 0
}

// saturates is the error for a shift that stops at an end of its field.
func (v *inverter) saturates(a Action) {
	end := field.Value{}
	if a.Op == operand.Add {
		end = a.Field.Max()
	}
	v.fail(a.At, "test "+a.Field.Name+" for a range that the shift keeps in", "%s stops at %s and has no inverse there: which %s did the client use?",
		v.rule.Rows.printAction(a), printNumber(a.Field, end), noun(a.Field)).Propose(v.tracked())
}

// blocks are the blocks of 2^host values in which there are values of a set, the first so many.
func blocks(in field.Set, host, most int) (out []field.Range) {
	ones := field.Ones(host)
	for _, r := range in {
		for lo := r.Lo.AndNot(ones); len(out) < most; lo = lo.Plus(ones).Inc() {
			block := field.Range{Lo: lo, Hi: lo.Or(ones)}
			if n := len(out); n == 0 || out[n-1] != block {
				out = append(out, block)
			}
			if block.Hi.Cmp(r.Hi) >= 0 {
				break
			}
		}
	}
	return out
}

const inverseHint = "without memory there is an inverse of a value for a value, a prefix for one of the same length, and a shift that keeps in the field"

// noInverse is the error for an action that makes one value of several.
func (v *inverter) noInverse(a Action, old field.Set) {
	v.fail(a.At, inverseHint, "%s to %s has no inverse: which %s did the client use?",
		anyOrSet(a.Field, old), strings.TrimPrefix(v.rule.Rows.printAction(a), a.Field.Name+" "), noun(a.Field)).Propose(v.tracked())
}

// anyOrSet writes values of a field for a message.
func anyOrSet(f *field.Field, in field.Set) string {
	if in.Full(f.Width) {
		return "any " + noun(f)
	}
	return syntax.Crop(printSet(f, in))
}

// tracked suggests that the kernel keeps the old values for each flow.
func (v *inverter) tracked() syntax.Suggestion {
	end := Span{Start: v.node.RepliesAt.End, End: v.node.RepliesAt.End}
	return syntax.Replace("the kernel keeps it for each flow: ", end, " tracked", "").Showing(v.node.RepliesAt)
}

// noun is what a field of a flow holds, in a word.
func noun(f *field.Field) string {
	switch {
	case f.Kind == field.Port:
		return "port"
	case f.Kind.IsAddress():
		return "address"
	case strings.HasSuffix(f.Name, "vlan_id"):
		return "VLAN"
	}
	return "identifier"
}
