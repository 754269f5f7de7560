package csource

import (
	"fmt"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/plan"
	"repacket/internal/rule"
)

// content is what a field, or a piece of one, becomes: a number, or what has
// been worked out, as C says it. Both are read as a number, not as on the wire.
type content struct {
	v    uint64
	text string // empty: v
}

// constants gives numbers as contents.
func constants(of func(*field.Field) uint64) func(*field.Field) content {
	return func(f *field.Field) content { return content{v: of(f)} }
}

// computes works the new values of a step out, each into a variable of its own.
// They come before all stores, so they are made of the packet as it arrived.
func (w *writer) computes(s plan.Step) []string {
	var lines []string
	if s.Flow != nil {
		lines = append(lines, "__u64 flow = "+w.flow(*s.Flow)+";")
	}
	shared := map[int]bool{}
	for _, place := range repeated(s.Computes) {
		shared[place] = true
		lines = append(lines, fmt.Sprintf("__u32 drawn_%d = %s;", place, w.draw(place)))
	}
	for _, c := range s.Computes {
		if keeps(c) {
			lines = append(lines, comment(c.Field.Name+" keeps its bytes"))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s%s = %s;", w.typeOf(c.Field), newName(c.Field), w.valueOf(s, c, shared)))
	}
	return lines
}

// keeps reports whether a field is copied to itself: a checksum that does not
// follow what changes.
func keeps(c plan.Compute) bool {
	return c.Action.Op == operand.Copy && c.Action.From == c.Field
}

// kept are the fields that a step copies to themselves.
func kept(s plan.Step) map[*field.Field]bool {
	out := map[*field.Field]bool{}
	for _, c := range s.Computes {
		out[c.Field] = keeps(c)
	}
	return out
}

// newName is the variable with the new value of a field, or of a part of an
// address, which is named after the member that it lies in.
func newName(f *field.Field) string {
	name := f.Name
	if isPart(f) {
		for _, p := range pieces(field.MustByName(f.Name)) {
			if p.Bit <= f.Bit && f.Bit+f.Width <= p.Bit+p.Width {
				name = plainName(p)
			}
		}
	}
	return "new_" + name
}

// restoredInMemory are the IPv6 addresses that are restored, and the variables that point to what
// they become, see writer.inMemory.
func restoredInMemory(list []plan.Compute) map[*field.Field]string {
	out := map[*field.Field]string{}
	for _, c := range list {
		if c.Action.Op == operand.Restore && c.Field.Width > 64 {
			out[c.Field] = newName(c.Field)
		}
	}
	return out
}

// addressOf is the address that a field, or a piece or a part of one, lies in and whose new value is
// in memory, or nil.
func (w *writer) addressOf(part *field.Field) *field.Field {
	for f := range w.inMemory {
		if f.Proto == part.Proto && f.Bit <= part.Bit && part.Bit+part.Width <= f.Bit+f.Width {
			return f
		}
	}
	return nil
}

// inWord is what a piece of an address becomes whose new value is in memory.
func (w *writer) inWord(address, piece *field.Field) content {
	return content{text: memberOf(piece).host(fmt.Sprintf("%s[%d]", w.inMemory[address], (piece.Byte()-address.Byte())/word))}
}

// readdressed writes what an address whose new value is in memory adds to a sum.
func (w *writer) readdressed(f *field.Field, less bool) string {
	w.need("readdressed")
	now, was := w.inMemory[f], w.address(f)
	if less {
		now, was = was, now
	}
	return fmt.Sprintf("readdressed(%s, %s)", now, was)
}

// typeOf is the type of the variable with a field's value.
func (w *writer) typeOf(f *field.Field) string {
	switch {
	case w.inMemory[f] != "":
		return "const __be32 *"
	case f.Width > 64:
		return "__uint128_t "
	case f.Width > 32:
		return "__u64 "
	}
	return "__u32 "
}

// newPiece is what a piece of a field becomes, given that the field's new value
// has been worked out.
func newPiece(f, piece *field.Field) content {
	name := newName(f)
	if f == piece {
		return content{text: name}
	}
	if below := f.Bit + f.Width - piece.Bit - piece.Width; below > 0 {
		name = fmt.Sprintf("(%s >> %d)", name, below)
	}
	return content{text: fmt.Sprintf("(__u%d)%s", piece.Width, name)}
}

// valueOf writes what a step gives a field.
func (w *writer) valueOf(s plan.Step, c plan.Compute, shared map[int]bool) string {
	if c.Action.Op == operand.Restore {
		return w.restored(s, c.Field)
	}
	return w.computed(c, shared)
}

// computed writes how a value is worked out.
func (w *writer) computed(c plan.Compute, shared map[int]bool) string {
	a, f := c.Action, c.Field
	switch a.Op {
	case operand.Copy:
		return unwrapped(w.whole(a.From))
	case operand.Random, operand.Hash:
		number := func(i int) string {
			if a.Op == operand.Hash {
				return w.flowNumber(i)
			}
			if place := a.Draw + i; shared[place] {
				return fmt.Sprintf("drawn_%d", place)
			}
			return w.draw(a.Draw + i)
		}
		if c.Bits() {
			return chosenBits(number, c.Skip, f.Width)
		}
		return w.chosen(c, number(0))
	case operand.AtLeast:
		return w.limited("at_least", f, w.value(f, a.Value))
	case operand.AtMost:
		return w.limited("at_most", f, w.value(f, a.Value))
	case operand.Sub:
		if f.Wraps {
			return w.wrapping(f, " - ", a.Value)
		}
		return w.limited("lowered", f, amount(a.Value))
	case operand.Add:
		switch {
		case f.Wraps:
			return w.wrapping(f, " + ", a.Value)
		case f.Width > 64: // as high as the type is
			return w.limited("raised", f, amount(a.Value))
		}
		return w.limited("raised", f, amount(a.Value), w.constant(f, f.Max().Lo))
	}
	panic(fmt.Sprintf("csource: nothing works out %v", a.Op))
}

// limited writes the call of a function for a field's old value, of the one
// for 128 bits if the field is as wide.
func (w *writer) limited(function string, f *field.Field, more ...string) string {
	if f.Width > 64 {
		function += "6"
	}
	w.need(function)
	return fmt.Sprintf("%s(%s, %s)", function, unwrapped(w.whole(f)), strings.Join(more, ", "))
}

// wrapping writes arithmetic that wraps around. No field of more than 32 bits
// does that.
func (w *writer) wrapping(f *field.Field, op string, n field.Value) string {
	text := w.whole(f) + op + amount(n)
	if f.Width < 32 {
		return fmt.Sprintf("(%s) & 0x%x", text, f.Max().Lo)
	}
	return text
}

// chosen writes a value of a range, which has at most 2^32 of them.
func (w *writer) chosen(c plan.Compute, number string) string {
	w.need("chosen")
	r := c.Action.Range
	size := r.Hi.Lo - r.Lo.Lo + 1 // the upper halves differ by a carry at most
	text := fmt.Sprintf("chosen(%s, %s)", number, amount(field.V(size)))
	if r.Lo.IsZero() {
		return text
	}
	return w.value(c.Field, r.Lo) + " + " + text
}

// value writes a value of a field of any width.
func (w *writer) value(f *field.Field, v field.Value) string {
	if f.Width <= 64 {
		return w.constant(f, v.Lo)
	}
	w.need("value6")
	return fmt.Sprintf("value6(0x%x, 0x%x)", v.Hi, v.Lo)
}

// amount writes a number of at most 64 bits. A large decimal one would be a
// signed number to C.
func amount(v field.Value) string {
	if v.Lo < 1<<31 {
		return fmt.Sprint(v.Lo)
	}
	return fmt.Sprintf("0x%x", v.Lo)
}

// whole writes the value of a field of any width as a number.
func (w *writer) whole(f *field.Field) string {
	list, function := pieces(f), "number6"
	switch {
	case len(list) == 1:
		return w.number(f)
	case f.Width == 32: // an address between two words
		return fmt.Sprintf("((__u32)%s << 16 | %s)", w.number(list[0]), w.number(list[1]))
	case f.Width == 48:
		function = "number48"
	}
	w.need(function)
	return fmt.Sprintf("%s(%s)", function, w.address(f))
}

// draw writes the random number at a place among those of the packet.
func (w *writer) draw(place int) string {
	w.need("draw")
	return fmt.Sprintf("draw(%d)", place)
}

// flow writes the state of the hash of the packet's flow.
func (w *writer) flow(f plan.Flow) string {
	function, fragment, header := "flow_state", "", w.header(f.L3)
	if f.L3 == field.IP6 {
		function = "flow_state6"
	}
	w.need(function)
	without := fmt.Sprintf("%s(%s, %s, 0)", function, header, w.place(memberOf(protocolField(f.L3))))
	if f.L4 == field.None {
		return without
	}
	if f.L3 == field.IP6 {
		w.need(moreFlag)
		w.use(wayParam)
		fragment = "way & WAY_MORE"
	} else {
		mf := memberOf(field.MustByName("ip_flag_mf"))
		fragment = fmt.Sprintf("%s & %s", w.place(mf), mf.wire(w.bits(field.MustByName("ip_flag_mf"))))
	}
	src, dest := rule.Swap{Proto: f.L4}.Fields()
	return fmt.Sprintf("%s ?\n\t%s :\n\t%s(%s, %s, (__u32)%s << 16 | %s)", fragment, without,
		function, header, w.protocol(f.L4), w.number(src), w.number(dest))
}

// protocolField is the field of an IP header that says what follows.
func protocolField(p field.Protocol) *field.Field {
	return field.MustByName(map[field.Protocol]string{field.IP: "ip_protocol", field.IP6: "ip6_next"}[p])
}

// flowNumber writes a number of the hash of the packet's flow.
func (w *writer) flowNumber(i int) string {
	w.need("flow_number")
	return fmt.Sprintf("flow_number(flow, %d)", i)
}

// chosenBits writes bits of numbers, at most 32 of them, behind so many others.
func chosenBits(number func(int) string, skip, width int) string {
	first, skip := skip/32, skip%32
	text, below := number(first), 32-skip-width
	if below < 0 {
		text, below = fmt.Sprintf("((__u64)%s << 32 | %s)", text, number(first+1)), below+32
	}
	if below > 0 {
		text = fmt.Sprintf("%s >> %d", text, below)
	}
	if skip == 0 || width == 32 { // nothing above, or it falls off the variable
		return text
	}
	return fmt.Sprintf("%s & 0x%x", text, field.Ones(width).Lo)
}

// repeated are the places of random numbers of which several values take bits.
func repeated(list []plan.Compute) []int {
	var out []int
	seen := map[int]int{}
	for _, c := range list {
		if c.Action.Op != operand.Random || !c.Bits() {
			continue
		}
		first, last := c.Skip/32, (c.Skip+c.Field.Width-1)/32
		for place := c.Action.Draw + first; place <= c.Action.Draw+last; place++ {
			if seen[place]++; seen[place] == 2 {
				out = append(out, place)
			}
		}
	}
	return out
}
