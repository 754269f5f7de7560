package rulegen

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetgen"
)

// operand writes what becomes of f in packets of a shape.
func (w *writer) operand(s shape, f *field.Field) {
	if f.Kind == field.Checksum {
		w.sum(f)
		return
	}
	value := func() string { return w.value(f, w.number(f)) }
	if !w.style.Operands || w.chance(3) {
		w.add(w.cell(value))
		return
	}
	list := slices.DeleteFunc(operand.For(f.Kind), func(o *operand.Operand) bool {
		return len(o.Over) > 0 && !slices.ContainsFunc(o.Over, s.has)
	})
	switch o := list[w.r.IntN(len(list))]; {
	case o.Op == operand.Prefix:
		w.add(w.cell(func() string { return w.prefix(f, w.number(f)) }))
	case o.Op == operand.Copy && w.copied(s, f):
	case o.Argument == operand.Choice:
		w.add(o.Word)
		w.choice(f, o.Whole(f).Lo)
	case o.Argument == operand.Amount:
		w.add(o.Sign + w.cell(func() string { return w.amount(f) }))
	default:
		w.add(strings.TrimPrefix(o.Word+" ", " ") + w.cell(value))
	}
}

// sum writes what becomes of a checksum.
func (w *writer) sum(f *field.Field) {
	switch {
	case w.style.Operands && w.chance(5):
		w.add(w.name(f))
	case !w.chance(3):
		w.add(w.oneOf(operand.Words(f.Kind)...))
	default:
		w.add(w.cell(func() string { return w.value(f, w.number(f)) }))
	}
}

// prefix writes a prefix of any length that v begins with.
func (w *writer) prefix(f *field.Field, v field.Value) string {
	bits := w.r.IntN(f.Width + 1)
	return fmt.Sprintf("%s/%d", w.plain(f, v.AndNot(field.Ones(f.Width-bits))), bits)
}

// copied writes a field that can be copied into f, if there is one.
func (w *writer) copied(s shape, f *field.Field) bool {
	var fit []*field.Field
	for _, g := range field.Fields() {
		if g.Kind == f.Kind && g.Width <= f.Width && s.has(g.Proto) && (g.Only == nil || !w.typed) {
			fit = append(fit, g)
		}
	}
	if len(fit) == 0 {
		return false
	}
	w.add(w.name(fit[w.r.IntN(len(fit))]))
	return true
}

// choice writes what to choose from: the whole field, a range or a prefix, of values
// that are not below least.
func (w *writer) choice(f *field.Field, least field.Value) {
	lo, hi := w.number(f), w.number(f)
	if f.Width > 32 { // a range has at most 2^32 values
		hi = lo.Or(field.V(w.r.Uint64N(1 << 32)))
	}
	if lo.Cmp(hi) > 0 {
		lo, hi = hi, lo
	}
	lo, hi = lo.Or(least), hi.Or(least)
	switch {
	case w.chance(3) || f.Kind == field.Flag:
	case f.Kind.IsAddress() && w.chance(2):
		w.add(w.prefix(f, lo))
	default:
		w.add(w.plain(f, lo) + "-" + w.plain(f, hi))
	}
}

// amount writes a number, mostly a small one.
func (w *writer) amount(f *field.Field) string {
	n := packetgen.UpTo(w.r, field.V(min(f.Max().Lo, 3)))
	if w.chance(3) {
		n = field.V(w.number(f).Lo)
	}
	return w.oneOf(n.String(), fmt.Sprintf("0x%x", n.Lo))
}

// luck writes a chance.
func (w *writer) luck() {
	share := fmt.Sprintf("%d%%", 1+w.r.IntN(100))
	if w.chance(2) {
		den := 1 + w.r.Uint64N([]uint64{4, 1000, 1 << 32}[w.r.IntN(3)])
		share = fmt.Sprintf("%d/%d", 1+w.r.Uint64N(den), den)
	}
	w.add("chance", share)
}
