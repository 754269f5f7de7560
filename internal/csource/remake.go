package csource

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// remade is the checksum of a layer-4 header that a step makes anew, if there
// is one.
func remade(s plan.Step) (plan.Sum, bool) {
	i := slices.IndexFunc(s.Sums, func(s plan.Sum) bool { return s.Op != plan.Adjust && s.Check.Proto != field.IP })
	if i < 0 {
		return plan.Sum{}, false
	}
	return s.Sums[i], true
}

// extent writes down where a datagram lies whose checksum is made anew: it is
// that of the packet as it arrived.
func (w *writer) extent(s plan.Step) []string {
	sum, ok := remade(s)
	if !ok {
		return nil
	}
	w.use(frameOffset)
	if sum.L3 == field.IP6 {
		w.use(wayParam)
		return []string{"__u32 at = l3 + way_offset(way);", "__u32 length = " + w.call(datagramLength6) + ";", ""}
	}
	return []string{"__u32 at = l3 + " + w.call(headerLength) + ";", "__u32 length = " + w.call(datagramLength) + ";", ""}
}

// remake sums up anew what a checksum covers, to fix or to break it.
func (w *writer) remake(s plan.Sum) []string {
	w.need(sumBytes)
	w.need(checksum)
	check := w.place(memberOf(s.Check))
	var sum []string
	if s.Check.Proto == field.IP {
		w.use(frameOffset)
		sum = []string{"sum_bytes(ctx, l3, " + w.call(headerLength) + ")"}
	} else {
		sum = append([]string{"sum_bytes(ctx, at, length)"}, w.pseudoHeader(s)...)
	}
	word, open, end := "fix", "checksum(", ");"
	if s.ZeroIsNone {
		w.need(nonzero)
		open, end = "nonzero("+open, ")"+end
	}
	if s.Op == plan.Bad {
		w.need(wrong)
		word, open, end = "bad", "wrong("+open, ")"+end
	}
	return []string{
		comment(s.Check.Name + " " + word),
		check + " = 0;",
		flow(check+" = "+open, sum, " +") + end,
	}
}

// pseudoHeader writes what a checksum covers beside the header and what
// follows it: of the packet as it leaves, so it looks at fields that the rule
// sets.
func (w *writer) pseudoHeader(s plan.Sum) []string {
	sets := func(name string) bool {
		return slices.ContainsFunc(s.Changes, func(c plan.Change) bool { return c.Field.Name == name })
	}
	length := "bpf_htons(length)"
	switch {
	case s.Check.Proto == field.ICMP:
		return nil
	case s.Check.Proto == field.UDP:
		length = w.place(memberOf(field.MustByName("udp_len")))
	case s.L3 == field.IP && (sets("ip_tot_len") || sets("ip_hl")):
		w.need(minus)
		length = w.place(memberOf(field.MustByName("ip_tot_len"))) + " + minus(bpf_htons(" + w.call(headerLength) + "))"
	case s.L3 == field.IP6 && sets("ip6_len"):
		w.need(minus)
		length = w.place(memberOf(field.MustByName("ip6_len"))) + " + minus(bpf_htons(at - l3 - sizeof(*ip6)))"
	}
	if s.L3 == field.IP {
		return []string{w.call(pseudoHeader), length}
	}
	number := "bpf_htons(" + w.protocol(s.Check.Proto) + ")"
	if sets("ip6_next") {
		number = "bpf_htons(" + w.place(memberOf(field.MustByName("ip6_next"))) + ")"
	}
	return []string{w.call(pseudoHeader6), number, length}
}
