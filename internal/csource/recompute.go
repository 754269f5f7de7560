package csource

import (
	"fmt"
	"strings"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// recompute sums up anew what a checksum covers, to fix or to break it.
func (w *writer) recompute(s plan.Sum) []string {
	w.need("sum_bytes")
	w.need("checksum")
	check := w.place(memberOf(s.Check))
	sum := append([]string{"sum_bytes(ctx, " + strings.Join(w.covered(s), ", ") + ")"}, w.pseudoHeader(s)...)
	word, open, end := "fix", "checksum(", ");"
	if s.Ones {
		w.need("nonzero")
		open, end = "nonzero("+open, ")"+end
	}
	if s.Op == plan.Bad {
		w.need("wrong")
		word, open, end = "bad", "wrong("+open, ")"+end
	}
	return []string{
		comment(s.Check.Name + " " + word),
		check + " = 0;",
		flow(check+" = "+open, sum, " +") + end,
	}
}

// covered writes the offset and the length of what a checksum covers. No rule
// that makes one anew changes a field that says so, but for ip_hl and the
// header's own checksum.
func (w *writer) covered(s plan.Sum) []string {
	w.use(frameOffset)
	switch {
	case s.Check.Proto == field.IP:
		return []string{"l3", w.call("header_length")}
	case s.L3 == field.IP6:
		w.use(wayParam)
		return []string{"l3 + way_offset(way)", w.call("datagram_length6")}
	}
	return []string{"l3 + " + w.call("header_length"), w.call("datagram_length")}
}

// pseudoHeader writes what a checksum covers apart from the header and what
// follows it.
func (w *writer) pseudoHeader(s plan.Sum) []string {
	switch {
	case s.Check.Proto == field.IP, s.Check.Proto == field.ICMP:
		return nil
	case s.L3 == field.IP:
		return []string{w.call("pseudo_header"), w.call("stand_in")}
	}
	w.need("pseudo_header6")
	sum := fmt.Sprintf("pseudo_header6(ip6, %s, %s)", w.protocol(s.Check.Proto), w.call("datagram_length6"))
	return []string{sum, w.call("stand_in6")}
}
