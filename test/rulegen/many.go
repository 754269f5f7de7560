package rulegen

import (
	"math/bits"
	"math/rand/v2"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// Many writes the text of about n rules of a few shapes: rules that test and set
// the same fields and differ in values, in turn or one shape behind the other,
// now and then with another rule between them. Values come up again and ranges
// overlap, so that which rule comes first counts.
func (s Style) Many(r *rand.Rand, n int) string {
	var models []*rule.Program
	for len(models) < 1+min(r.IntN(4), r.IntN(4)) {
		p, err := rule.Check(s.model(r))
		if err != nil || len(p.Rules) == 0 {
			continue
		}
		if r.IntN(3) > 0 {
			p.Rules[0].Cond = single(p.Rules[0].Cond)
		}
		models = append(models, p)
	}
	turns := r.IntN(2) == 0
	var lines []string
	for i := range n {
		which := i * len(models) / n
		if turns {
			which = r.IntN(len(models))
		}
		text := variant(r, models[which])
		if r.IntN(40) == 0 {
			text = s.one(r)
		}
		if _, err := rule.Check(text); err == nil {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "\n")
}

// one writes one rule.
func (s Style) one(r *rand.Rand) string {
	w := &writer{r: r, style: s}
	w.rule(0)
	_, text, named := strings.Cut(w.b.String(), ": ")
	if named {
		return text
	}
	return w.b.String()
}

// model writes one rule, mostly of some tests that all have to hold.
func (s Style) model(r *rand.Rand) string {
	if r.IntN(6) == 0 {
		return s.one(r)
	}
	w := &writer{r: r, style: s}
	shape := w.shape()
	tests := &scope{shape: shape}
	w.add("if")
	for range 1 + min(r.IntN(3), r.IntN(3)) {
		w.test(tests)
	}
	if !w.chance(6) {
		w.add("then")
		w.actions(shape)
	}
	return w.b.String()
}

// single is a condition whose tests, but for those that must hold anyway, are
// for a single value.
func single(e rule.Expr) rule.Expr {
	switch e := e.(type) {
	case rule.Test:
		if e.Field.Name == "icmp_type" {
			return e
		}
		return rule.Test{Field: e.Field, In: field.One(e.In[0].Lo)}
	case rule.And:
		out := rule.And{}
		for _, x := range e.X {
			out.X = append(out.X, single(x))
		}
		return out
	}
	return e
}

// variant writes a rule of the shape of a program's first.
func variant(r *rand.Rand, model *rule.Program) string {
	first := model.Rules[0]
	var b strings.Builder
	b.WriteString("if " + rule.Print(moved(r, first.Cond)))
	var then []string
	for _, a := range first.Actions {
		if a.Op == operand.Set {
			a.Value = turn(r, a.Field, a.Value)
		}
		then = append(then, a.Print())
	}
	for _, s := range first.Swaps {
		then = append(then, "swap "+s.Proto.String())
	}
	switch {
	case first.Verdict == rule.ToInterface:
		then = append(then, "redirect "+first.Redirect)
	case first.Verdict != rule.Pass:
		then = append(then, first.Verdict.String())
	}
	if len(then) > 0 {
		b.WriteString(" then " + strings.Join(then, " "))
	}
	return b.String()
}

// moved is a condition with other values in its tests.
func moved(r *rand.Rand, e rule.Expr) rule.Expr {
	list := func(in []rule.Expr) []rule.Expr {
		out := make([]rule.Expr, len(in))
		for i, x := range in {
			out[i] = moved(r, x)
		}
		return out
	}
	switch e := e.(type) {
	case rule.Test:
		return rule.Test{Field: e.Field, In: movedSet(r, e.Field, e.In)}
	case rule.Not:
		return rule.Not{X: moved(r, e.X)}
	case rule.And:
		return rule.And{X: list(e.X)}
	case rule.Or:
		return rule.Or{X: list(e.X)}
	}
	return e
}

// movedSet is as many ranges elsewhere: single values stay single, others get
// another length, often that of a prefix.
func movedSet(r *rand.Rand, f *field.Field, in field.Set) field.Set {
	if r.IntN(12) == 0 || f.Width == 1 {
		return in
	}
	var out []field.Range
	for _, at := range in {
		lo := turn(r, f, at.Lo)
		if at.Lo == at.Hi {
			out = append(out, field.Range{Lo: lo, Hi: lo})
			continue
		}
		host := field.Ones(r.IntN(f.Width))
		if r.IntN(2) == 0 {
			out = append(out, field.Range{Lo: lo.AndNot(host), Hi: lo.Or(host)})
			continue
		}
		hi := turn(r, f, at.Hi)
		if hi.Cmp(lo) < 0 {
			lo, hi = hi, lo
		}
		out = append(out, field.Range{Lo: lo, Hi: hi})
	}
	return field.NewSet(out...)
}

// turn is v with some of its bits turned: the lowest ones most often.
func turn(r *rand.Rand, f *field.Field, v field.Value) field.Value {
	some := uint64(r.UintN(1 << min(f.Width, 2+r.IntN(6))))
	if f.Width > 16 && r.IntN(3) == 0 {
		some = bits.RotateLeft64(some, r.IntN(min(f.Width, 64)-8))
	}
	v.Lo ^= some & f.Max().Lo
	return v
}
