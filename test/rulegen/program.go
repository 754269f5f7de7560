package rulegen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"repacket/internal/field"
)

// Program writes the text of a random program in the language, but for what a
// Style must ask for: one to five rules with every kind of test, action and
// verdict, in words and signs, under canonical, other and short names. Most
// are valid; some contradict themselves in a way that the checker finds.
func Program(r *rand.Rand) string { return Style{}.Program(r) }

// Style says what random programs may hold.
type Style struct {
	// Link is where they run: the fields of headers that its packets do not
	// have are left out.
	Link field.Link
	// Redirect are the interfaces that rules may redirect to.
	Redirect []string
	// OnlyPass: no packet is dropped, reflected or redirected.
	OnlyPass bool
	// Operands: actions also compute what they write: by arithmetic, copies,
	// prefixes and random values.
	Operands bool
	// Chance: tests also hold by chance.
	Chance bool
	// Replies: of two rules one says replies.
	Replies bool
	// Tracked: of four rules that do three say replies tracked, and may change a flow in any way
	// that Operands has.
	Tracked bool
	// Rows is how many rows the files of Source have at most; 0 are few.
	Rows int
}

// Program is Program in this style.
func (s Style) Program(r *rand.Rand) string {
	w := &writer{r: r, style: s}
	w.program()
	return w.b.String()
}

func (w *writer) program() {
	for i := range 1 + min(w.r.IntN(5), w.r.IntN(5)) {
		if i > 0 {
			w.b.WriteString(w.oneOf(" ", " else ", "; ", "\n"))
		}
		w.rule(i)
	}
	if w.chance(8) {
		w.add("else")
		w.actions(w.shape())
	}
	w.b.WriteString(w.oneOf("", "", "", ";", " # the end\n"))
}

// writer writes one program.
type writer struct {
	r     *rand.Rand
	style Style
	b     strings.Builder
	// typed: the rule tests icmp_type, so icmp_id and icmp_seq may not be there.
	typed bool
	// files are there if rules may take rows from files.
	files Files
	// table is the CSV file of the rule, or nil.
	table *csvTable
}

func (w *writer) oneOf(words ...string) string { return words[w.r.IntN(len(words))] }

// chance is true once in n times.
func (w *writer) chance(n int) bool { return w.r.IntN(n) == 0 }

// add writes words with a blank before each.
func (w *writer) add(words ...string) {
	for _, s := range words {
		if w.b.Len() > 0 && !strings.HasSuffix(w.b.String(), "\n") {
			w.b.WriteByte(' ')
		}
		w.b.WriteString(s)
	}
}

// shape is the headers that packets are meant to have; None where it is all
// the same.
type shape struct {
	ethernet bool
	tags     int
	net, l4  field.Protocol
}

// shape chooses headers that go together.
func (w *writer) shape() shape {
	s := shape{ethernet: w.style.Link == field.Ethernet}
	if s.ethernet && w.chance(5) {
		s.tags = 1 + w.r.IntN(2)
		if w.chance(4) {
			return s // what follows is all the same
		}
	}
	if !w.chance(4) {
		s.l4 = transportProtocols[w.r.IntN(len(transportProtocols))]
		if w.chance(3) {
			s.l4 = w.protocolOf(field.TCP, field.UDP)
		}
	}
	switch s.l4 {
	case field.None:
		s.net = w.protocolOf(field.IP, field.IP, field.IP, field.IP6, field.IP6, field.ARP, field.None)
		if s.net == field.ARP && !s.ethernet {
			s.net = field.None
		}
	case field.TCP, field.UDP:
		s.net = w.protocolOf(field.IP, field.IP, field.IP6, field.None)
	default:
		s.net = s.l4.Header().Over[0]
	}
	return s
}

func (w *writer) protocolOf(of ...field.Protocol) field.Protocol { return of[w.r.IntN(len(of))] }

// headers are those that the packets have, the outermost first.
func (s shape) headers() []field.Protocol {
	var all []field.Protocol
	if s.ethernet {
		all = append(all, field.Eth)
	}
	all = append(all, []field.Protocol{field.VLAN, field.CVLAN}[:s.tags]...)
	for _, p := range []field.Protocol{s.net, s.l4} {
		if p != field.None {
			all = append(all, p)
		}
	}
	return all
}

// innermost reports whether nothing is known of what follows header p.
func (s shape) innermost(p field.Protocol) bool {
	all := s.headers()
	return all[len(all)-1] == p
}

// rule writes one rule: for packets of one shape, or for any.
func (w *writer) rule(i int) {
	if w.chance(4) {
		w.add(fmt.Sprintf("r%d:", i))
	}
	s := w.shape()
	w.typed = false
	w.beginRows()
	w.add("if")
	if w.style.Replies && w.chance(2) {
		w.answered(s)
		w.endRows(i)
		return
	}
	w.or(&scope{shape: s, open: s.l4 == field.None && s.net == field.None}, 0)
	if !w.chance(6) {
		w.add("then")
		w.actions(s)
	}
	w.endRows(i)
}

// scope is what a condition can speak of without contradicting itself.
type scope struct {
	shape
	open bool           // alternatives may each choose what follows the tags
	used []*field.Field // tested already, or fixed by the headers that are meant
}

