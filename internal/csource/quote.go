package csource

import (
	"fmt"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// quoteChains writes the chains of what ICMP errors quote.
func (w *writer) quoteChains(q *plan.Quote, c plan.Class) {
	if q == nil {
		return
	}
	c.Quoted3 = q.L3
	w.chain(q.Bare, c)
	for _, t := range q.L4 {
		c.Quoted4, c.QuotedSum = t.Proto, false
		w.chain(t.Plain, c)
		c.QuotedSum = true
		w.chain(t.Summed, c)
	}
}

// quote are the lines that go to the chains of what an ICMP error quotes.
func (w *writer) quote(q *plan.Quote, g given) []string {
	quotes, header, length, room := "quotes", "quotes_header", "header_length(quoted)", "extent(ip) - header_length(ip)"
	if q.L3 == field.QuotedIP6 {
		quotes, header, length, room = "quotes6", "quotes_header6", "sizeof(*quoted)", "extent6(ip6) - way_offset(way)"
	}
	w.need(quotes)
	inner := []string{fmt.Sprintf("struct %s *quoted = l4 + 8;", w.structure(q.L3))}
	if len(q.L4) > 0 {
		w.need(header)
		inner = append(inner, fmt.Sprintf("void *quoted_l4 = (void *)quoted + %s;", length), "")
	}
	for _, t := range q.L4 {
		own := field.Unquoted(t.Proto)
		cond := fmt.Sprintf("%s(quoted, quoted_l4, room, end, %s, %d)", header, w.protocol(own), own.Header().Fixed)
		inner = append(inner, conditional(cond, w.quotedTransport(t, length, g))...)
	}
	inner = append(inner, "return "+w.callOf(w.chains[q.Bare], g)+";")
	lines := []string{"__u32 room = " + room + ";", ""}
	return append(lines, conditional(quotes+"(l4, room, end)", inner)...)
}

// quotedTransport are the lines that go to the chain of a quoted layer-4 header, by
// whether its checksum is there.
func (w *writer) quotedTransport(t plan.QuotedTransport, length string, g given) []string {
	summed := "return " + w.callOf(w.chains[t.Summed], g) + ";"
	if t.Plain == nil || t.Plain == t.Summed {
		return []string{summed}
	}
	plain := "return " + w.callOf(w.chains[t.Plain], g) + ";"
	there := fmt.Sprintf("8 + %s + 18 <= room && quoted_l4 + 18 <= end", length)
	if t.Proto == field.QuotedUDP {
		there = fmt.Sprintf("((struct %s *)quoted_l4)->check", w.structure(t.Proto))
	}
	return append(conditional(there, []string{summed}), plain)
}

// byQuote names packets by what they quote.
func byQuote(uses []plan.Class) label {
	if l3, ok := only(uses, func(c plan.Class) field.Protocol { return c.Quoted3 }); !ok || l3 == field.None {
		return label{}
	}
	p, _ := only(uses, func(c plan.Class) field.Protocol { return c.Quoted4 })
	if p == field.None {
		return label{"_quoting", " that quote another packet"}
	}
	p = field.Unquoted(p)
	return label{"_quoting_" + p.String(), " that quote " + p.Header().Title}
}

// byQuotedSum names them by whether the checksum in the quote is there.
func byQuotedSum(uses []plan.Class) label {
	if sum, ok := only(uses, func(c plan.Class) bool { return c.QuotedSum }); ok && sum {
		return label{"_with_sum", " with its checksum"}
	}
	return label{}
}
