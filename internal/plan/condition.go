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
func simplify(n node, known facts) node {
	switch n := n.(type) {
	case test:
		switch left := known.of(n.field).Intersect(n.in); {
		case left.Empty():
			return never
		case left.Equal(known.of(n.field)):
			return always
		}
		return n
	case allOf:
		return simplifyAll(n, known)
	case anyOf:
		return simplifyAny(n, known)
	}
	return n
}

// simplifyAll merges the tests of each field into one and lets them tell the
// other parts what is known.
func simplifyAll(n allOf, known facts) node {
	var parts []node
	at := map[string]int{}
	for _, x := range flattenAll(n) {
		t, ok := x.(test)
		if i, seen := at[fieldName(t)]; ok && seen {
			old := parts[i].(test)
			parts[i] = test{t.field, old.in.Intersect(t.in)}
			continue
		}
		if ok {
			at[t.field.Name] = len(parts)
		}
		parts = append(parts, x)
	}
	inner := known
	for _, x := range parts {
		if t, ok := x.(test); ok {
			inner = inner.with(t)
		}
	}
	var out allOf
	again := false
	for _, x := range parts {
		_, nested := x.(anyOf)
		if _, plain := x.(test); plain {
			x = simplify(x, known)
		} else {
			x = simplify(x, inner)
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
	if again { // an "or" came down to one half: its tests can merge with ours
		return simplifyAll(out, known)
	}
	return unwrap(out, always, func(l []node) node { return allOf(l) })
}

// simplifyAny merges the tests of each field into one.
func simplifyAny(n anyOf, known facts) node {
	var parts []node
	at := map[string]int{}
	for _, x := range flattenAny(n) {
		x = simplify(x, known)
		if x == always {
			return always
		}
		if x == never {
			continue
		}
		t, ok := x.(test)
		if i, seen := at[fieldName(t)]; ok && seen {
			old := parts[i].(test)
			parts[i] = test{t.field, old.in.Union(t.in)}
			if simplify(parts[i], known) == always {
				return always
			}
			continue
		}
		if ok {
			at[t.field.Name] = len(parts)
		}
		parts = append(parts, x)
	}
	return unwrap(parts, never, func(l []node) node { return anyOf(l) })
}

func fieldName(t test) string {
	if t.field == nil {
		return ""
	}
	return t.field.Name
}

func unwrap(list []node, empty node, wrap func([]node) node) node {
	switch len(list) {
	case 0:
		return empty
	case 1:
		return list[0]
	}
	return wrap(list)
}

func flattenAll(list []node) []node {
	var out []node
	for _, x := range list {
		if inner, ok := x.(allOf); ok {
			out = append(out, flattenAll(inner)...)
			continue
		}
		out = append(out, x)
	}
	return out
}

func flattenAny(list []node) []node {
	var out []node
	for _, x := range list {
		if inner, ok := x.(anyOf); ok {
			out = append(out, flattenAny(inner)...)
			continue
		}
		out = append(out, x)
	}
	return out
}
