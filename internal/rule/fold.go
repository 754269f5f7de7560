package rule

import (
	"slices"

	"repacket/internal/packetset"
)

// constant is a condition that holds on every packet or on none.
func constant(holds bool, at Span) Expr {
	if holds {
		return All{at}
	}
	return Not{All{at}, at}
}

// isConstant reports whether a condition is constant, and which.
func isConstant(e Expr) (holds, ok bool) {
	if not, is := e.(Not); is {
		_, ok = not.X.(All)
		return false, ok
	}
	_, ok = e.(All)
	return ok, ok
}

// negate is not e.
func negate(e Expr, at Span) Expr {
	if holds, ok := isConstant(e); ok {
		return constant(!holds, at)
	}
	if not, ok := e.(Not); ok {
		return not.X
	}
	return Not{e, at}
}

// both is the condition that all of a list hold, with no constant and no And in it.
func both(list []Expr, at Span) Expr {
	list, never := fold[And](list, true)
	switch {
	case never:
		return constant(false, at)
	case len(list) == 0:
		return constant(true, at)
	case len(list) == 1:
		return list[0]
	}
	return And{list, at}
}

// either is the condition that one of a list holds, with no constant and no Or in it.
func either(list []Expr, at Span) Expr {
	list, always := fold[Or](list, false)
	switch {
	case always:
		return constant(true, at)
	case len(list) == 0:
		return constant(false, at)
	}
	return anyOf(list, at)
}

// fold leaves out the members that are the neutral constant; a member of the other one
// decides. In the place of a member of the kind itself stand its own, and no header stands twice.
func fold[Kind Expr](list []Expr, neutral bool) (out []Expr, decided bool) {
	var all []Expr
	for _, x := range list {
		if _, same := x.(Kind); same {
			all = append(all, parts(x)...)
		} else {
			all = append(all, x)
		}
	}
	var headers packetset.Headers
	for _, x := range all {
		holds, constant := isConstant(x)
		h, header := x.(Has)
		switch {
		case constant && holds != neutral:
			return nil, true
		case constant, header && headers.Has(h.Proto):
			continue
		case header:
			headers |= packetset.HeadersOf(h.Proto)
		}
		out = append(out, x)
	}
	return slices.Clip(out), false
}
