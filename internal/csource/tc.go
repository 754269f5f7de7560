package csource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// editAtTC writes the changes of a packet at tc. The calls that change a
// layer-4 checksum take the pointers into the packet away, so what needs them
// comes before: the sums of what changes are kept, then all else is stored.
func (w *writer) editAtTC(s plan.Step) []string {
	lines, flows := w.computes(s), w.flowsOf(s)
	l4 := w.layer4(s)
	sums := l4.before
	if terms := w.uncovered(s); len(terms) > 0 {
		w.need("fold")
		sums = append(sums, total("__u64 bytes = ", terms)+";")
		l4.after = append(l4.after, "bpf_csum_update(ctx, bpf_htons(fold(bytes)));")
	}
	for _, more := range [][]string{flows, sums} {
		if len(lines) > 0 && len(flows) > 0 && len(more) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, more...)
	}
	if len(lines) > 0 {
		lines = append(lines, "")
	}
	lines = append(lines, w.skipUnsupported(s)...)
	return append(lines, w.finishAtTC(s, l4)...)
}

// finishAtTC writes the changes themselves.
func (w *writer) finishAtTC(s plan.Step, l4 steps4) []string {
	lines, last := w.enter(s), []string(nil)
	for _, sum := range s.Sums {
		switch {
		case outer4(sum):
		case sum.Op == plan.Adjust:
			lines = append(lines, w.adjust(sum)...)
		default:
			last = w.recomputeAtTC(sum, "l3 + 10", "l3", "length")
			l4.stored = append(l4.stored, "__u32 length = "+w.call("header_length")+";")
		}
	}
	lines = append(lines, w.swaps(s.Exchanges)...)
	lines = append(lines, w.writes(s)...)
	if sets(s, field.Eth, 12) {
		lines = append(lines, w.header(field.Eth)+"->type = eth_type;")
	}
	lines = slices.Concat(lines, l4.stored, l4.after, last)
	if valueOf4(s) != nil {
		lines = append(lines, "bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET); /* it may be wrong now */")
	}
	if sets(s, field.VLAN, 0) {
		w.need("retag")
		lines = append(lines, "retag(ctx, tci);")
	}
	check := valueOf4(s)
	for _, sum := range s.Sums {
		if sum.Op == plan.Fix && sum.Check.Proto != field.IP {
			check = sum.Check
		}
	}
	if check != nil {
		return append(w.sparePartial(check, lines), lines...)
	}
	return lines
}

// sparePartial lets a packet pass whose checksum of layer 4, which a rule gives
// a value or makes right, is offloaded. To ask takes the pointers into the packet
// away, so those that the lines behind use are found again.
func (w *writer) sparePartial(check *field.Field, behind []string) []string {
	w.need("is_partial")
	w.need("offset_of")
	w.need("again")
	l4 := w.header(check.Proto)
	var lines, found, missing []string
	for _, p := range field.AllProtocols() {
		name := variable(p)
		uses := regexp.MustCompile(`\b` + name + `\b`).MatchString(strings.Join(behind, "\n"))
		if name != l4 && (!uses || !w.params[param(name)]) {
			continue
		}
		lines = append(lines, fmt.Sprintf("__u32 %s_at = offset_of(ctx, %s);", name, name))
		found = append(found, fmt.Sprintf("%s = again(ctx, %s_at, sizeof(*%s));", name, name, name))
		missing = append(missing, "!"+name)
	}
	lines = append(lines, "",
		fmt.Sprintf("if (is_partial(ctx, %s_at + %d)) /* neither that nor a value would reach the wire */", l4, memberOf(check).off),
		"\treturn XDP_PASS;")
	lines = append(lines, found...)
	return append(lines, "if ("+strings.Join(missing, " || ")+")", "\treturn XDP_PASS;")
}

