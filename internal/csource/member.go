package csource

import (
	"fmt"
	"strings"

	"repacket/internal/field"
)

// member is a part of a header's structure: one field that fills one, two or
// four bytes, or the fields that share such bytes.
type member struct {
	proto     field.Protocol
	name      string
	off, size int // in bytes
	fields    []*field.Field
}

// layouts are the members of each header, in order. Bytes of its fixed part
// that no field names are in none.
var layouts = func() map[field.Protocol][]*member {
	out := map[field.Protocol][]*member{}
	for _, p := range field.Protocols() {
		out[p] = members(p)
	}
	return out
}()

func members(p field.Protocol) []*member {
	var out []*member
	for off := 0; off < p.Header().Fixed; {
		m := &member{proto: p, off: off, size: 1}
		for _, f := range field.Fields() {
			if f.Proto == p && f.Byte() >= off && f.Byte() < off+m.size {
				m.fields = append(m.fields, f)
				m.size = max(m.size, f.Byte()-off+f.Size())
			}
		}
		if len(m.fields) > 0 {
			m.name = m.choose()
			out = append(out, m)
		}
		off += m.size
	}
	return out
}

// choose finds a name: that of the field that fills the member, else flags, if
// it has nothing else, else the names of its fields together.
func (m *member) choose() string {
	var names []string
	flags := true
	for _, f := range m.fields {
		if f.Width == 8*m.size {
			return short(f)
		}
		if !m.inAnother(f) {
			names = append(names, short(f))
			flags = flags && f.Kind == field.Flag
		}
	}
	if flags && len(names) > 1 {
		return "flags"
	}
	return strings.Join(names, "_")
}

// inAnother tells whether f is a part of a wider field.
func (m *member) inAnother(f *field.Field) bool {
	for _, o := range m.fields {
		if o.Width > f.Width && o.Bit <= f.Bit && f.Bit+f.Width <= o.Bit+o.Width {
			return true
		}
	}
	return false
}

// short is the part of a field's name behind the protocol.
func short(f *field.Field) string { return strings.TrimPrefix(f.Name, f.Proto.String()+"_") }

// memberOf is the member that holds f.
func memberOf(f *field.Field) *member {
	for _, m := range layouts[f.Proto] {
		if m.off <= f.Byte() && f.Byte()+f.Size() <= m.off+m.size {
			return m
		}
	}
	panic("csource: no member holds " + f.Name)
}

// group is some fields of one member.
type group struct {
	*member
	fields []*field.Field
}

// groups sorts fields by members, in the order in which members come first.
func groups(fields []*field.Field) []group {
	var out []group
next:
	for _, f := range fields {
		m := memberOf(f)
		for i := range out {
			if out[i].proto == m.proto && out[i].off == m.off {
				out[i].fields = append(out[i].fields, f)
				continue next
			}
		}
		out = append(out, group{m, []*field.Field{f}})
	}
	return out
}

// shift is the number of bits of the member below f.
func (m *member) shift(f *field.Field) int { return 8*(m.off+m.size) - f.Bit - f.Width }

// mask is where f's bits are in the member, read as a big-endian number.
func (m *member) mask(f *field.Field) uint64 { return f.Max().Lo << m.shift(f) }

// full tells whether the fields fill the member.
func (g group) full() bool {
	var mask uint64
	for _, f := range g.fields {
		mask |= g.mask(f)
	}
	return mask == field.Ones(8*g.size).Lo
}

// types are those of members by their size: big-endian, as on the wire.
var types = map[int]string{1: "__u8", 2: "__be16", 4: "__be32"}

// host reads a number of the wire, wire turns a number around for it.
func (m *member) host(x string) string { return m.order("bpf_ntoh", x) }
func (m *member) wire(x string) string { return m.order("bpf_hton", x) }

func (m *member) order(function, x string) string {
	letter := map[int]string{2: "s", 4: "l"}[m.size]
	if letter == "" || x == "0" {
		return x
	}
	return function + letter + "(" + x + ")"
}

// headers are the structures of the headers that are used.
func (w *writer) headers() []string {
	var out []string
	for _, p := range field.Protocols() {
		if w.needs[headerOf(p)] {
			out = append(out, structure(p))
		}
	}
	return out
}

// structure declares the fixed part of a header.
func structure(p field.Protocol) string {
	var b strings.Builder
	h := p.Header()
	fmt.Fprintf(&b, "/* %s, %s. */\nstruct %s_header {\n", h.Title, h.RFC, p)
	at := 0
	for _, m := range layouts[p] {
		b.WriteString(unnamed(at, m.off))
		b.WriteString(m.declaration())
		at = m.off + m.size
	}
	b.WriteString(unnamed(at, h.Fixed))
	fmt.Fprintf(&b, "};\n\n_Static_assert(sizeof(struct %s_header) == %d, \"no padding\");\n", p, h.Fixed)
	return b.String()
}

// declaration is the member's line, with its fields if it holds several.
func (m *member) declaration() string {
	line := fmt.Sprintf("\t%s %s;", types[m.size], m.name)
	var parts []string
	for _, f := range m.fields {
		if f.Width < 8*m.size {
			parts = append(parts, f.Name)
		}
	}
	if len(parts) > 0 {
		line += " /* " + strings.Join(parts, ", ") + " */"
	}
	return line + "\n"
}

// unnamed declares bytes that no field names.
func unnamed(from, to int) string {
	if from == to {
		return ""
	}
	return fmt.Sprintf("\t__u8 bytes_%d[%d];\n", from, to-from)
}

// defines are the masks and numbers that are used.
func (w *writer) defines() string {
	var b strings.Builder
	for _, f := range field.Fields() {
		if w.masks[f] {
			m := memberOf(f)
			fmt.Fprintf(&b, "#define %s 0x%0*x\n", strings.ToUpper(f.Name), 2*m.size, m.mask(f))
		}
	}
	for _, p := range field.Protocols() {
		if w.needs[protocolNumber(p)] {
			fmt.Fprintf(&b, "#define PROTOCOL_%s %d\n", strings.ToUpper(p.String()), p.Header().Number)
		}
	}
	if w.needs[addressMacro] {
		b.WriteString("#define ADDRESS(a, b, c, d) ((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))\n")
	}
	return b.String()
}

// bits names where a field's bits are in its member.
func (w *writer) bits(f *field.Field) string {
	w.masks[f] = true
	return strings.ToUpper(f.Name)
}

// allBits names where the bits of a group are.
func (w *writer) allBits(g group) string {
	names := make([]string, len(g.fields))
	for i, f := range g.fields {
		names[i] = w.bits(f)
	}
	return strings.Join(names, " | ")
}

// place is the member in the packet, such as udp->dest.
func (w *writer) place(m *member) string {
	w.structure(m.proto)
	if m.proto == field.IP {
		w.use(ipHeader)
	} else {
		w.use(l4Header)
	}
	return m.proto.String() + "->" + m.name
}

func (w *writer) use(p param) { w.params[p] = true }

// protocol names the protocol's number.
func (w *writer) protocol(p field.Protocol) string {
	w.needs[protocolNumber(p)] = true
	return "PROTOCOL_" + strings.ToUpper(p.String())
}

// structure names the protocol's header.
func (w *writer) structure(p field.Protocol) string {
	w.needs[headerOf(p)] = true
	return p.String() + "_header"
}
