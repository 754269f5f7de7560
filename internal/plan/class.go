package plan

import (
	"reflect"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// class is a set of packets that have the same headers: Ethernet alone,
// IPv4, or IPv4 and one header of layer 4.
type class struct {
	proto field.Protocol
}

// has tells whether packets of the class have the header. A header of layer 4
// that no chain is made for is one that no rule asks for.
func (c class) has(p field.Protocol) bool {
	switch p {
	case field.Eth:
		return true
	case field.IP:
		return c.proto != field.Eth
	}
	return p == c.proto
}

// facts are what is known of the fields of packets of the class: what has to
// hold for a header of layer 4 to be there (part 3.6 of the design).
func (c class) facts() facts {
	known := facts{}
	h := c.proto.Header()
	if h.Layer == 4 {
		known["ip_ver"] = field.One(field.V(4))
		known["ip_hl"] = field.NewSet(field.Range{Lo: field.V(5), Hi: field.V(15)})
		known["ip_offset"] = field.One(field.V(0))
		known["ip_protocol"] = field.One(field.V(uint64(h.Number)))
	}
	return known
}

// facts are the values that a field, by its name, can still have.
type facts map[string]field.Set

func (f facts) with(t test) facts {
	out := make(facts, len(f)+1)
	for k, v := range f {
		out[k] = v
	}
	out[t.field.Name] = f.of(t.field).Intersect(t.in)
	return out
}

func (f facts) of(fd *field.Field) field.Set {
	if s, ok := f[fd.Name]; ok {
		return s
	}
	return field.All(fd.Width)
}

// chain is the rules of p that can act on packets of the class, in order. It
// ends behind a rule that takes all that is left.
func chain(p *rule.Program, c class) Chain {
	out := Chain{Proto: c.proto}
	known := c.facts()
	for _, r := range p.Rules {
		if !actionsThere(r, c) {
			continue
		}
		n := simplify(lower(r.Cond, c, false), known)
		if n == never {
			continue
		}
		s, ok := step(p, r, n, c)
		if !ok {
			continue
		}
		out.Steps = append(out.Steps, s)
		if s.Cond == nil {
			break
		}
		known = unless(known, n, s)
	}
	return out
}

// unless is what is known where a step did not act. Only a condition that is
// one test of one field says something simple.
func unless(known facts, n node, s Step) facts {
	t, ok := n.(test)
	if _, plain := s.Cond.(Test); !ok || !plain {
		return known
	}
	return known.with(test{t.field, t.in.Complement(t.field.Width)})
}

// actionsThere tells whether packets of the class have every field that the
// rule's actions set: that is part of its condition (part 3.1).
func actionsThere(r *rule.Rule, c class) bool {
	for _, a := range r.Actions {
		if !c.has(a.Field.Proto) {
			return false
		}
	}
	return true
}

// toldApart lists the layer-4 headers that rules ask for, or whose checksum
// follows something that a rule sets.
func toldApart(p *rule.Program) []field.Protocol {
	asked := map[field.Protocol]bool{}
	for _, r := range p.Rules {
		askedBy(r.Cond, asked)
		for _, a := range r.Actions {
			asked[a.Field.Proto] = true
			for _, c := range a.Field.Covers {
				asked[field.MustByName(c.Check).Proto] = true
			}
		}
	}
	var out []field.Protocol
	for _, proto := range field.Protocols() {
		if proto.Header().Layer == 4 && asked[proto] {
			out = append(out, proto)
		}
	}
	return out
}

func askedBy(e rule.Expr, asked map[field.Protocol]bool) {
	switch e := e.(type) {
	case rule.Has:
		asked[e.Proto] = true
	case rule.Test:
		asked[e.Field.Proto] = true
	case rule.Not:
		askedBy(e.X, asked)
	case rule.And:
		for _, x := range e.X {
			askedBy(x, asked)
		}
	case rule.Or:
		for _, x := range e.X {
			askedBy(x, asked)
		}
	}
}

// sameSteps tells whether two classes are treated alike, so that they need
// not be told apart.
func sameSteps(a, b Chain) bool {
	return len(a.Steps) == len(b.Steps) && (len(a.Steps) == 0 || reflect.DeepEqual(a.Steps, b.Steps))
}