// alternative is a copy of s for one side of an or.
func (w *writer) alternative(s *scope) *scope {
	out := &scope{shape: s.shape, open: s.open, used: slices.Clone(s.used)}
	typed := slices.ContainsFunc(s.used, func(f *field.Field) bool { return slices.Contains(etherTypeFields, f) })
	if s.open && !typed && w.r.IntN(3) > 0 {
		other := w.shape()
		out.net, out.l4, out.open = other.net, other.l4, false
	}
	return out
}

// or writes alternatives.
func (w *writer) or(s *scope, depth int) {
	for i := range 1 + w.r.IntN(3)/2 + w.r.IntN(4)/3 {
		if i > 0 {
			w.add(w.oneOf("or", "or", "or", "||"))
		}
		w.and(w.alternative(s), depth)
	}
}

// and writes tests that all hold.
func (w *writer) and(s *scope, depth int) {
	for i := range 1 + min(w.r.IntN(4), w.r.IntN(4)) {
		if i > 0 && w.chance(3) {
			w.add(w.oneOf("and", "and", "and", "&&"))
		}
		w.unary(s, depth)
	}
}

// unary writes a test, a group in brackets, or not and either.
func (w *writer) unary(s *scope, depth int) {
	if w.chance(6) {
		w.add(w.oneOf("not", "not", "not", "!"))
		s = &scope{shape: s.shape, open: s.open} // the opposite of what is used is no contradiction
		if s.l4 == field.None && w.chance(2) {
			w.add(transportProtocols[w.r.IntN(len(transportProtocols))].String())
			return
		}
		if depth > 2 || !w.chance(3) {
			w.test(s)
			return
		}
		w.group(s, depth)
		return
	}
	switch {
	case w.style.Chance && w.chance(10):
		w.luck()
	case depth < 3 && w.chance(6):
		w.group(s, depth)
	case w.chance(12):
		w.add("all")
	case w.chance(8):
		w.add(w.protocol(s))
	default:
		w.test(s)
	}
}

func (w *writer) group(s *scope, depth int) {
	w.add("(")
	w.or(s, depth+1)
	w.add(")")
}

// protocol is the word of a header that is there.
func (w *writer) protocol(s *scope) string {
	var words []string
	for _, p := range s.headers() {
		if name := p.Header().Name; name != "" && p != field.CVLAN {
			words = append(words, name)
		}
	}
	if len(words) == 0 {
		return "all"
	}
	return words[w.r.IntN(len(words))]
}

// test writes a test of a field that is not used yet.
func (w *writer) test(s *scope) {
	f := w.unused(s.used, s.allows)
	if f == nil {
		w.add(w.protocol(s))
		return
	}
	s.used = append(s.used, f)
	w.typed = w.typed || f == icmpType
	w.add(w.name(f))
	w.values(f)
}

var icmpType = field.MustByName("icmp_type")

// allows reports whether a test of f can hold where s does: fields of other
// headers cannot, and those that say which header follows are known.
func (s *scope) allows(f *field.Field) bool {
	used := func(names ...string) bool {
		return slices.ContainsFunc(s.used, func(u *field.Field) bool { return slices.Contains(names, u.Name) })
	}
	switch f.Name {
	case "ip_ver", "ip_hl", "ip_offset", "ip_protocol", "ip6_next":
		return s.net == f.Proto && s.l4 == field.None
	case "eth_type", "vlan_type", "cvlan_type":
		return s.has(f.Proto) && s.innermost(f.Proto)
	case "icmp_type":
		return s.has(f.Proto) && !used("icmp_id", "icmp_seq")
	case "icmp_id", "icmp_seq":
		return s.has(f.Proto) && !used("icmp_type")
	case "tcp_hlen":
		return s.has(f.Proto) && !used("tcp_mss")
	case "tcp_mss":
		return s.has(field.TCP) && !used("tcp_hlen")
	}
	return s.has(f.Proto)
}

// has reports whether packets of this shape have a header, MSS included.
func (s shape) has(p field.Protocol) bool {
	return slices.Contains(s.headers(), p) || p == field.MSS && s.l4 == field.TCP
}

// unused picks a field that is allowed and shares no bit with those in used.
// Fields of the outer headers come up less often, for they are in every packet.
func (w *writer) unused(used []*field.Field, allowed func(*field.Field) bool) *field.Field {
	var free []*field.Field
	for _, f := range field.Fields() {
		if allowed(f) && !overlaps(f, used) && (f.Proto != field.Eth || w.chance(3)) {
			free = append(free, f)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return free[w.r.IntN(len(free))]
}

func overlaps(f *field.Field, others []*field.Field) bool {
	for _, o := range others {
		if f.Proto == o.Proto && f.Bit < o.Bit+o.Width && o.Bit < f.Bit+f.Width {
			return true
		}
	}
	return false
}

// name writes f under one of its names, in any case, with a dot.
func (w *writer) name(f *field.Field) string {
	name := f.Name
	if len(f.Aliases) > 0 && w.chance(5) {
		name = w.oneOf(f.Aliases...)
	}
	for _, s := range field.Generics() {
		for _, n := range s.Fields {
			if n == f.Name && w.chance(3) {
				return s.Name
			}
		}
	}
	if w.chance(12) && name != "tcp_ack" { // tcp.ack means two things and is refused
		name = strings.Replace(name, "_", ".", 1)
	}
	if w.chance(16) {
		name = strings.ToUpper(name)
	}
	return name
}
