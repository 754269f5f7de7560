package plan

import (
	"maps"
	"slices"

	"repacket/internal/field"
	"repacket/internal/packetset"
	"repacket/internal/rule"
)

// maxTags is how many VLAN tags are told apart (semantics.md 3.6).
const maxTags = 2

// Class is a set of packets that have the same headers.
type Class struct {
	Link field.Link
	// Tags is the number of VLAN tags, where that is told apart.
	Tags int
	// L3 is ARP, IP, IP6 or None, L4 the header of layer 4 or None.
	L3, L4 field.Protocol
	// Summed: there is none that rules know, but field.OtherCheck.
	Summed bool
	Way    Way
	// MSS: TCP has the option, at an odd distance from the header's start if
	// Odd is set.
	MSS, Odd bool
	// Quoted3 and Quoted4 are the headers of the packet that an ICMP error quotes, or None.
	Quoted3, Quoted4 field.Protocol
	// QuotedSum: the checksum of Quoted4 lies inside the quote, and is not UDP's 0.
	QuotedSum bool
}

// Innermost is the innermost header that is known to be there, or None.
func (c Class) Innermost() field.Protocol {
	switch {
	case c.L4 != field.None:
		return c.L4
	case c.L3 != field.None:
		return c.L3
	case c.Link == field.Ethernet:
		return field.Eth
	}
	return field.None
}

// has reports whether packets of the class have the header. A header of layer 4
// that no chain is made for is one that no rule asks for.
func (c Class) has(p field.Protocol) bool { return c.headers().Has(p) }

func (c Class) headers() packetset.Headers {
	var list []field.Protocol
	if c.Link == field.Ethernet {
		list = append(list, []field.Protocol{field.Eth, field.VLAN, field.CVLAN}[:1+c.Tags]...)
	}
	for _, p := range []field.Protocol{c.L3, c.L4, c.Quoted3, c.Quoted4} {
		if p != field.None {
			list = append(list, p)
		}
	}
	if c.MSS {
		list = append(list, field.MSS)
	}
	return packetset.HeadersOf(list...)
}

// facts are what is known of the fields of packets of the class: what has to
// hold for its headers to be there. Where extension headers are stepped over, the
// first of them is not the header of layer 4.
func (c Class) facts() facts {
	known := facts{}
	for _, k := range packetset.Needs(c.headers()) {
		known[k.Field.Name] = k.In
	}
	if next, ok := known["ip6_next"]; ok {
		direct := field.One(field.V(uint64(c.L4.Header().Number)))
		if c.Way != Direct {
			direct = direct.Complement(8)
		}
		known["ip6_next"] = next.Intersect(direct)
	}
	return known
}

// counts reports whether a field counts in a pseudo-header that covers it, in packets
// of the class. ip6_next and addresses stand there only as long as no extension header
// and no option says otherwise (RFC 8200 section 8.1, RFC 6275 section 11.3.1, RFC 791
// section 3.1).
func (c Class) counts(f *field.Field) bool {
	return !c.Way.Elsewhere(f) && (f.Name != "ip6_next" || c.Way == Direct)
}

// weight is what one unit of f adds to a checksum that covers it. At an odd
// place the two bytes of a field count for each other.
func (c Class) weight(check, f *field.Field, cover field.Cover) int {
	if c.overQuote(check, f) {
		return c.messageWeight(f, cover)
	}
	if f.Proto == field.MSS && c.Odd {
		return cover.Weight * 256 % modulus
	}
	return cover.Weight
}

// facts are the values that a field, by its name, can still have.
type facts map[string]field.Set

func (f facts) with(t test) facts {
	out := maps.Clone(f)
	out[t.field.Name] = f.of(t.field).Intersect(t.in)
	return out
}

func (f facts) of(fd *field.Field) field.Set {
	if s, ok := f[fd.Name]; ok {
		return s
	}
	return field.All(fd.Width)
}

// walk makes the steps of a class, rule by rule.
type walk struct {
	program *rule.Program
	class   Class
	known   facts // of packets on which none of them acts
	out     []Step
	done    bool // nothing is left
	effort  *effort
}

func (b *builder) newWalk(c Class) *walk {
	return &walk{program: b.program, class: c, known: c.facts(), effort: b.effort}
}

// rule adds a rule whose headers are there, if it can act.
func (w *walk) rule(r *rule.Rule) {
	if !w.done {
		w.node(r, w.simplified(r, w.known))
	}
}

// simplified is the condition of a rule for packets of the class.
func (w *walk) simplified(r *rule.Rule, known facts) node {
	if w.effort.rule = r; w.effort.err != nil {
		return never
	}
	return w.effort.simplify(lower(r.Cond, w.class, false), known)
}

// node adds a rule by its condition, which has been worked out.
func (w *walk) node(r *rule.Rule, n node) {
	if w.done || n == never || !w.effort.spend(stepsOfRule) {
		return
	}
	s, ok := step(w.program, r, n, w.class)
	if !ok {
		return
	}
	w.effort.spend(stepsOfTest * leavesOf(s.Cond))
	w.out = append(w.out, s)
	if s.Answers != nil { // whether it acts does not follow from its condition
		return
	}
	w.done = s.Cond == nil
	w.known = w.unless(n, s)
}

// unless is what is known where a step did not act. Only a condition that is
// one test of one field says something simple.
func (w *walk) unless(n node, s Step) facts {
	t, ok := n.(test)
	if _, plain := s.Cond.(Test); !ok || !plain {
		return w.known
	}
	w.effort.spend(len(w.known) + len(w.known.of(t.field)) + len(t.in))
	return w.known.with(test{t.field, t.in.Complement(t.field.Width)})
}

// headersThere reports whether packets of the class have every header that the
// rule's actions touch or read: that is part of its condition (semantics.md 3.1).
func headersThere(r *rule.Rule, c Class) bool {
	for _, a := range r.Actions {
		for _, f := range a.Needs() {
			if !c.has(f.Proto) {
				return false
			}
		}
		if over := a.Op.Operand().Over; len(over) > 0 && !slices.ContainsFunc(over, c.has) {
			return false
		}
	}
	for _, s := range r.Swaps {
		if !c.has(s.Proto) {
			return false
		}
	}
	return true
}
