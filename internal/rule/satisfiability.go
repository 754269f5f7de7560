package rule

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// solver says whether a packet can meet all that a rule asks, and if none can, why.
type solver struct {
	report
	sets *evaluator
}

func newSolver(source string) *solver { return &solver{report{source: source}, newEvaluator()} }

// claim is one thing that a rule asks of a packet: a member of its condition,
// or that the header of an action is there.
type claim struct {
	expr Expr
	// at is where it stands, and name the part of it that names a field or a
	// header.
	at, name Span
	// only is the field, if it is there only on some values of another one.
	only *field.Field
	// sum: a checksum is made right or wrong.
	sum bool
	// read: an action reads the field or, by an operand that does, a header.
	read bool
	// reads is how the operand says that, or empty.
	reads string
}

// plain reports that a claim names no field: what it stands for needs no title.
func (cl claim) plain() bool { return cl.name == cl.at && !cl.read }

// test is the test that a claim is, if it is one.
func (cl claim) test() (Test, bool) {
	if and, pair := cl.expr.(And); pair && cl.only != nil {
		return and.X[1].(Test), true
	}
	t, ok := cl.expr.(Test)
	return t, ok && cl.only == nil
}

// claims are all that a rule asks of a packet.
func (v *solver) claims(r *Rule) []claim {
	var list []claim
	for _, a := range r.Actions {
		list = append(list, v.asks(a))
		if a.Op == operand.Copy {
			at := syntax.LastWord(v.source, a.At)
			list = append(list, present(a.From, claim{at: at, name: at, read: true}))
		}
		if len(a.Op.Operand().Over) > 0 {
			list = append(list, v.over(a))
		}
	}
	for _, s := range r.Swaps {
		list = append(list, claim{expr: Has(s), at: s.At, name: s.At})
	}
	slices.SortStableFunc(list, func(a, b claim) int { return a.at.Start - b.at.Start })
	return append(v.members(r.asked()), list...)
}

// asks is what an action asks for: its header; for a field that is there only
// on some values of another one, one of these; and for fix and bad of an L4
// checksum a whole datagram, of which the checker knows the first part.
func (v *solver) asks(a Action) claim {
	out := present(a.Field, claim{at: a.At, name: syntax.FirstWord(v.source, a.At)})
	if out.only == nil && a.Op.Sums() && a.Field.Proto.Header().Layer == field.TransportLayer {
		out.expr, out.sum = And{[]Expr{out.expr, whole(a.At)}, a.At}, true
	}
	return out
}

// present claims that a field is there.
func present(f *field.Field, cl claim) claim {
	if cl.expr = (Has{f.Proto, cl.at}); f.Only != nil {
		cl.expr, cl.only = guard(f, cl.at), f
	}
	return cl
}

// over is what an action asks for because its operand reads one of some headers.
func (v *solver) over(a Action) claim {
	o, at := a.Op.Operand(), a.At
	if i := strings.LastIndex(strings.ToLower(v.words(at)), o.Word); i >= 0 {
		at = Span{Start: at.Start + i, End: at.Start + i + len(o.Word)}
	}
	var any []Expr
	for _, p := range o.Over {
		any = append(any, Has{p, at})
	}
	return claim{expr: Or{any, at}, at: at, name: at, read: true, reads: o.Word + " reads the addresses of a flow"}
}

// whole holds on what may be a whole datagram.
func whole(at Span) Expr {
	notZero := field.Set{{Lo: field.V(1), Hi: field.V(65535)}}
	return Or{[]Expr{
		And{[]Expr{
			Test{Field: field.MustByName("ip_flag_mf"), In: field.One(field.V(0)), At: at},
			Test{Field: field.MustByName("ip_tot_len"), In: notZero, At: at},
		}, at},
		Test{Field: field.MustByName("ip6_len"), In: notZero, At: at},
	}, at}
}

