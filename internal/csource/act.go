package csource

import (
	"fmt"
	"math/bits"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// act writes what a step does. Adjusted checksums read the old values, so they
// come first; fixed ones are sums of the packet as it leaves, so they come
// last, the outer header's behind that of what it carries.
func (w *writer) act(s plan.Step) string {
	var lines []string
	for _, sum := range s.Sums {
		if sum.Op == plan.Adjust {
			lines = append(lines, w.adjust(sum)...)
		}
	}
	lines = append(lines, w.writes(s.Writes)...)
	for i := len(s.Sums) - 1; i >= 0; i-- {
		if s.Sums[i].Op != plan.Adjust {
			lines = append(lines, w.remake(s.Sums[i])...)
		}
	}
	w.need(count)
	lines = append(lines, fmt.Sprintf("return count(ctx, %d);", s.Rule))
	return strings.Join(lines, "\n")
}

// writes stores constants, one statement a member.
func (w *writer) writes(list []plan.Write) []string {
	values := map[*field.Field]uint64{}
	var fields []*field.Field
	for _, wr := range list {
		for _, f := range wr.Fields {
			values[f] = wr.Get(f, field.V(uint64(wr.Value))).Lo
			fields = append(fields, f)
		}
	}
	var lines []string
	for _, g := range groups(fields) {
		lines = append(lines, w.write(g, func(f *field.Field) uint64 { return values[f] }))
	}
	return lines
}

func (w *writer) write(g group, of func(*field.Field) uint64) string {
	place, value := w.place(g.member), w.placed(g, 0, of)
	ones := true
	for _, f := range g.fields {
		ones = ones && of(f) == f.Max().Lo
	}
	switch {
	case g.full():
		return fmt.Sprintf("%s = %s;", place, g.wire(value))
	case ones:
		return fmt.Sprintf("%s |= %s;", place, g.wire(w.allBits(g)))
	case value == "0":
		return fmt.Sprintf("%s &= ~%s;", place, g.wire(w.mask(g)))
	}
	return fmt.Sprintf("%s = (%s & ~%s) | %s;", place, place, g.wire(w.mask(g)), g.wire(value))
}

// adjust changes a checksum by what changes under it.
func (w *writer) adjust(s plan.Sum) []string {
	check, function := w.place(memberOf(s.Check)), adjusted
	if s.ZeroIsNone {
		function = adjustedUDP
	}
	w.need(function)
	change, names := w.change(s.Changes)
	if len(change) > 1 && !strings.Contains(change[0], "minus(") {
		change[0] = "(__u64)" + bracketed(change[0]) // terms of 32 bits would lose a carry between them
	}
	return []string{
		comment(s.Check.Name + " follows " + strings.Join(names, ", ")),
		flow(fmt.Sprintf("%s = %s(%s, ", check, function, check), change, " +") + ");",
	}
}

// change writes what changes under a checksum, new values less old ones, as
// terms of a sum; and names the fields.
func (w *writer) change(list []plan.Change) (terms, names []string) {
	weights := map[*field.Field]int{}
	for _, c := range list {
		if weights[c.Field] == 0 {
			names = append(names, c.Field.Name)
		}
		weights[c.Field] += c.Weight // a field can count in the header and in the pseudo-header
	}
	for _, c := range list {
		weight := weights[c.Field]
		if weight == 0 {
			continue // done
		}
		delete(weights, c.Field)
		more, less := w.weighed(c, max(weight, -weight))
		if weight < 0 {
			more, less = less, more
		}
		terms = append(terms, w.difference(more, less))
	}
	return terms, names
}

func (w *writer) difference(more, less string) string {
	if less == "0" {
		return bracketed(more)
	}
	w.need(minus)
	less = "minus(" + less + ")"
	if more == "0" {
		return less
	}
	return bracketed(more) + " + " + less
}

// weighed writes what the new and the old value of a field add to a sum of
// 16-bit words: the bits of the member as they stand in it, shifted.
func (w *writer) weighed(c plan.Change, weight int) (now, was string) {
	g := group{memberOf(c.Field), []*field.Field{c.Field}}
	shift := bits.TrailingZeros(uint(weight)) - g.shift(c.Field)
	if shift < 0 {
		shift += 16 // 2^16 is 1 modulo 65535
	}
	now, was = w.placed(g, shift, func(*field.Field) uint64 { return c.Value.Lo }), g.host(w.place(g.member))
	if !g.full() {
		was += " & " + w.bits(c.Field)
	}
	if shift > 0 {
		was = fmt.Sprintf("%s << %d", bracketed(was), shift)
	}
	return now, was
}

// bracketed puts brackets around what has operators.
func bracketed(x string) string {
	if strings.Contains(x, " & ") || strings.Contains(x, " << ") {
		return "(" + x + ")"
	}
	return x
}

// remake sums up anew what a checksum covers, to fix or to break it.
func (w *writer) remake(s plan.Sum) []string {
	w.need(sumBytes)
	w.need(checksum)
	w.use(frameOffset)
	w.use(ipHeader)
	check := w.place(memberOf(s.Check))
	sum := []string{"sum_bytes(ctx, l3, header_length(ip))"}
	w.need(headerLength)
	if s.Check.Proto != field.IP {
		w.need(datagramLength)
		sum[0] = "sum_bytes(ctx, l3 + header_length(ip), datagram_length(ip))"
	}
	if s.Check.Proto == field.TCP || s.Check.Proto == field.UDP {
		w.need(pseudoHeader)
		sum = append(sum, "pseudo_header(ip)")
	}
	word, open, end := "fix", "checksum(", ");"
	if s.ZeroIsNone {
		w.need(nonzero)
		open, end = "nonzero("+open, ")"+end
	}
	if s.Op == plan.Bad {
		w.need(wrong)
		word, open, end = "bad", "wrong("+open, ")"+end
	}
	return []string{
		comment(s.Check.Name + " " + word),
		check + " = 0;",
		flow(check+" = "+open, sum, " +") + end,
	}
}
