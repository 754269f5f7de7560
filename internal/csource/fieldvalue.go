package csource

import (
	"fmt"
	"strings"

	"repacket/internal/field"
)

// constant writes a value of f.
func (w *writer) constant(f *field.Field, v uint64) string {
	switch f.Kind {
	case field.Address4:
		w.need(addressMacro)
		return fmt.Sprintf("ADDRESS(%d, %d, %d, %d)", byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	case field.Checksum, field.MAC:
		return fmt.Sprintf("0x%0*x", f.Width/4, v)
	}
	return fmt.Sprint(v)
}

// placed writes values of the fields of a group where they stand in its
// member, shifted by so many bits; of gives the value of each.
func (w *writer) placed(g group, by int, of func(*field.Field) content) string {
	var parts []string
	for _, f := range g.fields {
		c := of(f)
		text, shift := c.text, g.shift(f)+by
		switch {
		case text != "":
		case c.v == 0:
			continue
		case f.Kind == field.Flag:
			text, shift = w.bits(f), by
		case isPart(f):
			text, shift = w.inMember(f, c.v), by
		default:
			text = w.constant(f, c.v)
		}
		if shift != 0 {
			text = fmt.Sprintf("%s << %d", text, shift)
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, " | ")
}

// inMember writes the value of a part of an address where it stands in its
// member.
func (w *writer) inMember(f *field.Field, v uint64) string {
	m := memberOf(f)
	whole := field.Field{Kind: f.Kind, Width: 8 * m.size}
	if f.Kind == field.Address6 {
		whole.Kind = field.MAC // pieces of both are shown as digits of bytes
	}
	return w.constant(&whole, v<<m.shift(f))
}

// masked writes the bits of a group as they stand in the packet.
func (w *writer) masked(g group) string {
	if g.full() {
		return w.place(g.member)
	}
	return w.place(g.member) + " & " + g.wire(w.mask(g))
}

// mask writes where the bits of a group are; of several fields in brackets, if
// the byte order's function does not put them around it.
func (w *writer) mask(g group) string {
	if len(g.fields) > 1 && g.size == 1 {
		return "(" + w.allBits(g) + ")"
	}
	return w.allBits(g)
}

// number writes the value of a field as a number.
func (w *writer) number(f *field.Field) string {
	g := group{memberOf(f), []*field.Field{f}}
	x := g.host(w.place(g.member))
	switch {
	case g.full():
		return x
	case g.shift(f)+f.Width == 8*g.size:
		return fmt.Sprintf("(%s >> %d)", x, g.shift(f))
	case g.shift(f) == 0:
		return fmt.Sprintf("(%s & %s)", x, w.bits(f))
	}
	return fmt.Sprintf("((%s & %s) >> %d)", x, w.bits(f), g.shift(f))
}

// unwrapped takes the brackets around a text away.
func unwrapped(x string) string {
	if strings.HasPrefix(x, "(") {
		return x[1 : len(x)-1]
	}
	return x
}
