package plan

import (
	"math/bits"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// modulus is that of the Internet checksum (RFC 1071): 16-bit one's
// complement arithmetic is arithmetic modulo 65535.
const modulus = 65535

// sums are the checksums that a rule changes in packets of a class: those of
// its headers that cover what it sets, and those that it asks to fix or to
// break. A checksum that the rule sets to a value is a write and no sum.
func sums(r *rule.Rule, c class, known patterns) []Sum {
	var out []Sum
	for _, check := range checksums(c) {
		op, named := namedOp(r, check)
		if named && op == rule.Set {
			continue
		}
		s := Sum{Check: check, ZeroIsNone: check.Proto == field.UDP}
		if named {
			s.Op = sumOp(op)
			s.Last = check.Proto == field.IP && c.proto != field.IP && headerWords(r) != 0
		}
		for _, a := range r.Actions {
			if a.Op == rule.Set && !settled(a, known) {
				s.cover(a, known)
			}
		}
		s.merge()
		if named || s.Const != 0 || len(s.Terms) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// checksums are those of the headers of a class.
func checksums(c class) []*field.Field {
	var out []*field.Field
	for _, f := range field.Fields() {
		if f.Kind == field.Checksum && c.has(f.Proto) {
			out = append(out, f)
		}
	}
	return out
}

func namedOp(r *rule.Rule, check *field.Field) (rule.Op, bool) {
	for _, a := range r.Actions {
		if a.Field == check {
			return a.Op, true
		}
	}
	return 0, false
}

func sumOp(op rule.Op) SumOp {
	if op == rule.Fix {
		return Fix
	}
	return Bad
}

// cover adds what setting a field changes in s: its new value, less the old
// one, which is a constant too if it is known.
func (s *Sum) cover(a rule.Action, known patterns) {
	for _, c := range a.Field.Covers {
		if c.Check != s.Check.Name {
			continue
		}
		s.Changes = append(s.Changes, Change{a.Field, a.Value, c.Weight})
		s.add(a.Value, c.Weight)
		if old, ok := known.of(a.Field.Proto).get(a.Field); ok {
			s.add(old, -c.Weight)
			continue
		}
		// The window shows the field shifted; the weight is for its value.
		w := window(a.Field)
		s.Terms = append(s.Terms, Term{w, c.Weight >> bits.TrailingZeros32(w.Mask)})
	}
}

func (s *Sum) add(v field.Value, weight int) {
	sum := int64(v.Lo%modulus) * int64(weight) % modulus
	s.Const = uint32((int64(s.Const) + sum + modulus) % modulus)
}

// merge joins the terms that read the same bytes with the same factor.
func (s *Sum) merge() {
	var out []Term
next:
	for _, t := range s.Terms {
		for i, o := range out {
			if o.Factor == t.Factor && sameBytes(o.Window, t.Window) && o.Mask&t.Mask == 0 {
				out[i].Mask |= t.Mask
				continue next
			}
		}
		out = append(out, t)
	}
	s.Terms = out
}

func sameBytes(a, b Window) bool {
	return a.Header == b.Header && a.Off == b.Off && a.Size == b.Size
}
