package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
)

// claim is one thing that a rule asks of a packet: a member of its condition,
// or that the field of an action is there.
type claim struct {
	expr Expr
	// at is where it stands, and name the part of it that names a field or a
	// header.
	at, name Span
}

// plain tells that a claim names no field: what it stands for needs no title.
func (cl claim) plain() bool { return cl.name == cl.at }

// claims are all that a rule asks of a packet.
func (c *checker) claims(r *Rule) []claim {
	list := c.members(r.Cond)
	for _, a := range r.Actions {
		name := c.firstWord(a.At)
		list = append(list, claim{c.asks(a), a.At, name})
	}
	return list
}

// asks is what an action asks for: its header, and for fix and bad of an L4
// checksum a whole datagram, of which the checker knows the first part.
func (c *checker) asks(a Action) Expr {
	has := Has{a.Field.Proto, a.At}
	if a.Op == Set || a.Field.Proto.Header().Layer != 4 {
		return has
	}
	return And{[]Expr{has, Test{field.MustByName("ip_flag_mf"), only(0), a.At}}, a.At}
}

// members are the claims of a condition: those of an and, or itself.
func (c *checker) members(e Expr) []claim {
	xs := []Expr{e}
	if and, ok := e.(And); ok {
		xs = and.X
	}
	var list []claim
	for _, x := range xs {
		list = append(list, claim{x, x.Span(), c.nameOf(x)})
	}
	return list
}

// nameOf is the part of a condition that names its field or header.
func (c *checker) nameOf(e Expr) Span {
	at := e.Span()
	switch e := e.(type) {
	case Test:
		return c.firstWord(at)
	case Or:
		if e.X[0].Span() == at { // a short name
			return c.firstWord(at)
		}
	}
	return at
}

func (c *checker) firstWord(at Span) Span {
	end := at.Start
	for end < at.End && isWordByte(c.program.Source[end]) {
		end++
	}
	return Span{at.Start, end}
}

// words is a piece of the source for a message.
func (c *checker) words(at Span) string { return excerpt(c.program.Source, at) }

