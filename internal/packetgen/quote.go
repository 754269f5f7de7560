package packetgen

import (
	"math/rand/v2"
	"slices"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// quoters are the headers of messages that quote packets, and typeOfQuoter says by
// which type they do.
var (
	quoters      = []field.Protocol{field.ICMP, field.ICMP6}
	typeOfQuoter = map[field.Protocol]want{
		field.ICMP:  {field.MustByName("icmp_type"), field.ICMPErrors},
		field.ICMP6: {field.MustByName("icmp6_type"), field.ICMP6Errors},
	}
	quotedBy = map[field.Protocol]field.Protocol{field.ICMP: field.QuotedIP, field.ICMP6: field.QuotedIP6}
)

// looksIntoQuotes reports whether one of the rules, drawn by lot, does.
func (m maker) looksIntoQuotes() bool {
	if len(m.p.Rules) == 0 {
		return false
	}
	return slices.ContainsFunc(rule.Leaves(m.p.Rules[m.r.IntN(len(m.p.Rules))].Cond), func(e rule.Expr) bool {
		switch e := e.(type) {
		case rule.Has:
			return e.Proto.IsQuoted()
		case rule.Test:
			return e.Field.Proto.IsQuoted()
		}
		return false
	})
}

// impliedByQuote adds what quoted headers that must be there say about the message.
func (w *wish) impliedByQuote(r *rand.Rand) bool {
	for _, p := range []field.Protocol{field.QuotedTCP, field.QuotedUDP, field.QuotedICMP, field.QuotedICMP6} {
		if over := p.Header().Over; w.has[p] && !slices.ContainsFunc(over, func(on field.Protocol) bool { return w.has[on] }) {
			if !w.present(over[r.IntN(len(over))]) {
				return false
			}
		}
	}
	for quoter, l3 := range quotedBy {
		if t := typeOfQuoter[quoter]; w.has[l3] && !w.limit(t.field, t.in) {
			return false
		}
	}
	return true
}

// makeQuote makes the packet that the draft quotes, if it is to quote one: a draft of
// its own, of which some bytes behind the IP header are there.
func (d *draft) makeQuote() {
	l3, ok := quotedBy[d.proto]
	if !ok || !d.w.has[l3] && !d.w.quotes {
		return
	}
	w := newWish(field.RawIP)
	w.has[field.Unquoted(l3)] = true
	for p, there := range d.w.has {
		if p.IsQuoted() {
			w.has[field.Unquoted(p)] = there
		}
	}
	for _, s := range d.w.sets {
		if own := field.Unquote(s.field); own != nil {
			w.limit(own, s.in)
		}
	}
	if !w.implied(d.r) {
		return
	}
	if p := w.l4(); p != field.None && w.has[field.IP6] && d.r.IntN(8) > 0 { // mostly no extension headers
		number := field.One(field.V(uint64(p.Header().Number)))
		if in, asked := w.wanted(ip6Next); !asked || in.Meets(number) {
			w.limit(ip6Next, number)
		}
	}
	d.quote = newDraft(d.r, w)
	if d.w.spoil && d.r.IntN(2) == 0 {
		known := d.quote.lies()
		known[d.r.IntN(len(known))]()
	}
	d.quote.finish()
	behind := int(d.oneOf(8, 8, 8, 17, 18, 19, 20, 28, 548, d.r.Uint64N(64)))
	if d.w.spoil {
		behind = int(d.oneOf(7, 8, d.r.Uint64N(8), uint64(behind)))
	}
	d.quoted = d.quote.frame[:min(len(d.quote.frame), d.quote.l4+behind)]
}

// quotedPayload is how many bytes follow the fixed part of the message.
func (d *draft) quotedPayload() int {
	n := field.QuoteAt - d.proto.Header().Fixed + len(d.quoted)
	if d.r.IntN(6) == 0 { // an extension (RFC 4884), or anything
		n += d.r.IntN(20)
	}
	return n
}

// writeQuote writes the quote, and notes where its headers begin that are there.
func (d *draft) writeQuote() {
	if d.quote == nil {
		return
	}
	if t := typeOfQuoter[d.proto]; !t.in.Contains(d.get(t.field)) {
		d.set(t.field, pick(d.r, t.in))
	}
	start := d.l4 + field.QuoteAt
	if start > len(d.frame) {
		return
	}
	copy(d.frame[start:], d.quoted)
	note := func(p field.Protocol, at int) {
		if q := field.QuotedHeader(p); q != field.None && at+q.Header().Fixed <= len(d.frame) {
			d.at[q] = at
		}
	}
	note(d.quote.net, start)
	note(d.quote.proto, start+d.quote.l4)
}

// quotedSums are the quoted headers whose checksums are in the frame.
func (d *draft) quotedSums() []field.Protocol {
	var out []field.Protocol
	for own, f := range checkOf {
		q := field.QuotedHeader(own)
		if at := d.at[q]; at > 0 && at+f.Byte()+f.Size() <= len(d.frame) {
			out = append(out, q)
		}
	}
	slices.Sort(out)
	return out
}

// quoteEdges are where a quote may be cut off.
func (d *draft) quoteEdges() []int {
	var out []int
	for p := field.QuotedIP; p <= field.QuotedICMP6; p++ {
		if at := d.at[p]; at > 0 {
			out = append(out, at, at+p.Header().Fixed, at+18)
		}
	}
	return out
}
