package rulegen

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
)

// answered writes the tests and the actions of a rule that says replies, and mostly has an
// inverse: what it changes of a flow it tests for a value, a prefix or a range.
func (w *writer) answered(s shape) {
	ends := flowFields(s)
	if len(ends) == 0 {
		s.net, s.l4 = field.IP, field.UDP
		ends = flowFields(s)
	}
	tests := &scope{shape: s}
	tracked := w.style.Tracked && !w.chance(4)
	var asked, does []string
	for range 1 + w.r.IntN(2) {
		f := ends[w.r.IntN(len(ends))]
		if overlaps(f, tests.used) {
			continue
		}
		tests.used = append(tests.used, f)
		if pair := swappedFields(f); pair != nil && w.chance(6) && !overlaps(pair[0], tests.used[:len(tests.used)-1]) && !overlaps(pair[1], tests.used[:len(tests.used)-1]) {
			tests.used = append(tests.used, pair...)
			does = append(does, "swap "+f.Proto.String())
			continue
		}
		test, action := w.change(f)
		if tracked && w.chance(2) {
			action = w.aside(func() { w.operand(s, f) })
		}
		asked, does = append(asked, w.name(f)+" "+test), append(does, w.name(f)+" "+action)
	}
	w.typed = slices.ContainsFunc(tests.used, func(f *field.Field) bool { return f.Only != nil })
	if len(asked) == 0 {
		asked = []string{w.protocol(tests)}
	}
	w.add(asked...)
	for range w.r.IntN(3) {
		w.unary(tests, 2)
	}
	if f := w.unused(tests.used, func(f *field.Field) bool { return s.has(f.Proto) && forwardOnly[f.Name] }); f != nil && w.chance(3) {
		does = append(does, w.name(f)+" "+w.value(f, w.number(f)))
	}
	w.add("then", strings.Join(does, w.oneOf(" ", ", ", " and "))+w.oneOf("", "", ","), "replies")
	if tracked {
		w.add("tracked")
	}
}

// aside is what is written, which is not yet a part of the program.
func (w *writer) aside(write func()) string {
	program := w.b
	w.b = strings.Builder{}
	write()
	text := w.b.String()
	w.b = program
	return text
}

// forwardOnly are fields that say nothing about a flow, and that change nothing about how a packet
// is read.
var forwardOnly = map[string]bool{"ip_ttl": true, "ip_dscp": true, "ip6_hlim": true, "ip6_flow": true, "tcp_window": true, "vlan_pcp": true}

// flowFields are the fields by which packets of a shape are known as a flow.
func flowFields(s shape) (out []*field.Field) {
	for _, f := range field.Fields() {
		switch f.Name {
		case "ip_src", "ip_dest", "ip6_src", "ip6_dest", "tcp_src", "tcp_dest", "udp_src", "udp_dest", "icmp_id", "vlan_id":
			if s.has(f.Proto) {
				out = append(out, f)
			}
		}
	}
	return out
}

// swappedFields are the two fields that swap exchanges, if f is one of them.
func swappedFields(f *field.Field) []*field.Field {
	switch f.Proto {
	case field.IP, field.IP6, field.TCP, field.UDP:
		prefix := f.Proto.Header().Prefix
		return []*field.Field{field.MustByName(prefix + "_src"), field.MustByName(prefix + "_dest")}
	}
	return nil
}

// change writes what a field is tested for and what becomes of it: one value for another, a prefix for
// one of the same length, or a range that is shifted.
func (w *writer) change(f *field.Field) (test, action string) {
	switch {
	case f.Kind.IsAddress() && w.chance(2):
		bits := w.r.IntN(f.Width + 1)
		prefix := func() string {
			return fmt.Sprintf("%s/%d", w.plain(f, w.number(f).AndNot(field.Ones(f.Width-bits))), bits)
		}
		return w.cell(prefix), w.cell(prefix)
	case !f.Kind.IsAddress() && w.chance(3):
		n := 1 + w.r.Uint64N(f.Max().Lo/4)
		lo := w.r.Uint64N(f.Max().Lo / 2)
		return fmt.Sprintf("%d-%d", n+lo, n+lo+w.r.Uint64N(f.Max().Lo/4)), w.oneOf("+", "-") + fmt.Sprint(n)
	}
	value := func() string { return w.value(f, w.number(f)) }
	return w.cell(value), w.cell(value)
}
