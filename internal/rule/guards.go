package rule

import (
	"slices"
	"strings"

	"repacket/internal/field"
)

// Some fields are there only where another one of their header has one of some
// values (field.Only). The checker writes that into the condition, as a guard:
// a test that stands in an and right before each test of such a field, and
// behind all else for each such field that an action sets. Printing leaves the
// guards out, since reading puts them back.

// guard holds where f, which has an Only, is there.
func guard(f *field.Field, at Span) Test {
	return Test{Field: field.MustByName(f.Only.Field), In: f.Only.In, At: at}
}

// isGuard reports whether x is the guard of f.
func isGuard(x Expr, f *field.Field) bool {
	t, ok := x.(Test)
	return ok && f.Only != nil && len(t.Cells) == 0 && t.Field.Name == f.Only.Field && t.In.Equal(f.Only.In)
}

// guards reports whether x is the guard of the test y.
func guards(x, y Expr) bool {
	t, ok := y.(Test)
	return ok && isGuard(x, t.Field)
}

// Guards are the tests of what has to hold for the optional fields to be there that the
// actions set or read: one for each kind, in order.
func (r *Rule) Guards() (fields []*field.Field, guards []Test) {
	for _, o := range needed(r.Actions) {
		fields, guards = append(fields, o.f), append(guards, guard(o.f, o.at))
	}
	return fields, guards
}

// guarded is a test with its guard, if its field has one.
func guarded(t Test) Expr {
	if t.Field.Only == nil {
		return t
	}
	return And{[]Expr{guard(t.Field, t.At), t}, t.At}
}

// withGuards is the condition with the guards of what the actions set and
// read, one for each kind.
func withGuards(cond Expr, actions []Action) Expr {
	for _, o := range needed(actions) {
		xs := conjuncts(cond)
		cond = And{append(xs[:len(xs):len(xs)], guard(o.f, o.at)), cond.Span()}
	}
	return cond
}

// optional is a field with an Only and the action that names it.
type optional struct {
	f  *field.Field
	at Span
}

// needed are the fields that actions set or read and that are there only on
// some values of another one: one for each field.Only.
func needed(actions []Action) []optional {
	var out []optional
	for _, a := range actions {
		for _, f := range a.Needs() {
			same := func(o optional) bool { return o.f.Only == f.Only }
			if f.Only != nil && !slices.ContainsFunc(out, same) {
				out = append(out, optional{f, a.At})
			}
		}
	}
	return out
}

// asked is the condition without the guards that the checker put behind it for
// the actions.
func (r *Rule) asked() Expr {
	cond := r.Cond
	for _, o := range slices.Backward(needed(r.Actions)) {
		and, ok := cond.(And)
		if !ok || !isGuard(and.X[len(and.X)-1], o.f) {
			continue
		}
		cond = and.X[0]
		if n := len(and.X) - 1; n > 1 {
			cond = And{and.X[:n], and.At}
		}
	}
	return cond
}

// printOnly writes where f is there, with a name for every value that has one.
func printOnly(f *field.Field) string {
	g := field.MustByName(f.Only.Field)
	var words []string
	for _, r := range f.Only.In {
		for v := r.Lo; ; v = v.Inc() {
			words = append(words, PrintValue(g, v))
			if v == r.Hi {
				break
			}
		}
	}
	return g.Name + " " + strings.Join(words, ",")
}
