package csource

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// act writes what a step does.
func (w *writer) act(s plan.Step) string {
	var lines []string
	w.inMemory = restoredInMemory(s.Computes)
	if w.options.Hook == TC {
		w.need("tag_offloaded") // for counting
		lines = w.editAtTC(s)
	} else {
		lines = w.edit(s)
	}
	w.need("count")
	lines = append(lines, fmt.Sprintf("count(ctx, %d);", s.Rule), w.verdict(s))
	return strings.Join(lines, "\n")
}

// edit writes the changes of a packet. New values are worked out first. Adjusted
// checksums read the old values, so they come next; fixed ones are sums of the
// packet as it leaves, so they come last, the outer header's behind that of what
// it carries.
func (w *writer) edit(s plan.Step) []string {
	lines := w.computes(s)
	if len(lines) > 0 {
		lines = append(lines, "")
	}
	lines = append(lines, w.flowsOf(s)...)
	lines = append(lines, w.enter(s)...)
	for _, sum := range s.Sums {
		if sum.Op == plan.Adjust {
			lines = append(lines, w.adjust(sum)...)
		}
	}
	lines = append(lines, w.swaps(s.Exchanges)...)
	lines = append(lines, w.writes(s)...)
	for _, sum := range slices.Backward(s.Sums) {
		if sum.Op != plan.Adjust {
			lines = append(lines, w.recompute(sum)...)
		}
	}
	return lines
}

// verdict writes what becomes of the packet.
func (w *writer) verdict(s plan.Step) string {
	switch s.Verdict {
	case rule.Drop:
		return "return XDP_DROP;"
	case rule.Reflect:
		return "return XDP_TX;"
	case rule.ToInterface:
		return fmt.Sprintf("return bpf_redirect(%s, 0);", w.index(s.Redirect))
	}
	return "return XDP_PASS;"
}

// index names the index of an interface.
func (w *writer) index(name string) string {
	i := slices.Index(w.redirects, name)
	if i < 0 {
		i = len(w.redirects)
		w.redirects = append(w.redirects, name)
	}
	return fmt.Sprintf("INTERFACE_%d", i+1)
}

// indexes are the definitions of the interfaces that rules redirect to.
func (w *writer) indexes() string {
	var b strings.Builder
	for i, name := range w.redirects {
		if index, ok := w.options.Interfaces[name]; ok {
			fmt.Fprintf(&b, "#define INTERFACE_%d %d /* %s */\n", i+1, index, harmless(name))
		} else {
			fmt.Fprintf(&b, "#ifndef INTERFACE_%d\n#error the index of the interface %s is not known: define INTERFACE_%[1]d\n#endif\n", i+1, harmless(name))
		}
	}
	return b.String()
}

// swaps writes what changes places, one statement a header.
func (w *writer) swaps(list []plan.Exchange) []string {
	var lines []string
	done := map[field.Protocol]bool{}
	for _, e := range list {
		if done[e.Swap.Proto] {
			continue
		}
		done[e.Swap.Proto] = true
		w.need("swap")
		src, dest := e.Swap.Fields()
		lines = append(lines, fmt.Sprintf("swap(%s, %s, %d);", w.address(src), w.address(dest), src.Size()))
	}
	return lines
}

// address writes where a field of whole bytes begins.
func (w *writer) address(f *field.Field) string {
	place := w.place(memberOf(pieces(f)[0]))
	if array, first := strings.CutSuffix(place, "[0]"); first {
		return array
	}
	return "&" + place
}

// writes stores new values, one statement a member.
func (w *writer) writes(s plan.Step) []string {
	fields, values := w.valuesOf(s.Writes)
	kept := kept(s)
	fields = slices.DeleteFunc(fields, func(f *field.Field) bool { return kept[f] })
	var lines []string
	for _, g := range groups(fields) {
		lines = append(lines, w.write(g, func(f *field.Field) content { return values[f] }))
	}
	return lines
}

// written are the fields, in pieces, that are written.
func written(list []plan.Write) (fields []*field.Field) {
	for _, wr := range list {
		for _, f := range narrow(wr.Fields) {
			if _, overlap := shared(wr, f); overlap && !slices.Contains(fields, f) {
				fields = append(fields, f)
			}
		}
	}
	return fields
}

// valuesOf are the fields that are written, and their values.
func (w *writer) valuesOf(list []plan.Write) (fields []*field.Field, values map[*field.Field]content) {
	values = map[*field.Field]content{}
	for _, wr := range list {
		for _, whole := range wr.Fields {
			for _, f := range pieces(whole) {
				part, overlap := shared(wr, f)
				switch address := w.addressOf(f); {
				case !overlap:
				case address != nil && f.Width == 8*word:
					values[f] = w.inWord(address, f)
				case wr.Computed:
					values[f] = newPiece(whole, f)
				default:
					values[f] = content{v: values[f].v | part}
				}
			}
		}
	}
	return written(list), values
}

// shared are the bits of f's value that a write holds, which may be a part of
// them, and whether it holds any.
func shared(wr plan.Write, f *field.Field) (part uint64, any bool) {
	below := 8*(wr.Off+wr.Size) - f.Bit - f.Width // bits of the window below f, or if negative of f below the window
	if below >= 8*wr.Size || below <= -f.Width {
		return 0, false
	}
	v := uint64(wr.Value & wr.Mask)
	if below < 0 {
		return v << -below & f.Max().Lo, true
	}
	return v >> below & f.Max().Lo, true
}

func (w *writer) write(g group, of func(*field.Field) content) string {
	return w.writeTo(w.place(g.member), g, of)
}