// sets reports whether a step writes the member at an offset of a header.
func sets(s plan.Step, p field.Protocol, off int) bool {
	fields := written(s.Writes)
	return slices.ContainsFunc(fields, func(f *field.Field) bool { return f.Proto == p && memberOf(f).off == off })
}

// valueOf4 is the checksum of layer 4 that a step gives a value, or nil.
func valueOf4(s plan.Step) *field.Field {
	fields := written(s.Writes)
	for _, f := range fields {
		if f.Kind == field.Checksum && f.Proto != field.IP {
			return f
		}
	}
	return nil
}

// skipUnsupported passes on packets that cannot be rewritten completely: structural
// fields of GSO packets, and the type of a frame whose
// tag is offloaded.
func (w *writer) skipUnsupported(s plan.Step) []string {
	var conds []string
	fields := written(s.Writes)
	if slices.ContainsFunc(fields, func(f *field.Field) bool { return f.Structural }) {
		w.need("is_gso")
		conds = append(conds, "is_gso(ctx)")
	}
	if sets(s, field.Eth, 12) {
		w.need("tag_offloaded")
		conds = append(conds, "tag_offloaded(ctx)")
	}
	if len(conds) == 0 {
		return nil
	}
	return []string{"if (" + strings.Join(conds, " || ") + ") /* cannot be rewritten whole */", "\treturn XDP_PASS;"}
}

// steps4 are what a step does to a layer-4 checksum: while nothing is stored
// yet, when all else is, and with the pointers into the packet gone.
type steps4 struct{ before, stored, after []string }

// outer4 reports whether a sum is that of layer 4, and not one in the quote of an ICMP
// error: nothing but the message's checksum knows of these.
func outer4(s plan.Sum) bool { return s.Check.Proto != field.IP && !s.Check.Proto.IsQuoted() }

// layer4 writes what a step does to the checksum of layer 4.
func (w *writer) layer4(s plan.Step) steps4 {
	i := slices.IndexFunc(s.Sums, outer4)
	if i < 0 {
		return steps4{}
	}
	sum := s.Sums[i]
	w.use(l4Offset)
	var out steps4
	var own, pseudo []plan.Change
	for _, c := range sum.Changes {
		if c.Pseudo {
			pseudo = append(pseudo, c)
		} else {
			own = append(own, c)
		}
	}
	place := fmt.Sprintf("l4_offset + %d", memberOf(sum.Check).off)
	flags := "0"
	if sum.ZeroIsNone {
		flags = "BPF_F_MARK_MANGLED_0"
	}
	if sum.Check == field.OtherCheck {
		w.use(neverZero)
		flags = "(" + string(neverZero) + " ? BPF_F_MARK_MANGLED_0 : 0)"
	}
	keep := func(name string, list []plan.Change) []string {
		terms, names := w.change(list)
		out.before = append(out.before, total("__u64 "+name+" = ", terms)+";")
		return names
	}
	follow := func(names []string, call string) []string {
		return []string{comment(sum.Check.Name + " follows " + strings.Join(names, ", ")), call}
	}
	var pseudoCall []string
	if len(pseudo) > 0 && sum.Op != plan.Fix {
		names := keep("pseudo", pseudo)
		pseudoCall = follow(names, w.replacePseudo(place, "pseudo", flags))
	}
	if sum.Op == plan.Adjust {
		if len(own) > 0 {
			w.need("replace")
			out.after = follow(keep("own", own), fmt.Sprintf("replace(ctx, %s, own, %s);", place, flags))
		}
		out.after = append(out.after, pseudoCall...)
		if len(own) > 0 && len(pseudo) > 0 && !sum.ZeroIsNone {
			w.need("keep_ones")
			out.before = append(out.before, "__be16 was = "+w.place(memberOf(sum.Check))+";")
			out.after = append(out.after, "keep_ones(ctx, "+place+", was);")
		}
		return out
	}
	w.named4(sum, place, pseudoCall, flags, &out)
	return out
}

