package csource

import (
	"fmt"
	"strings"
	"sync"

	"repacket/internal/field"
)

// member is a part of a header's structure: one field that fills one, two or
// four bytes, a piece of a wider one, or the fields that share such bytes.
type member struct {
	proto     field.Protocol
	name      string
	off, size int // in bytes
	fields    []*field.Field
	// of is how many elements the array has that the member is the first of; 0
	// is no array, -1 another element.
	of int
}

// layouts are the members of each header, in order. Bytes of its fixed part
// that no field names are in none.
var layouts = sync.OnceValue(func() map[field.Protocol][]*member {
	out := map[field.Protocol][]*member{}
	for _, p := range field.AllProtocols() {
		out[p] = members(p)
	}
	return out
})

func members(p field.Protocol) []*member {
	var out []*member
	for off := 0; off < field.Unquoted(p).Header().Fixed; {
		m := &member{proto: p, off: off, size: 1}
		for _, f := range narrow(field.AllFields()) {
			if f.Proto == p && f.Byte() >= off && f.Byte() < off+m.size {
				m.fields = append(m.fields, f)
				m.size = max(m.size, f.Byte()-off+f.Size())
			}
		}
		if len(m.fields) > 0 {
			m.name = m.choose()
			m.of = elements(m.fields[0])
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

// inAnother reports whether f is a part of a wider field.
func (m *member) inAnother(f *field.Field) bool {
	for _, o := range m.fields {
		if o.Width > f.Width && o.Bit <= f.Bit && f.Bit+f.Width <= o.Bit+o.Width {
			return true
		}
	}
	return false
}

// short is the part of a field's name behind the protocol.
func short(f *field.Field) string { return strings.TrimPrefix(f.Name, f.Proto.Header().Prefix+"_") }

// variable is the name of the pointer to a header.
func variable(p field.Protocol) string {
	if p == field.MSS {
		return "option"
	}
	return p.String()
}

// structureName is the name of the structure of a header, which in a quote is the same.
func structureName(p field.Protocol) string {
	p = field.Unquoted(p)
	if p == field.MSS {
		return "mss_option"
	}
	return p.String() + "_header"
}

// otherMember is the checksum of a protocol without fields, which is in no header.
var otherMember = &member{size: 2, fields: []*field.Field{field.OtherCheck}}

// memberOf is the member that holds f.
func memberOf(f *field.Field) *member {
	if f == field.OtherCheck {
		return otherMember
	}
	for _, m := range layouts()[f.Proto] {
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

// full reports whether the fields fill the member.
func (g group) full() bool {
	var mask uint64
	for _, f := range g.fields {
		mask |= g.mask(f)
	}
	return mask == field.Ones(8*g.size).Lo
}

// types are those of members by their size: big-endian, as on the wire.
var types = map[int]string{1: "__u8", 2: "__be16", 4: "__be32"}

// host reads a number of the wire.
func (m *member) host(x string) string { return m.order("bpf_ntoh", x) }

// wire turns a number around for the wire, unless it is one that host reads.
func (m *member) wire(x string) string {
	read, _ := strings.CutPrefix(x, "bpf_ntohl(")
	if read = strings.TrimSuffix(read, ")"); !strings.Contains(read, ")") && m.host(read) == x {
		return read
	}
	return m.order("bpf_hton", x)
}

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
	if w.needs[extension] {
		out = append(out, extensionText)
	}
	return out
}

const extensionText = `/* An extension header of IPv6, RFC 8200: what all have that can be stepped over. */
struct extension {
	__u8 next;
	__u8 length; /* in 8-byte units, the first one not counted */
	__u8 bytes[6];
};
`

// wayDefines are what is said about the way behind an IPv6 header.
func (w *writer) wayDefines() string {
	text := ""
	for _, d := range []struct {
		string
		text string
	}{
		{noWay, "#define NO_WAY (59 << 16) /* no next header */\n"},
		{routedFlag, "#define WAY_ROUTED 0x01000000 /* a routing header has segments left */\n"},
		{moreFlag, "#define WAY_MORE 0x02000000 /* more fragments follow */\n"},
	} {
		if w.needs[d.string] {
			text += d.text
		}
	}
	return text
}

// structure declares the fixed part of a header.
func structure(p field.Protocol) string {
	var b strings.Builder
	h := p.Header()
	fmt.Fprintf(&b, "/* %s, %s. */\nstruct %s {\n", sentence(h.Title), h.RFC, structureName(p))
	at := 0
	for _, m := range layouts()[p] {
		b.WriteString(unnamed(at, m.off))
		b.WriteString(m.declaration())
		at = m.off + m.size
	}
	b.WriteString(unnamed(at, h.Fixed))
	if h.Fixed%word != 0 {
		b.WriteString("} __attribute__((packed, aligned(2)))")
	} else {
		b.WriteString("}")
	}
	fmt.Fprintf(&b, ";\n\n_Static_assert(sizeof(struct %s) == %d, \"no padding\");\n", structureName(p), h.Fixed)
	return b.String()
}

// sentence begins with a capital letter.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// declaration is the member's line, with its fields if it holds several.
func (m *member) declaration() string {
	if m.of != 0 {
		if m.of < 0 {
			return ""
		}
		return fmt.Sprintf("\t%s %s[%d];\n", types[m.size], strings.TrimSuffix(m.name, "[0]"), m.of)
	}
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
	for _, f := range field.AllFields() {
		if w.masks[f] {
			m := memberOf(f)
			fmt.Fprintf(&b, "#define %s 0x%0*x\n", strings.ToUpper(f.Name), 2*m.size, m.mask(f))
		}
	}
	for _, p := range field.Protocols() {
		if w.needs[protocolNumber(p)] {
			fmt.Fprintf(&b, "#define PROTOCOL_%s %d\n", strings.ToUpper(p.String()), p.Header().Number)
		}
		if w.needs[etherType(p)] {
			fmt.Fprintf(&b, "#define TYPE_%s 0x%04x\n", strings.ToUpper(p.String()), p.Header().Number)
		}
	}
	b.WriteString(w.wayDefines() + w.indexes())
	if w.needs[addressMacro] {
		b.WriteString("#define ADDRESS(a, b, c, d) ((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))\n")
	}
	return b.String()
}

// bits names where a field's bits are in its member. Those of a part of an
// address have no name.
func (w *writer) bits(f *field.Field) string {
	if isPart(f) {
		return w.inMember(f, f.Max().Lo)
	}
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

// place is the member in the packet, such as udp->dest. What may be offloaded
// at tc is a parameter.
func (w *writer) place(m *member) string {
	if m == otherMember {
		w.use(otherCheck)
		return "*" + string(otherCheck)
	}
	if p, ok := w.offloaded(m); ok {
		w.use(p)
		return string(p)
	}
	return w.inPacket(m)
}

// offloaded is the parameter for what may be offloaded at tc: of an outer VLAN
// tag all but the type of what it carries.
func (w *writer) offloaded(m *member) (param, bool) {
	switch {
	case w.options.Hook != TC:
	case m.proto == field.Eth && m.off == 12:
		return outerType, true
	case m.proto == field.VLAN && m.off == 0:
		return outerTCI, true
	}
	return "", false
}

func (w *writer) inPacket(m *member) string { return w.header(m.proto) + "->" + m.name }

// header is the pointer to a header.
func (w *writer) header(p field.Protocol) string {
	w.structure(p)
	w.use(param(variable(p)))
	return variable(p)
}

func (w *writer) use(p param) { w.params[p] = true }

// protocol names the protocol's number.
func (w *writer) protocol(p field.Protocol) string {
	w.needs[protocolNumber(p)] = true
	return "PROTOCOL_" + strings.ToUpper(p.String())
}

// etherType names the type of what follows a link's header.
func (w *writer) etherType(p field.Protocol) string {
	w.needs[etherType(p)] = true
	return "TYPE_" + strings.ToUpper(p.String())
}

// structure names the protocol's header.
func (w *writer) structure(p field.Protocol) string {
	w.needs[headerOf(p)] = true
	return structureName(p)
}
