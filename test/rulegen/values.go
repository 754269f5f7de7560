package rulegen

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"repacket/internal/field"
	"repacket/internal/packetgen"
)

// values writes what a test compares f with, and how.
func (w *writer) values(f *field.Field) {
	if f.Kind == field.Flag {
		w.add(w.oneOf("", "eq ", "= ", "== ", "ne ", "!= ") + w.cell(func() string { return w.value(f, w.number(f)) }))
		return
	}
	if w.chance(5) {
		w.compare(f)
		return
	}
	items := make([]string, 0, 4)
	for range 1 + min(w.r.IntN(4), w.r.IntN(4)) {
		items = append(items, w.cell(func() string { return w.item(f) }))
	}
	list := strings.Join(items, w.oneOf(",", ",", ",", ", "))
	w.add(w.oneOf("", "", "", "", "eq ", "= ", "== ", "ne ", "ne ", "!= ") + list)
}

// compare writes lt, le, gt or ge so that something satisfies it.
func (w *writer) compare(f *field.Field) {
	op := w.oneOf("lt", "le", "gt", "ge", "<", "<=", ">", ">=")
	w.add(op, w.cell(func() string {
		v := w.number(f)
		switch top := f.Max(); {
		case v.IsZero() && (op == "lt" || op == "<"):
			v = field.V(1)
		case v == top && (op == "gt" || op == ">"):
			v = v.Dec()
		}
		return w.value(f, v)
	}))
}

// item writes one value, a range or a prefix.
func (w *writer) item(f *field.Field) string {
	v := w.number(f)
	switch {
	case f.Kind.IsAddress() && w.chance(2):
		return w.prefix(f, v)
	case w.chance(3):
		o := w.number(f)
		if w.chance(2) {
			o = v
			for range w.r.IntN(20) {
				if o != f.Max() {
					o = o.Inc()
				}
			}
		}
		if v.Cmp(o) > 0 {
			v, o = o, v
		}
		return w.plain(f, v) + "-" + w.plain(f, o)
	}
	return w.value(f, v)
}

// number picks a value of f: the ends of what fits, small ones, named ones and
// any, about equally often.
func (w *writer) number(f *field.Field) field.Value {
	top := f.Max()
	few := func(n uint64) uint64 { // not more than fit
		if top.Hi == 0 {
			n = min(n, top.Lo)
		}
		return w.r.Uint64N(n + 1)
	}
	switch w.r.IntN(6) {
	case 0:
		if w.chance(2) {
			return top
		}
		return field.Value{}
	case 1:
		return top.AndNot(field.V(few(3)))
	case 2:
		return field.V(few(300))
	case 3:
		if len(f.Names) > 0 {
			return field.V(f.Names[w.r.IntN(len(f.Names))].Value)
		}
	}
	return packetgen.UpTo(w.r, top)
}

// value writes v by a name that it has, or plainly.
func (w *writer) value(f *field.Field, v field.Value) string {
	if word := f.Names.Word(v.Lo); word != "" && !w.chance(3) {
		return word
	}
	if f.Kind == field.Flag && !w.chance(4) {
		return []string{"off", "on"}[v.Lo]
	}
	return w.plain(f, v)
}

// plain writes v as a number or an address.
func (w *writer) plain(f *field.Field, v field.Value) string {
	switch {
	case f.Kind == field.Address4:
		return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(v.Lo)))).String()
	case f.Kind == field.Address6:
		return w.address6(v)
	case f.Kind == field.MAC:
		return net.HardwareAddr(binary.BigEndian.AppendUint64(nil, v.Lo)[2:]).String()
	case w.chance(4):
		return fmt.Sprintf("0x%x", v.Lo)
	}
	return v.String()
}

// address6 writes an IPv6 address, short or long.
func (w *writer) address6(v field.Value) string {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, v.Hi), v.Lo)
	a := netip.AddrFrom16([16]byte(b))
	if w.chance(6) || a.Is4In6() { // not every tool writes ::ffff:1.2.3.4
		return a.StringExpanded()
	}
	return a.String()
}
