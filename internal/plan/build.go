package plan

import (
	"reflect"
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
	"repacket/internal/why"
)

// asked is what rules look at or change, or what follows from that: only what
// is asked for is told apart.
type asked struct {
	headers map[field.Protocol]bool
	fields  map[string]bool
	// sets are the fields that rules set or swap.
	sets map[string]bool
	// sums: a rule makes a checksum of layer 4 anew.
	sums bool
	// addresses: a rule sets an address of an IP header.
	addresses bool
}

func askedFor(p *rule.Program) asked {
	a := asked{headers: map[field.Protocol]bool{}, fields: map[string]bool{}, sets: map[string]bool{}}
	for _, r := range p.Rules {
		a.condition(r.Cond)
		a.tracked(r)
		for _, x := range r.Actions {
			for _, f := range x.Needs() {
				a.field(f)
			}
			a.follows(x.Field)
			a.sums = a.sums || x.Op.Sums()
			if x.Op == operand.Hash {
				a.headers[field.TCP], a.headers[field.UDP] = true, true
			}
		}
		for _, s := range r.Swaps {
			src, dest := s.Fields()
			a.field(src)
			a.field(dest)
			a.follows(src)
			a.follows(dest)
		}
	}
	return a
}

// tracked notes the headers in which a rule that tracks flows finds what they are known by.
func (a asked) tracked(r *rule.Rule) {
	if r.Replies != rule.Tracked {
		return
	}
	for _, p := range []field.Protocol{field.TCP, field.UDP, field.ICMP, field.ICMP6} {
		a.headers[p] = true
		if r.Quote {
			a.headers[field.QuotedHeader(p)] = true
		}
	}
}

func (a asked) field(f *field.Field) {
	a.header(f.Proto)
	a.fields[f.Name] = true
}

// header notes a header and, of one that stands on layer 4, those below it.
func (a asked) header(p field.Protocol) {
	a.headers[p] = true
	if p.Header().Layer > field.TransportLayer {
		for _, below := range p.Header().Over {
			a.header(below)
		}
	}
}

// follows notes the headers whose checksums follow a field.
func (a *asked) follows(f *field.Field) {
	a.addresses = a.addresses || isAddress(f)
	a.sets[f.Name] = true
	for _, c := range f.Covers {
		a.header(field.MustByName(c.Check).Proto)
	}
}

func (a asked) condition(e rule.Expr) {
	for _, x := range rule.Leaves(e) {
		switch x := x.(type) {
		case rule.Has:
			if x.Proto != field.Eth { // every packet has it, or none
				a.header(x.Proto)
			}
		case rule.Test:
			a.field(x.Field)
		}
	}
}

// tags reports whether packets have to be told apart by their tags: that says
// too where the link's header is.
func (a asked) tags() bool {
	return a.headers[field.Eth] || a.headers[field.VLAN] || a.headers[field.CVLAN]
}

// likeness is the way from an IP header to a layer-4 header for which packets of
// another way need not be told apart from it.
func (a asked) likeness(l3 field.Protocol, w Way) Way {
	if l3 == field.IP {
		if w.Routed() && a.sets["ip_dest"] {
			return Routed
		}
		return Direct
	}
	if w.Homed() && !a.sets["ip6_src"] {
		w -= Homed - Extended
	}
	if a.fields["ip6_next"] || a.fields["ip6_dest"] || a.sums {
		return w
	}
	if w.Homed() {
		return Homed
	}
	return Direct
}

// builder makes the chains of a program.
type builder struct {
	program *rule.Program
	link    field.Link
	asked   asked
	chains  []*Chain
	quotes  []*Quote
	effort  *effort
	tables  *tables
	// written are the rules whose rows are tested one by one.
	written []*rule.Rule
	// tests are those of the rules that are examined, if any are, and behind the places of
	// these in the list of items whose place is behind the last of them.
	tests  []why.Test
	behind map[int]*examined
}

// level makes what is done with packets of so many tags.
func (b *builder) level(tags int) Level {
	c := Class{Link: b.link, Tags: tags}
	l := Level{Other: b.chain(c)}
	if b.link == field.Ethernet && b.asked.headers[field.ARP] {
		c.L3 = field.ARP
		if arp := b.chain(c); arp != l.Other {
			l.ARP = arp
		}
	}
	c.L3 = field.IP
	l.IP = b.network(c, l.Other)
	c.L3 = field.IP6
	l.IP6 = b.network(c, l.Other)
	return l
}