func (w *writer) replacePseudo(place, change, flags string) string {
	w.need("replace")
	if flags == "0" {
		flags = "BPF_F_PSEUDO_HDR"
	} else {
		flags = "BPF_F_PSEUDO_HDR | " + flags
	}
	return fmt.Sprintf("replace(ctx, %s, %s, %s);", place, change, flags)
}

// named4 fixes or breaks a checksum. One that is offloaded (CHECKSUM_PARTIAL) and is to
// be broken gets only what changes in the pseudo-header, and one more.
func (w *writer) named4(sum plan.Sum, place string, pseudoCall []string, flags string, out *steps4) {
	length := "datagram_length"
	if sum.L3 == field.IP6 {
		length = "datagram_length6"
	}
	out.before = append(out.before, "__u32 carried = "+w.call(length)+";")
	pseudoSum := "0"
	if terms := w.pseudoHeader(sum); len(terms) > 0 {
		pseudoSum = strings.Join(terms, " + ")
	}
	out.stored = append(out.stored, "__u64 pseudo_sum = "+pseudoSum+";")
	whole := w.recomputeAtTC(sum, place, "l4_offset", "carried")
	if sum.Op == plan.Fix {
		out.after = whole
		return
	}
	w.need("is_partial")
	partial := slices.Concat(pseudoCall, []string{w.replacePseudo(place, "1", flags), ""})
	lines := conditional("is_partial(ctx, "+place+")", partial)
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" })
	lines[len(lines)-1] = "} else {"
	for _, l := range whole {
		lines = append(lines, "\t"+l)
	}
	out.after = append(append(lines, "}"), out.after...)
}

// recomputeAtTC sums up anew what a checksum covers, without pointers.
func (w *writer) recomputeAtTC(s plan.Sum, place, at, length string) []string {
	w.need("sum_bytes")
	w.need("checksum")
	w.need("store")
	w.use(frameOffset)
	sum := fmt.Sprintf("sum_bytes(ctx, %s, %s)", at, length)
	word, open, end := "fix", "checksum(", ")"
	if s.Check.Proto != field.IP {
		sum += " + pseudo_sum"
	}
	if s.Ones {
		w.need("nonzero")
		open, end = "nonzero("+open, ")"+end
	}
	if s.Op == plan.Bad {
		w.need("wrong")
		word, open, end = "bad", "wrong("+open, ")"+end
	}
	lines := []string{
		comment(s.Check.Name + " " + word),
		"store(ctx, " + place + ", 0);",
		"store(ctx, " + place + ", " + open + sum + end + ");",
	}
	if s.Check.Proto != field.IP {
		lines = append(lines, "bpf_csum_level(ctx, BPF_CSUM_LEVEL_RESET);")
	}
	return lines
}

// uncovered are the terms of what the stores change in the sum of all bytes
// behind the link's header where no checksum makes up for it: hardware may have
// summed up the bytes. The calls for layer-4 checksums see to those.
func (w *writer) uncovered(s plan.Step) []string {
	follows := map[field.Protocol]bool{}
	for _, sum := range s.Sums {
		follows[sum.Check.Proto] = sum.Op == plan.Adjust
	}
	var terms []string
	fields, values := w.valuesOf(s.Writes)
	kept := kept(s)
	for _, f := range fields {
		proto := f.Proto
		if proto == field.MSS {
			proto = field.TCP
		}
		if proto.Header().Layer < field.NetworkLayer || proto == field.ARP || follows[proto] || kept[f] || proto.IsQuoted() {
			continue
		}
		if address := w.addressOf(f); address != nil {
			if term := w.readdressed(address, false); !slices.Contains(terms, term) {
				terms = append(terms, term)
			}
			continue
		}
		weight := 1 << (15 - (f.Bit+f.Width-1)%16)
		terms = append(terms, w.difference(w.become(f, values[f], weight), w.counted(f, weight)))
	}
	return terms
}