// members are the claims of a condition: those of an and, or itself.
func (v *solver) members(e Expr) []claim {
	xs := conjuncts(e)
	var list []claim
	for i := 0; i < len(xs); i++ {
		cl := claim{expr: xs[i]}
		if i+1 < len(xs) && guards(xs[i], xs[i+1]) {
			i++
			cl.expr, cl.only = And{xs[i-1 : i+1], xs[i].Span()}, xs[i].(Test).Field
		}
		cl.at, cl.name = xs[i].Span(), v.nameOf(xs[i])
		list = append(list, cl)
	}
	return list
}

// nameOf is the part of a condition that names its field or header.
func (v *solver) nameOf(e Expr) Span {
	at := e.Span()
	switch e := e.(type) {
	case Test:
		return syntax.FirstWord(v.source, at)
	case Or:
		if e.X[0].Span() == at { // a generic field
			return syntax.FirstWord(v.source, at)
		}
	}
	return at
}

// complete is the condition of a rule as semantics.md 3.1 has it: with the
// headers of all fields that its actions name.
func (v *solver) complete(r *Rule) Expr {
	var xs []Expr
	for _, cl := range v.claims(r) {
		xs = append(xs, cl.expr)
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return And{xs, r.Cond.Span()}
}

// contradiction says why no packet meets all claims; it is nil when one may,
// and where are the packets that do.
func (v *solver) contradiction(claims []claim) (where packetset.Set, why *syntax.Diagnostic) {
	sofar := packetset.All()
	for i, cl := range claims {
		this := v.sets.packets(cl.expr)
		if this.Empty() {
			return packetset.Set{}, v.never(cl.expr)
		}
		if !sofar.Exact() && (i > packetset.MaxStates || v.sets.Over()) {
			continue // too much to follow; leaving it out is safe
		}
		if sofar = v.sets.Intersect(sofar, this); !sofar.Empty() {
			continue
		}
		for _, before := range claims[:i] {
			if first := v.sets.packets(before.expr); !v.sets.Meets(first, this) {
				return packetset.Set{}, v.clash(before, cl, first, this)
			}
		}
		return packetset.Set{}, v.diagnostic(syntax.Error, cl.at, "", "nothing can match: what stands before excludes %s", v.words(cl.at))
	}
	return sofar, nil
}

// never says why nothing matches a condition that is empty by itself.
func (v *solver) never(e Expr) *syntax.Diagnostic {
	switch e := e.(type) {
	case Or:
		return v.never(e.X[0])
	case And:
		_, why := v.contradiction(v.members(e))
		return why
	case Not:
		return v.diagnostic(syntax.Error, e.At, "", "nothing can match: %s holds for every packet", v.words(e.X.Span()))
	}
	panic("rule: a test by itself is never empty")
}

// maxHalves is how many warnings there are at most before no more members of
// an or are looked at.
const maxHalves = 50

// halves warns of members of an or that can never act. holds are the packets
// that meet all claims around e.
func (c *checker) halves(e Expr, around []claim, holds packetset.Set) {
	switch e := e.(type) {
	case And:
		around = append(slices.Clone(around), c.members(e)...)
		for _, x := range e.X {
			c.halves(x, around, holds)
		}
	case Or:
		for _, x := range e.X {
			c.half(x, e.X, around, holds)
		}
	}
}

func (c *checker) half(x Expr, all []Expr, around []claim, holds packetset.Set) {
	if c.sets.Over() || len(c.program.Warnings) >= maxHalves {
		return
	}
	in := c.sets.packets(x)
	if c.sets.Meets(in, holds) {
		if _, leaf := x.(Test); !leaf {
			c.halves(x, around, c.sets.Intersect(holds, in))
		}
		return
	}
	for _, twin := range all { // another meaning of the same generic field
		if twin.Span() == x.Span() && c.sets.Meets(c.sets.packets(twin), holds) {
			return
		}
	}
	_, why := c.contradiction(c.members(x)) // what is wrong in it comes first
	if why == nil {
		_, why = c.contradiction(append(slices.Clone(around), c.members(x)...))
	}
	if why == nil {
		return
	}
	reason := strings.TrimPrefix(why.Msg, "nothing can match: ")
	c.warn(syntax.Warning, x.Span(), "", "this part of the or can never act: %s", reason)
}
