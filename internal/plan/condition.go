package plan

import (
	"repacket/internal/field"
	"repacket/internal/rule"
)

// node is a condition within a class: always, never, test, vary, chance, allOf
// or anyOf.
// There is no "not" and no test for a header: a class knows its headers, so
// both have been worked out.
type node interface{}

type (
	constant bool
	test     struct {
		field *field.Field
		in    field.Set
	}
	chance Chance
	allOf  []node
	anyOf  []node
)

const (
	always = constant(true)
	never  = constant(false)
)

// lower writes a condition down for the packets of a class, negated if not is
// set. A test on a field whose header is not there is false (semantics.md 3.3), so
// its negation is true.
func lower(e rule.Expr, c Class, not bool) node {
	switch e := e.(type) {
	case rule.Has:
		return constant(c.has(e.Proto) != not)
	case rule.Test:
		if !c.has(e.Field.Proto) {
			return constant(not)
		}
		if len(e.Cells) > 0 {
			return vary{e.Field, e.Cells[0], not}
		}
		if not {
			return test{e.Field, e.In.Complement(e.Field.Width)}
		}
		return test{e.Field, e.In}
	case rule.Chance:
		if e.Threshold() == 1<<32 {
			return constant(!not)
		}
		return chance{Index: e.Index, Below: uint32(e.Threshold()), Not: not, At: e}
	case rule.Not:
		return lower(e.X, c, !not)
	case rule.And:
		return lowerList(e.X, c, not, not)
	case rule.Or:
		return lowerList(e.X, c, not, !not)
	}
	return constant(!not) // all
}

// lowerList lowers an "and", or an "or" if disjunction is set; De Morgan has
// been applied by the caller.
func lowerList(list []rule.Expr, c Class, not, disjunction bool) node {
	nodes := make([]node, len(list))
	for i, x := range list {
		nodes[i] = lower(x, c, not)
	}
	if disjunction {
		return anyOf(nodes)
	}
	return allOf(nodes)
}

// simplify works out every test whose outcome is known: removing dead
// branches costs the kernel quadratic time that cannot be interrupted, so
// none must reach it.
func (e *effort) simplify(n node, known facts) node {
	if !e.spend(1) {
		return n // what comes of it is not used
	}
	switch n := n.(type) {
	case test:
		have := known.of(n.field)
		e.spend(len(have) + len(n.in))
		switch left := have.Intersect(n.in); {
		case left.Empty():
			return never
		case left.Equal(have):
			return always
		}
		return n
	case allOf:
		return e.simplifyAll(n, known)
	case anyOf:
		return e.simplifyAny(n, known)
	}
	return n
}

// simplifyAll merges the tests of each field into one and lets them tell the
// other parts what is known.
func (e *effort) simplifyAll(n allOf, known facts) node {
	parts := e.merge(flatten[allOf](n), func(t test, all []test) field.Set {
		var outside field.Set
		for _, x := range all {
			outside = append(outside, x.in.Complement(t.field.Width)...)
		}
		return field.NewSet(outside...).Complement(t.field.Width)
	})
	inner := known
	for _, x := range parts {
		if t, ok := x.(test); ok {
			e.spend(len(inner) + len(t.in))
			inner = inner.with(t)
		}
	}
	var out allOf
	again := false
	for _, x := range parts {
		_, nested := x.(anyOf)
		if _, plain := x.(test); plain {
			x = e.simplify(x, known)
		} else {
			x = e.simplify(x, inner)
		}
		if x == never {
			return never
		}
		if x != always {
			_, alternatives := x.(anyOf)
			_, lots := x.(chance)
			again = again || nested && !alternatives && !lots
			out = append(out, x)
		}
	}
	if again && e.err == nil { // an "or" came down to one half: its tests can merge with ours
		return e.simplifyAll(out, known)
	}
	return unwrap[allOf](out, always)
}

// simplifyAny merges the tests of each field into one.
func (e *effort) simplifyAny(n anyOf, known facts) node {
	var parts []node
	for _, x := range flatten[anyOf](n) {
		x = e.simplify(x, known)
		if x == always {
			return always
		}
		if x != never {
			parts = append(parts, x)
		}
	}
	parts = e.merge(parts, func(_ test, all []test) field.Set {
		var in field.Set
		for _, x := range all {
			in = append(in, x.in...)
		}
		return field.NewSet(in...)
	})
	for _, x := range parts {
		if _, ok := x.(test); ok && e.simplify(x, known) == always {
			return always
		}
	}
	return unwrap[anyOf](parts, never)
}

// merge puts one test in the place of the first one of each field, for the
// values that in gives for all of them.
func (e *effort) merge(list []node, in func(t test, all []test) field.Set) []node {
	var out []node
	at := map[*field.Field]int{}
	all := map[*field.Field][]test{}
	for _, x := range list {
		if t, ok := x.(test); ok {
			e.spend(1 + len(t.in))
			all[t.field] = append(all[t.field], t)
			if len(all[t.field]) > 1 {
				continue
			}
			at[t.field] = len(out)
		}
		out = append(out, x)
	}
	for f, tests := range all {
		if len(tests) > 1 {
			out[at[f]] = test{f, in(tests[0], tests)}
		}
	}
	return out
}

// unwrap is the condition that T makes of a list, which needs none around one member.
func unwrap[T ~[]node](list []node, empty node) node {
	switch len(list) {
	case 0:
		return empty
	case 1:
		return list[0]
	}
	return T(list)
}

// flatten puts the members of each T in a list in its place.
func flatten[T ~[]node](list []node) []node {
	var out []node
	for _, x := range list {
		if inner, ok := x.(T); ok {
			out = append(out, flatten[T](inner)...)
			continue
		}
		out = append(out, x)
	}
	return out
}
