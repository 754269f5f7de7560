package packetgen

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"repacket/internal/field"
)

// Program writes the text of a random program in the whole of the language:
// one to five rules with every kind of test and action, in words and signs,
// under canonical, other and short names. Most are valid; some contradict
// themselves in a way that the checker finds.
func Program(r *rand.Rand) string {
	w := &writer{r: r}
	for i := range 1 + min(r.IntN(5), r.IntN(5)) {
		if i > 0 {
			w.b.WriteString(w.oneOf(" ", " else ", "; ", "\n"))
		}
		w.rule(i)
	}
	w.b.WriteString(w.oneOf("", "", "", ";", " # the end\n"))
	return w.b.String()
}

// writer writes one program.
type writer struct {
	r *rand.Rand
	b strings.Builder
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

// rule writes one rule: for one transport protocol, or for any.
func (w *writer) rule(i int) {
	if w.chance(4) {
		w.add(fmt.Sprintf("r%d:", i))
	}
	l4 := field.None
	if !w.chance(4) {
		l4 = transports[w.r.IntN(len(transports))]
	}
	w.add("if")
	w.or(&scope{l4: l4, open: l4 == field.None}, 0)
	if !w.chance(6) {
		w.add("then")
		w.actions(l4)
	}
}

// scope is what a condition can speak of without contradicting itself.
type scope struct {
	l4   field.Protocol // the transport protocol that is meant, or None
	open bool           // alternatives may each choose a transport protocol
	used []*field.Field // tested already, or fixed by the transport protocol
}

// alternative is a copy of s for one side of an or.
func (s *scope) alternative(r *rand.Rand) *scope {
	out := &scope{l4: s.l4, open: s.open, used: append([]*field.Field(nil), s.used...)}
	if out.open && r.IntN(3) > 0 {
		out.l4, out.open = transports[r.IntN(len(transports))], false
	}
	return out
}

// or writes alternatives.
func (w *writer) or(s *scope, depth int) {
	for i := range 1 + w.r.IntN(3)/2 + w.r.IntN(4)/3 {
		if i > 0 {
			w.add(w.oneOf("or", "or", "or", "||"))
		}
		w.and(s.alternative(w.r), depth)
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
		s = &scope{l4: s.l4, open: s.open} // the opposite of what is used is no contradiction
		if s.l4 == field.None && w.chance(2) {
			w.add(transports[w.r.IntN(len(transports))].String())
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

func (w *writer) protocol(s *scope) string {
	if s.l4 == field.None {
		return w.oneOf("eth", "ip")
	}
	return w.oneOf("eth", "ip", s.l4.String(), s.l4.String())
}

// test writes a test of a field that is not used yet.
func (w *writer) test(s *scope) {
	f := w.unused(s.used, func(f *field.Field) bool { return s.allows(f) })
	if f == nil {
		w.add("ip")
		return
	}
	s.used = append(s.used, f)
	w.add(w.name(f))
	w.values(f)
}

// allows tells whether a test of f can hold where s does: fields of other
// protocols cannot, and those that say which protocol follows are known.
func (s *scope) allows(f *field.Field) bool {
	if s.l4 == field.None {
		return f.Proto == field.IP
	}
	known := f == ipVer || f == ipHL || f == ipOffset || f == ipProtocol
	return f.Proto == s.l4 || f.Proto == field.IP && !known
}

// unused picks a field that is allowed and shares no bit with those in used.
func (w *writer) unused(used []*field.Field, allowed func(*field.Field) bool) *field.Field {
	var free []*field.Field
	for _, f := range field.Fields() {
		if allowed(f) && !overlaps(f, used) {
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
	for _, s := range field.Shorts() {
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

// actions writes actions that touch no bit twice.
func (w *writer) actions(l4 field.Protocol) {
	var used []*field.Field
	for i := range 1 + min(w.r.IntN(5), w.r.IntN(5)) {
		f := w.unused(used, func(f *field.Field) bool { return f.Proto == field.IP || f.Proto == l4 })
		if f == nil {
			return
		}
		used = append(used, f)
		if i > 0 && w.chance(3) {
			w.add(w.oneOf(",", "and"))
		}
		w.add(w.name(f))
		if w.chance(8) {
			w.add("=")
		}
		if f.Kind == field.Checksum && !w.chance(3) {
			w.add(w.oneOf("fix", "fix", "bad"))
			continue
		}
		w.add(w.value(f, w.number(f)))
	}
}