// network makes what is done with packets of an IP header; it is nil if that is
// what is done with others.
func (b *builder) network(c Class, other *Chain) *Network {
	n := &Network{Bare: b.chain(c)}
	for _, p := range field.Protocols() {
		h := p.Header()
		if h.Layer != field.TransportLayer || !b.asked.headers[p] || !slices.Contains(h.Over, c.L3) {
			continue
		}
		c.L4 = p
		if t := b.transport(c); t.Ways != same(n.Bare) {
			n.L4 = append(n.L4, t)
		}
	}
	if b.asked.addresses {
		c.L4, c.Summed = field.None, true
		if t := b.transport(c); t.Ways != same(n.Bare) {
			n.Summed = &t
		}
	}
	if len(n.L4) == 0 && n.Summed == nil && n.Bare == other {
		return nil
	}
	return n
}

func same(c *Chain) (out [ways]Leaf) {
	for w := range out {
		out[w].Plain = c
	}
	return out
}

func (b *builder) transport(c Class) Transport {
	t := Transport{Proto: c.L4}
	for w := range t.Ways {
		if like := b.asked.likeness(c.L3, Way(w)); like != Way(w) {
			t.Ways[w] = t.Ways[like]
			continue
		}
		c.Way = Way(w)
		t.Ways[w] = b.leaf(c)
	}
	return t
}

func (b *builder) leaf(c Class) Leaf {
	l := Leaf{Plain: b.chain(c)}
	l.Quote = b.quote(c, l.Plain)
	if c.L4 != field.TCP || !b.asked.headers[field.MSS] {
		return l
	}
	c.MSS = true
	even := b.chain(c)
	c.Odd = true
	odd := b.chain(c)
	if even != l.Plain || odd != l.Plain {
		l.Even, l.Odd = even, odd
	}
	return l
}

// chain is the chain of a class, or the one of a class that is treated alike.
func (b *builder) chain(c Class) *Chain {
	made := &Chain{Class: c, Steps: b.steps(c)}
	b.effort.spend(stepsToCompare * len(made.Steps))
	for _, old := range b.chains {
		if headersKnown(old.Class, c) && (old.Class.Tags == c.Tags || !old.OnLink()) && sameSteps(old.Steps, made.Steps) {
			return old
		}
	}
	b.effort.add(made)
	b.chains = append(b.chains, made)
	return made
}

// headersKnown reports whether a chain made for one class may serve another: what
// counts the segments of a packet goes by the innermost header of the class.
func headersKnown(made, c Class) bool {
	switch {
	case made.L4 != field.None:
		return made.L4 == c.L4
	case made.L3 != field.None:
		return made.L3 == c.L3
	}
	return true
}

func sameSteps(a, b []Step) bool {
	return len(a) == len(b) && (len(a) == 0 || reflect.DeepEqual(a, b))
}

// OnLink reports whether steps look at the link's header or at a tag, whose
// place depends on the number of tags.
func (c *Chain) OnLink() bool {
	for _, s := range c.Steps {
		for _, w := range s.Windows() {
			if w.Header.Header().Layer < field.NetworkLayer {
				return true
			}
		}
	}
	return false
}

// Windows are all windows of a step but those of its sums: no checksum covers
// what is below IP.
func (s Step) Windows() []Window {
	out := conditionWindows(s.Cond)
	if s.Lookup != nil {
		out = append(out, s.Lookup.Key...)
		for _, same := range s.Lookup.Same {
			out = append(out, same.A, same.B)
		}
	}
	for _, x := range s.Select {
		out = append(out, x.Windows()...)
	}
	for _, c := range s.Computes {
		out = append(out, c.Windows()...)
		if from := c.Action.From; from != nil {
			out = append(out, fieldWindows(from)...)
		}
	}
	if s.Flow != nil {
		out = append(out, s.Flow.Addresses())
	}
	for _, w := range s.Writes {
		out = append(out, w.Window)
	}
	for _, e := range s.Exchanges {
		out = append(out, e.A, e.B)
	}
	if s.Why != nil {
		out = append(out, s.Why.windows()...)
	}
	return out
}

func conditionWindows(c Cond) []Window {
	var out []Window
	for _, x := range leaves(c) {
		if t, is := x.(Test); is {
			out = append(out, t.Window)
		}
	}
	return out
}

// leaves are the parts of a condition that are no And and no Or.
func leaves(c Cond) []Cond {
	var list, out []Cond
	switch c := c.(type) {
	case nil:
		return nil
	case And:
		list = c
	case Or:
		list = c
	default:
		return []Cond{c}
	}
	for _, x := range list {
		out = append(out, leaves(x)...)
	}
	return out
}
