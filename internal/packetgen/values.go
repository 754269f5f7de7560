package packetgen

import (
	"fmt"
	"strings"

	"repacket/internal/field"
)

// values writes what a test compares f with, and how.
func (w *writer) values(f *field.Field) {
	if f.Kind == field.Flag {
		w.add(w.oneOf("", "eq ", "= ", "== ", "ne ", "!= ") + w.value(f, w.number(f)))
		return
	}
	if w.chance(5) {
		w.compare(f)
		return
	}
	items := make([]string, 0, 4)
	for range 1 + min(w.r.IntN(4), w.r.IntN(4)) {
		items = append(items, w.item(f))
	}
	list := strings.Join(items, w.oneOf(",", ",", ",", ", "))
	w.add(w.oneOf("", "", "", "", "eq ", "= ", "== ", "ne ", "ne ", "!= ") + list)
}

// compare writes lt, le, gt or ge so that something satisfies it.
func (w *writer) compare(f *field.Field) {
	v := w.number(f)
	op := w.oneOf("lt", "le", "gt", "ge", "<", "<=", ">", ">=")
	switch top := f.Max().Lo; {
	case v == 0 && (op == "lt" || op == "<"):
		v = 1
	case v == top && (op == "gt" || op == ">"):
		v--
	}
	w.add(op, w.value(f, v))
}

// item writes one value, a range or a prefix.
func (w *writer) item(f *field.Field) string {
	v := w.number(f)
	switch {
	case f.Kind == field.Address4 && w.chance(2):
		n := w.r.IntN(33)
		host := field.Ones(f.Width - n)
		return fmt.Sprintf("%s/%d", address(field.V(v).AndNot(host).Lo), n)
	case w.chance(3):
		o := w.number(f)
		if w.chance(2) {
			o = min(f.Max().Lo, v+w.r.Uint64N(20))
		}
		return w.plain(f, min(v, o)) + "-" + w.plain(f, max(v, o))
	}
	return w.value(f, v)
}

// number picks a value of f: the ends of what fits, small ones, named ones and
// any, about equally often.
func (w *writer) number(f *field.Field) uint64 {
	top := f.Max().Lo
	switch w.r.IntN(6) {
	case 0:
		return w.r.Uint64N(2) * top
	case 1:
		return top - w.r.Uint64N(min(top, 3))
	case 2:
		return w.r.Uint64N(min(top, 300) + 1)
	case 3:
		if len(f.Names) > 0 {
			return f.Names[w.r.IntN(len(f.Names))].Value
		}
	}
	return w.r.Uint64N(top + 1)
}

// value writes v by a name that it has, or plainly.
func (w *writer) value(f *field.Field, v uint64) string {
	if word := f.Names.Word(v); word != "" && !w.chance(3) {
		return word
	}
	if f.Kind == field.Flag && !w.chance(4) {
		return []string{"off", "on"}[v]
	}
	return w.plain(f, v)
}

// plain writes v as a number or an address.
func (w *writer) plain(f *field.Field, v uint64) string {
	switch {
	case f.Kind == field.Address4:
		return address(v)
	case w.chance(4):
		return fmt.Sprintf("0x%x", v)
	}
	return fmt.Sprint(v)
}

// address writes an IPv4 address.
func address(v uint64) string {
	return fmt.Sprintf("%d.%d.%d.%d", byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}
