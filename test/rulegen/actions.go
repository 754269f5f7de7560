package rulegen

import (
	"repacket/internal/field"
)

// actions writes what becomes of packets of a shape: fields that are set,
// headers that are swapped, no bit touched twice, and a verdict.
func (w *writer) actions(s shape) {
	verdict := w.verdict()
	if verdict == "drop" {
		w.add(verdict)
		return
	}
	var used []*field.Field
	n := 1 + min(w.r.IntN(5), w.r.IntN(5))
	if verdict != "" && w.chance(3) {
		n = 0
	}
	written := 0
	for range n {
		before := len(used)
		if used = w.action(s, used, written > 0); len(used) > before {
			written++
		}
	}
	switch {
	case verdict != "":
		w.between(written > 0)
		w.add(verdict)
	case written == 0:
		w.add("pass")
	}
}

// verdict is how the actions end, mostly with nothing said.
func (w *writer) verdict() string {
	verdicts := []string{"pass", "drop", "reflect"}
	if w.style.OnlyPass {
		verdicts = verdicts[:1]
	} else if len(w.style.Redirect) > 0 && w.chance(2) {
		verdicts = []string{"redirect " + w.oneOf(w.style.Redirect...)}
	}
	if !w.chance(4) {
		return ""
	}
	return w.oneOf(verdicts...)
}

// between now and then writes what may stand between two actions.
func (w *writer) between(two bool) {
	if two && w.chance(3) {
		w.add(w.oneOf(",", "and"))
	}
}

// action writes one action and gives the fields that are used up then.
func (w *writer) action(s shape, used []*field.Field, more bool) []*field.Field {
	if w.chance(6) {
		if swapped := w.swap(s, used, more); swapped != nil {
			return append(used, swapped...)
		}
	}
	f := w.unused(used, func(f *field.Field) bool { return s.has(f.Proto) && (f.Only == nil || !w.typed) })
	if f == nil {
		return used
	}
	w.between(more)
	w.add(w.name(f))
	if w.chance(8) {
		w.add("=")
	}
	w.operand(s, f)
	return append(used, f)
}

// swap writes the exchange of two fields that are not used, and gives them.
func (w *writer) swap(s shape, used []*field.Field, more bool) []*field.Field {
	for _, p := range []field.Protocol{s.l4, s.net, field.Eth} {
		switch p {
		case field.Eth, field.IP, field.IP6, field.TCP, field.UDP:
		default:
			continue
		}
		src, dest := field.MustByName(p.Header().Prefix+"_src"), field.MustByName(p.Header().Prefix+"_dest")
		if !s.has(p) || overlaps(src, used) || overlaps(dest, used) || w.chance(2) {
			continue
		}
		w.between(more)
		w.add("swap", p.String())
		return []*field.Field{src, dest}
	}
	return nil
}
