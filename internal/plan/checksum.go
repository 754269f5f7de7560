package plan

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// modulus is that of the Internet checksum (RFC 1071): 16-bit one's
// complement arithmetic is arithmetic modulo 65535.
const modulus = 65535

// sums are the checksums that a rule changes in packets of a class: those of
// its headers that cover what it sets, and those that it asks to fix or to
// break. A checksum that the rule sets to a value is a write and no sum.
func sums(r *rule.Rule, list []edit, c Class, known patterns) []Sum {
	var out []Sum
	for _, check := range checksums(c) {
		op, named := namedOp(r, check)
		if named && !op.Sums() {
			continue
		}
		udp := check.Proto == field.UDP || check.Proto == field.QuotedUDP
		s := Sum{Check: check, ZeroIsNone: udp, Ones: udp || named && check.Proto == field.ICMP}
		if named {
			s.Op, s.L3 = map[operand.Op]SumOp{operand.Fix: Fix, operand.Bad: Bad}[op], c.L3
			s.Last = check.Proto == field.IP && (c.L4 != field.None || c.Summed) && headerWords(r) != 0
		}
		for _, e := range list {
			if !settled(e, known) {
				s.cover(c, Change{Field: e.field, Value: e.value, Computed: e.compute}, known)
			}
		}
		for _, swap := range r.Swaps {
			s.coverSwap(c, swap, known)
		}
		s.merge()
		if named || s.Const != 0 || len(s.Terms) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// checksums are those of the headers of a class.
func checksums(c Class) []*field.Field {
	var out []*field.Field
	for _, f := range field.AllFields() {
		if f.Kind == field.Checksum && c.summed(f) {
			out = append(out, f)
		}
	}
	if c.Summed {
		out = append(out, field.OtherCheck)
	}
	return out
}

// isAddress reports whether a field is an address of the pseudo-header, or a part of one.
func isAddress(f *field.Field) bool {
	const inIP, inIP6 = 12, 8 // where the addresses begin, behind all else
	return f.Proto == field.IP && f.Byte() >= inIP || f.Proto == field.IP6 && f.Byte() >= inIP6
}

// coversIn are the places of a field in a checksum.
func coversIn(check, f *field.Field) []field.Cover {
	if check != field.OtherCheck {
		return f.Covers
	}
	i := slices.IndexFunc(f.Covers, func(c field.Cover) bool { return c.Pseudo })
	if i < 0 || !isAddress(f) {
		return nil
	}
	cover := f.Covers[i] // as in the other pseudo-headers
	cover.Check = check.Name
	return []field.Cover{cover}
}

func namedOp(r *rule.Rule, check *field.Field) (operand.Op, bool) {
	for _, a := range r.Actions {
		if a.Field == check {
			return a.Op, true
		}
	}
	return 0, false
}

// cover adds what a change of a field changes in s: its new value, less the old
// one, which is a constant too if it is known.
func (s *Sum) cover(c Class, change Change, known patterns) {
	for _, cover := range coversIn(s.Check, change.Field) {
		if cover.Check != s.Check.Name || cover.Pseudo && !c.counts(change.Field) {
			continue
		}
		change.Weight, change.Pseudo = c.weight(s.Check, change.Field, cover), cover.Pseudo
		if change.Weight == 0 {
			continue
		}
		s.Changes = append(s.Changes, change)
		part := partOf(change)
		switch {
		case change.From != nil:
			s.old(change.From, -change.Weight, part, known)
		case change.Computed != nil:
			s.computed(change.Computed, -change.Weight, part)
		default:
			s.add(change.Value, change.Weight, part)
		}
		s.old(change.Field, change.Weight, part, known)
	}
}

func partOf(c Change) Part {
	switch {
	case !c.Pseudo:
		return Own
	case c.Field.Proto == field.IP6 && c.From == nil: // a swap leaves the bytes' sum
		return PseudoIP6
	}
	return Pseudo
}

// coverSwap adds what a swap changes: nothing, where source and destination
// count alike.
func (s *Sum) coverSwap(c Class, swap rule.Swap, known patterns) {
	src, dest := swap.Fields()
	if s.Check.Proto == field.IP || c.counts(src) == c.counts(dest) {
		return
	}
	s.cover(c, Change{Field: src, From: dest}, known)
	s.cover(c, Change{Field: dest, From: src}, known)
}

// old subtracts the value that a field had when the packet arrived.
func (s *Sum) old(f *field.Field, weight int, part Part, known patterns) {
	if v, ok := known.of(f.Proto).get(f); ok {
		s.add(v, -weight, part)
		return
	}
	for _, w := range fieldWindows(f) { // a window shows the field shifted
		s.Terms = append(s.Terms, Term{Window: w, Factor: factor(f, w, weight), Part: part})
	}
}

// computed subtracts a value that is worked out.
func (s *Sum) computed(c *Compute, weight int, part Part) {
	for _, w := range c.Windows() {
		s.Terms = append(s.Terms, Term{Window: w, Factor: factor(c.Field, w, weight), Part: part, Source: c.source(w)})
	}
}

func (s *Sum) add(v field.Value, weight int, part Part) {
	sum := int64((v.Hi%modulus+v.Lo%modulus)%modulus) * int64(weight) % modulus
	for _, c := range []*uint32{&s.Const, &s.Parts[part]} {
		*c = uint32((int64(*c) + sum + modulus) % modulus)
	}
}

// merge joins the terms that read the same bytes with the same factor.
func (s *Sum) merge() {
	var out []Term
next:
	for _, t := range s.Terms {
		for i, o := range out {
			if !o.Made() && !t.Made() && o.Factor == t.Factor && o.Part == t.Part && sameBytes(o.Window, t.Window) && o.Mask&t.Mask == 0 {
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