// whole is the condition of a rule as part 3.1 of the design has it: with the
// headers of all fields that its actions name.
func (c *checker) whole(r *Rule) Expr {
	var xs []Expr
	for _, cl := range c.claims(r) {
		xs = append(xs, cl.expr)
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return And{xs, r.Cond.Span()}
}

// contradiction says why no packet meets all claims; it is nil when one may,
// and where are the packets that do.
func (c *checker) contradiction(claims []claim) (where union, why *Diagnostic) {
	sofar := union{states: []state{anything()}}
	for i, cl := range claims {
		this := packets(cl.expr)
		if this.empty() {
			return union{}, c.never(cl.expr)
		}
		if sofar.hull && i > maxStates {
			continue // too much to follow; leaving it out is safe
		}
		if sofar = both(sofar, this); !sofar.empty() {
			continue
		}
		for _, before := range claims[:i] {
			if first := packets(before.expr); !first.meets(this) {
				return union{}, c.clash(before, cl, first, this)
			}
		}
		return union{}, c.diagnostic(Error, cl.at, "", "nothing can match: what stands before excludes %s", c.words(cl.at))
	}
	return sofar, nil
}

// never says why nothing matches a condition that is empty by itself.
func (c *checker) never(e Expr) *Diagnostic {
	switch e := e.(type) {
	case Or:
		return c.never(e.X[0])
	case And:
		_, why := c.contradiction(c.members(e))
		return why
	case Not:
		return c.diagnostic(Error, e.At, "", "nothing can match: %s holds for every packet", c.words(e.X.Span()))
	}
	panic("rule: a test by itself is never empty")
}

// clash says why no packet meets both a and b, of which b stands behind a.
func (c *checker) clash(a, b claim, inA, inB union) *Diagnostic {
	for layer := 4; layer >= 2; layer-- {
		x, y := inA.headers(layer), inB.headers(layer)
		if x&1 == 0 && y&1 == 0 && x&y == 0 {
			return c.twoHeaders(a, b, x, y)
		}
	}
	s, isTest := a.expr.(Test)
	t, both := b.expr.(Test)
	if isTest && both && s.Field == t.Field {
		return c.twoValues(a, b)
	}
	for _, pair := range [][2]claim{{a, b}, {b, a}} {
		if text := c.needsBelow(pair[0], pair[1]); text != "" {
			return c.diagnostic(Error, b.at, "", "nothing can match: %s", text)
		}
	}
	hint := ""
	if _, sum := b.expr.(And); sum {
		hint = "fix and bad ask for a whole datagram, no fragment"
	}
	return c.diagnostic(Error, b.at, hint, "nothing can match: %s and %s exclude each other", c.words(a.at), c.words(b.at))
}

// headers are the headers of a layer, as bits, that packets of u may have; the
// lowest bit: none.
func (u union) headers(layer int) uint16 {
	var all uint16
	for _, s := range u.states {
		all |= s.layers[layer]
	}
	return all
}

// protocols are the headers of a set of bits.
func protocols(bits uint16) []field.Protocol {
	return slices.DeleteFunc(field.Protocols(), func(p field.Protocol) bool { return bits&(1<<p) == 0 })
}

func titles(bits uint16) string {
	var names []string
	for _, p := range protocols(bits) {
		names = append(names, p.Header().Title)
	}
	return strings.Join(names, " or ")
}

// twoHeaders is the error for claims on different headers x and y of a layer.
func (c *checker) twoHeaders(a, b claim, x, y uint16) *Diagnostic {
	first, second := c.words(a.name), c.words(b.name)
	hasA, hasB := a.plain(), b.plain()
	if _, group := a.expr.(Or); group && hasA {
		first = "(" + first + ")"
	}
	if _, group := b.expr.(Or); group && hasB {
		second = "(" + second + ")"
	}
	msg := fmt.Sprintf("%s is %s, %s is %s", first, titles(x), second, titles(y))
	switch {
	case hasA && hasB:
		msg = first + " and " + second
	case hasA:
		msg = fmt.Sprintf("%s and %s (%s)", first, second, titles(y))
	case hasB:
		msg = fmt.Sprintf("%s (%s) and %s", first, titles(x), second)
	}
	hint := "only outer headers are looked at"
	if theirs := protocols(x); len(theirs) == 1 {
		if f, ok := field.ByName(strings.ToLower(second)); ok {
			if twin, ok := field.ByName(theirs[0].String() + strings.TrimPrefix(f.Name, f.Proto.String())); ok {
				rest := c.words(Span{b.name.End, b.at.End})
				hint = fmt.Sprintf("for %s: %s %s (%s)", theirs[0].Header().Title, twin.Name, rest, hint)
			}
		}
	}
	return c.diagnostic(Error, b.name, hint, "no packet has both: %s", msg)
}

// twoValues is the error for two tests of one field that exclude each other.
func (c *checker) twoValues(a, b claim) *Diagnostic {
	first, isA := c.asked(a)
	second, isB := c.asked(b)
	hint := ""
	if isA && isB {
		hint = fmt.Sprintf("one of them: %s %s,%s", c.words(a.name), first, second)
	}
	return c.diagnostic(Error, b.at, hint, "nothing can match: %s is asked to be %s and %s", c.words(b.name), first, second)
}

// asked is what a test asks of its field, in the words of the source; equal
// tells that these are plain values.
func (c *checker) asked(cl claim) (text string, equal bool) {
	text = c.words(Span{cl.name.End, cl.at.End})
	word := text[:strings.IndexFunc(text+" ", func(r rune) bool { return r == ' ' || r >= '0' && r <= '9' })]
	switch strings.ToLower(word) {
	case "ne", "lt", "le", "gt", "ge", "!=", "<", "<=", ">", ">=":
		return text, false
	case "eq", "=", "==":
		text = strings.TrimSpace(text[len(word):])
	}
	return text, true
}

// needsBelow says which value of test's field the header that cl asks for
// needs, if that is why they exclude each other.
func (c *checker) needsBelow(cl, test claim) string {
	t, ok := test.expr.(Test)
	headers := packets(cl.expr).headers(4)
	if !ok || headers&1 != 0 {
		return ""
	}
	allowed := field.Set{}
	for _, p := range protocols(headers) {
		for _, k := range carried[p].facts {
			if k.f == widest[t.Field] {
				allowed = allowed.Union(k.in)
			}
		}
	}
	if allowed.Empty() || !allowed.Intersect(factOf(t.Field, t.In).in).Empty() {
		return ""
	}
	return fmt.Sprintf("%s needs %s", c.words(cl.name), Print(Test{Field: widest[t.Field], In: allowed}))
}

// maxHalves is how many warnings there are at most before no more members of
// an or are looked at.
const maxHalves = 50

// halves warns of members of an or that can never act. holds are the packets
// that meet all claims around e.
func (c *checker) halves(e Expr, around []claim, holds union) {
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

func (c *checker) half(x Expr, all []Expr, around []claim, holds union) {
	in := packets(x)
	if in.meets(holds) {
		if _, leaf := x.(Test); !leaf {
			c.halves(x, around, both(holds, in))
		}
		return
	}
	for _, twin := range all { // another meaning of the same short name
		if twin.Span() == x.Span() && packets(twin).meets(holds) {
			return
		}
	}
	if len(c.program.Warnings) >= maxHalves {
		return
	}
	_, why := c.contradiction(append(slices.Clone(around), c.members(x)...))
	if why == nil {
		return
	}
	reason := strings.TrimPrefix(why.Msg, "nothing can match: ")
	c.warn(Warning, x.Span(), "", "this part of the or can never act: %s", reason)
}