// writeTo stores new values where the member's content stands.
func (w *writer) writeTo(place string, g group, of func(*field.Field) content) string {
	value := w.placed(g, 0, of)
	ones := true
	for _, f := range g.fields {
		ones = ones && of(f) == content{v: f.Max().Lo}
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
	check, function := w.place(memberOf(s.Check)), "adjusted"
	if s.ZeroIsNone {
		function = "adjusted_udp"
	}
	head := fmt.Sprintf("%s = %s(%s, ", check, function, check)
	if s.Check == field.OtherCheck {
		function = "adjusted_other"
		w.use(neverZero)
		head = fmt.Sprintf("%s = %s(%s, %s, ", check, function, check, neverZero)
	}
	w.need(function)
	change, names := w.change(s.Changes)
	return []string{comment(s.Check.Name + " follows " + strings.Join(names, ", ")), total(head, change) + ");"}
}

// change writes what changes under a checksum, new values less old ones, as
// terms of a sum; and names the fields.
func (w *writer) change(list []plan.Change) (terms, names []string) {
	weights := map[*field.Field]int{}
	for _, c := range list {
		if !slices.Contains(names, c.Field.Name) {
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
		if f := w.addressOf(c.Field); f != nil && max(weight, -weight) == 1 {
			terms = append(terms, w.readdressed(f, weight < 0))
			for _, o := range list {
				if w.addressOf(o.Field) == f {
					delete(weights, o.Field)
				}
			}
			continue
		}
		if isPart(c.Field) {
			terms = append(terms, w.parts(c, list, weights, weight < 0))
			continue
		}
		for i := range pieces(c.Field) {
			more, less := w.weighed(c, i, max(weight, -weight))
			if weight < 0 {
				more, less = less, more
			}
			terms = append(terms, w.difference(more, less))
		}
	}
	if len(terms) > 1 && !strings.Contains(terms[0], "minus(") && !strings.HasPrefix(terms[0], "readdressed(") {
		terms[0] = "(__u64)" + bracketed(terms[0]) // terms of 32 bits would lose a carry between them
	}
	return terms, names
}

// parts writes what changes by the parts of an address that lie in one member:
// that of c, and others, whose weights are deleted. Their bits count as they
// stand there, because 2^16 is 1 modulo 65535; less is where their weights are negative.
func (w *writer) parts(c plan.Change, list []plan.Change, weights map[*field.Field]int, less bool) string {
	g := group{memberOf(c.Field), nil}
	becomes := map[*field.Field]content{}
	for _, o := range list {
		if isPart(o.Field) && memberOf(o.Field) == g.member {
			g.fields = append(g.fields, o.Field)
			becomes[o.Field] = w.newContent(o, o.Field)
			delete(weights, o.Field)
		}
	}
	was := g.host(w.place(g.member))
	if !g.full() {
		was += " & " + bracketed(w.allBits(g))
	}
	is := w.placed(g, 0, func(f *field.Field) content { return becomes[f] })
	if less {
		is, was = was, is
	}
	return w.difference(is, was)
}

// newContent is what a piece of a changed field becomes.
func (w *writer) newContent(c plan.Change, piece *field.Field) content {
	if f := w.addressOf(piece); f != nil && piece.Width == 8*word {
		return w.inWord(f, piece)
	}
	if c.Computed != nil {
		return newPiece(c.Field, piece)
	}
	return content{v: bitsOf(c.Field, piece, c.Value)}
}

// total writes the sum of terms behind head. A term that is too long for a line
// is cut before what it takes away.
func total(head string, terms []string) string {
	var words []string
	for _, term := range terms {
		now, was, found := strings.Cut(term, " + minus(")
		if found && width(head)+len(term) > columns {
			words = append(words, now)
			term = "minus(" + was
		}
		words = append(words, term)
	}
	return flow(head, words, " +")
}

func (w *writer) difference(more, less string) string {
	if less == "0" {
		return bracketed(more)
	}
	w.need("minus")
	less = "minus(" + less + ")"
	if more == "0" {
		return less
	}
	return bracketed(more) + " + " + less
}

// weighed writes what a piece of the new and of the old value of a field adds
// to a sum of 16-bit words. A field of several pieces is one of whole words,
// which count alike: 2^16 is 1 modulo 65535.
func (w *writer) weighed(c plan.Change, i, weight int) (now, was string) {
	piece := pieces(c.Field)[i]
	if c.From != nil {
		return w.counted(pieces(c.From)[i], weight), w.counted(piece, weight)
	}
	return w.become(piece, w.newContent(c, piece), weight), w.counted(piece, weight)
}

// become writes what the new value of a field that is no wider than a member adds
// to a sum.
func (w *writer) become(f *field.Field, v content, weight int) string {
	g := group{memberOf(f), []*field.Field{f}}
	return w.placed(g, shiftTo(g, weight), func(*field.Field) content { return v })
}

// shiftTo is by how much a member is shifted, so that its field has a weight.
func shiftTo(g group, weight int) int {
	shift := bits.TrailingZeros(uint(weight)) - g.shift(g.fields[0])
	if shift < 0 {
		shift += 16 // 2^16 is 1 modulo 65535
	}
	return shift
}

// counted writes what a field that is no wider than a member adds to a sum:
// the bits of the member as they stand in it, shifted.
func (w *writer) counted(f *field.Field, weight int) string {
	g := group{memberOf(f), []*field.Field{f}}
	text := g.host(w.place(g.member))
	if !g.full() {
		text += " & " + w.bits(f)
	}
	if shift := shiftTo(g, weight); shift > 0 {
		text = fmt.Sprintf("%s << %d", bracketed(text), shift)
	}
	return text
}

// bracketed puts brackets around what has operators.
func bracketed(x string) string {
	if strings.Contains(x, " & ") || strings.Contains(x, " | ") || strings.Contains(x, " << ") {
		return "(" + x + ")"
	}
	return x
}
