package rule

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// clash says why no packet meets both a and b, of which b stands behind a.
func (v *solver) clash(a, b claim, inA, inB packetset.Set) *syntax.Diagnostic {
	for layer := range field.Layers {
		layer = field.Layers - 1 - layer // the innermost first
		x, y := inA.Headers(layer), inB.Headers(layer)
		if !(x | y).Has(field.None) && x&y == 0 {
			return v.twoHeaders(a, b, layer, inA, inB)
		}
	}
	s, isTest := a.test()
	t, both := b.test()
	if isTest && both && s.Field == t.Field {
		return v.twoValues(a, b)
	}
	for _, pair := range [][2]claim{{a, b}, {b, a}} {
		text := v.onlyThere(pair[0], pair[1])
		if text == "" {
			text = v.needsBelow(pair[0], pair[1])
		}
		if text != "" {
			return v.diagnostic(syntax.Error, b.at, "", "nothing can match: %s", text)
		}
	}
	hint := ""
	if b.sum {
		hint = "fix and bad ask for a whole datagram, no fragment"
	}
	return v.diagnostic(syntax.Error, b.at, hint, "nothing can match: %s and %s exclude each other", v.words(a.at), v.words(b.at))
}

func titles(h packetset.Headers) string {
	var names []string
	for _, p := range h.List() {
		names = append(names, p.Header().Title)
	}
	return strings.Join(names, " or ")
}

// title names the innermost header, no option, that every packet of a set has.
func title(s packetset.Set) string {
	for layer := field.TransportLayer; ; layer-- {
		if h := s.Headers(layer); !h.Has(field.None) || layer == field.LinkLayer {
			return titles(h)
		}
	}
}

// twoHeaders is the error for claims on different headers of a layer.
func (v *solver) twoHeaders(a, b claim, layer field.Layer, inA, inB packetset.Set) *syntax.Diagnostic {
	first, second := v.words(a.name), v.words(b.name)
	hasA, hasB := a.plain(), b.plain()
	if _, group := a.expr.(Or); group && hasA {
		first = "(" + first + ")"
	}
	if _, group := b.expr.(Or); group && hasB {
		second = "(" + second + ")"
	}
	msg := fmt.Sprintf("%s is %s, %s is %s", first, title(inA), second, title(inB))
	switch {
	case hasA && hasB:
		msg = first + " and " + second
	case hasA:
		msg = fmt.Sprintf("%s and %s (%s)", first, second, title(inB))
	case hasB:
		msg = fmt.Sprintf("%s (%s) and %s", first, title(inA), second)
	}
	hint := "only outer headers are looked at"
	meant := v.twin(b, inA.Headers(layer).List())
	for i := range meant {
		meant[i].Tail = " (" + hint + ")"
	}
	if b.reads != "" {
		hint, meant = b.reads, nil
	} else if text := otherICMP(inA, inB); text != "" && meant == nil {
		hint = text
	}
	return v.diagnostic(syntax.Error, b.name, hint, "no packet has both: %s", msg).Propose(meant...)
}

// twin suggests the same field in the one header that there is.
func (v *solver) twin(b claim, theirs []field.Protocol) []syntax.Suggestion {
	ref, ok := syntax.ResolveField(syntax.Token{Text: strings.ToLower(v.words(b.name))})
	if !ok || len(theirs) != 1 {
		return nil
	}
	f, there := ref.Fields[0], theirs[0].Header()
	twin, ok := field.ByName(there.Prefix + strings.TrimPrefix(f.Name, f.Proto.Header().Prefix))
	for _, s := range field.Generics() {
		for _, name := range s.Fields {
			if g := field.MustByName(name); slices.Contains(s.Fields, f.Name) && g.Proto == theirs[0] {
				twin, ok = g, true
			}
		}
	}
	if !ok || twin.Proto != theirs[0] {
		return nil
	}
	shows := Span{Start: b.name.Start, End: max(b.at.End, b.name.End)}
	return []syntax.Suggestion{syntax.Replace("for "+there.Title+": ", b.name, twin.Name, "").Showing(shows)}
}

// otherICMP is the hint for ICMP over IPv6 and the other way round.
func otherICMP(a, b packetset.Set) string {
	for _, pair := range [][2]packetset.Set{{a, b}, {b, a}} {
		transport, network := pair[0].Headers(field.TransportLayer), pair[1].Headers(field.NetworkLayer)
		switch {
		case !pair[1].Headers(field.TransportLayer).Has(field.None):
		case transport == packetset.HeadersOf(field.ICMP) && network == packetset.HeadersOf(field.IP6):
			return "over IPv6 it is icmp6"
		case transport == packetset.HeadersOf(field.ICMP6) && network == packetset.HeadersOf(field.IP):
			return "over IPv4 it is icmp"
		}
	}
	return ""
}

// twoValues is the error for two tests of one field that exclude each other.
func (v *solver) twoValues(a, b claim) *syntax.Diagnostic {
	first, isA := v.asked(a)
	second, isB := v.asked(b)
	var meant []syntax.Suggestion
	if between := (Span{Start: a.at.End, End: b.at.Start}); isA && isB && between.Start <= between.End {
		if word := v.words(between); word == "" || word == "and" {
			at := Span{Start: a.at.Start, End: b.at.End}
			meant = append(meant, syntax.Replace("one of them: ", at, v.words(a.name)+" "+first+","+second, ""))
		}
	}
	return v.diagnostic(syntax.Error, b.at, "", "nothing can match: %s is asked to be %s and %s", v.words(b.name), first, second).Propose(meant...)
}

// asked is what a test asks of its field, in the words of the source; equal
// reports that these are plain values.
func (v *solver) asked(cl claim) (text string, equal bool) {
	text = v.words(Span{Start: cl.name.End, End: cl.at.End})
	word := text[:strings.IndexFunc(text+" ", func(r rune) bool { return r == ' ' || r >= '0' && r <= '9' })]
	switch strings.ToLower(word) {
	case "ne", "lt", "le", "gt", "ge", "!=", "<", "<=", ">", ">=":
		return text, false
	case "eq", "=", "==":
		text = strings.TrimSpace(text[len(word):])
	}
	return text, true
}

// onlyThere says where the field of cl is there, if that is why other excludes
// it.
func (v *solver) onlyThere(cl, other claim) string {
	if cl.only == nil || v.sets.Meets(v.sets.packets(guard(cl.only, cl.at)), v.sets.packets(other.expr)) {
		return ""
	}
	return fmt.Sprintf("%s is there only with %s", v.words(cl.name), printOnly(cl.only))
}

// needsBelow says which value of test's field the header that cl asks for
// needs, if that is why they exclude each other.
func (v *solver) needsBelow(cl, test claim) string {
	t, ok := test.test()
	if !ok || len(t.Cells) > 0 {
		return ""
	}
	needed := v.sets.Needed(v.sets.packets(cl.expr), t.Field)
	if needed.In.Empty() || v.sets.Meets(packetset.Where(needed.Field, needed.In), packetset.Where(t.Field, t.In)) {
		return ""
	}
	return fmt.Sprintf("%s needs %s", v.words(cl.name), Print(Test{Field: needed.Field, In: needed.In}))
}
