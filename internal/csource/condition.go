package csource

import (
	"fmt"
	"math/bits"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// cond writes a condition.
func (w *writer) cond(c plan.Cond) expr {
	switch c := c.(type) {
	case plan.And:
		return all(w.conds(c))
	case plan.Or:
		return either(w.conds(c))
	case plan.Test:
		return w.test(c)
	case plan.Chance:
		return w.chance(c)
	case plan.WholeDatagram:
		return w.wholeDatagram(c)
	case plan.WholeHeader:
		return w.wholeHeader(c)
	}
	panic(fmt.Sprintf("csource: no condition is a %T", c))
}

func (w *writer) conds(list []plan.Cond) []expr {
	out := make([]expr, len(list))
	for i, c := range list {
		out[i] = w.cond(c)
	}
	return out
}

// test writes a test of one field, or of several for one value each.
func (w *writer) test(t plan.Test) expr {
	if v, single := t.In.Single(); single {
		var parts []expr
		for _, g := range groups(within(t.Window, t.Fields)) {
			parts = append(parts, w.equal(g, t.Not, constants(func(f *field.Field) uint64 { return t.Get(f, v).Lo })))
		}
		if t.Not {
			return either(parts)
		}
		return all(parts)
	}
	f := within(t.Window, t.Fields)[0]
	in := make(field.Set, len(t.In))
	for i, r := range t.In {
		in[i] = field.Range{Lo: t.Get(f, r.Lo), Hi: t.Get(f, r.Hi)}
	}
	return w.among(f, in, t.Not)
}

// equal writes that the fields of a group have these values, or that one has
// another one.
func (w *writer) equal(g group, not bool, of func(*field.Field) content) expr {
	bits, value := w.masked(g), w.placed(g, 0, of)
	if flag := len(g.fields) == 1 && g.fields[0].Width == 1; !g.full() && (value == "0" || flag) {
		if not == (value == "0") {
			return atom(bits)
		}
		return atom("!(" + bits + ")")
	}
	if !g.full() {
		bits = "(" + bits + ")"
	}
	value = g.wire(value)
	if g.size == 1 && strings.Contains(value, " | ") {
		value = "(" + value + ")"
	}
	if not {
		return atom(bits + " != " + value)
	}
	return atom(bits + " == " + value)
}

// chance writes that a random number is below the threshold, or is not.
func (w *writer) chance(c plan.Chance) expr {
	op := "<"
	if c.Not {
		op = ">="
	}
	return atom(fmt.Sprintf("%s %s %du", w.draw(c.Index), op, c.Below))
}

// inline is how many ranges are written where they are asked for; longer
// lists get a function of their own.
const inline = 4

// among writes that a field has one of several values, or none of them.
func (w *writer) among(f *field.Field, in field.Set, not bool) expr {
	if len(in) > inline {
		call := w.list(f, in) + "(" + unwrapped(w.number(f)) + ")"
		if not {
			call = "!" + call
		}
		return atom(call)
	}
	var parts []expr
	for _, r := range in {
		parts = append(parts, w.inRange(f, r, not))
	}
	if not {
		return all(parts)
	}
	return either(parts)
}

// inRange writes that a field is in a range, or outside of it.
func (w *writer) inRange(f *field.Field, r field.Range, not bool) expr {
	lo, hi := r.Lo.Lo, r.Hi.Lo
	switch n, prefix := prefixMask(f, lo, hi); {
	case lo == hi:
		return w.equal(groups([]*field.Field{f})[0], not, constants(func(*field.Field) uint64 { return lo }))
	case prefix:
		m := memberOf(f)
		return atom(fmt.Sprintf("(%s & %s) %s %s", w.place(m), m.wire(w.constant(f, n)),
			map[bool]string{false: "==", true: "!="}[not], m.wire(w.constant(f, lo))))
	}
	x := w.number(f)
	var parts []expr
	if lo > 0 {
		parts = append(parts, atom(x+map[bool]string{false: " >= ", true: " < "}[not]+w.constant(f, lo)))
	}
	if hi < f.Max().Lo {
		parts = append(parts, atom(x+map[bool]string{false: " <= ", true: " > "}[not]+w.constant(f, hi)))
	}
	if not {
		return either(parts)
	}
	return all(parts)
}

// prefixMask is the mask of an address prefix, if the range is one.
func prefixMask(f *field.Field, lo, hi uint64) (mask uint64, ok bool) {
	host := lo ^ hi
	if f.Kind != field.Address4 && f.Kind != field.MAC || host&(host+1) != 0 || lo&host != 0 || hi&host != host {
		return 0, false
	}
	return f.Max().Lo &^ host, bits.OnesCount64(host) < f.Width
}

// list writes the function that knows a long list of values, once, and
// returns its name.
func (w *writer) list(f *field.Field, in field.Set) string {
	cases := make([]string, len(in))
	for i, r := range in {
		cases[i] = "case " + w.constant(f, r.Lo.Lo)
		if r.Lo != r.Hi {
			cases[i] += " ... " + w.constant(f, r.Hi.Lo)
		}
		cases[i] += ":"
	}
	text := f.Name + indented(flow("", cases, ""), 1)
	if name, known := w.lists[text]; known {
		return name
	}
	name := plainName(f) + "_listed"
	if n := len(w.lists); n > 0 {
		name += fmt.Sprintf("_%d", n+1)
	}
	w.lists[text] = name
	w.routines = append(w.routines, &routine{text: fmt.Sprintf(
		"static __always_inline int %s(__u32 value)\n{\n\tswitch (value) {\n%s\n\t\treturn 1;\n\t}\n\treturn 0;\n}\n",
		name, text[len(f.Name):])})
	return name
}

// wholeDatagram writes that a datagram is all here.
func (w *writer) wholeDatagram(c plan.WholeDatagram) expr {
	whole, length := "whole_datagram", "datagram_length"
	if c.L3 == field.IP6 {
		whole, length = "whole_datagram6", "datagram_length6"
	}
	out := atom(w.call(whole))
	if c.Proto != field.UDP {
		return out
	}
	m := memberOf(field.MustByName("udp_len"))
	return all([]expr{out, atom(w.place(m) + " == " + m.wire(w.call(length)))})
}

// wholeHeader writes that the IPv4 header is all here, by the length that it
// will have.
func (w *writer) wholeHeader(c plan.WholeHeader) expr {
	w.use(frameOffset)
	if c.Words > 0 {
		return atom(fmt.Sprintf("l3 + %d * 4 <= bpf_xdp_get_buff_len(ctx)", c.Words))
	}
	w.need("header_length")
	w.use(ipHeader)
	return all([]expr{
		atom("header_length(ip) >= sizeof(*ip)"),
		atom("l3 + header_length(ip) <= bpf_xdp_get_buff_len(ctx)"),
	})
}
