package plan

import (
	"slices"

	"repacket/internal/field"
)

// quotesOf are the headers that messages of an ICMP header quote.
var quotesOf = map[field.Protocol]field.Protocol{field.ICMP: field.QuotedIP, field.ICMP6: field.QuotedIP6}

// quote makes what is done with the messages of a class that quote a packet; it is nil
// if that is what is done with the others.
func (b *builder) quote(c Class, plain *Chain) *Quote {
	l3, ok := quotesOf[c.L4]
	if !ok || !b.asked.headers[l3] {
		return nil
	}
	c.Quoted3 = l3
	q := &Quote{L3: l3, Bare: b.chain(c)}
	for _, p := range field.AllProtocols() {
		h := p.Header()
		if h.Layer != field.QuotedTransportLayer || !b.asked.headers[p] || !slices.Contains(h.Over, l3) {
			continue
		}
		if t := b.quotedTransport(c, p); t.Plain != q.Bare && t.Plain != nil || t.Summed != q.Bare {
			q.L4 = append(q.L4, t)
		}
	}
	if len(q.L4) == 0 && q.Bare == plain {
		return nil
	}
	for _, old := range b.quotes { // so that those that are alike are one
		if old.L3 == q.L3 && old.Bare == q.Bare && slices.Equal(old.L4, q.L4) {
			return old
		}
	}
	b.quotes = append(b.quotes, q)
	return q
}

func (b *builder) quotedTransport(c Class, p field.Protocol) QuotedTransport {
	t := QuotedTransport{Proto: p}
	c.Quoted4 = p
	if p == field.QuotedTCP || p == field.QuotedUDP {
		t.Plain = b.chain(c)
	}
	c.QuotedSum = true
	t.Summed = b.chain(c)
	return t
}

// summed reports whether a checksum of the class is there to follow what changes.
func (c Class) summed(check *field.Field) bool {
	return c.has(check.Proto) && (check.Proto != c.Quoted4 || c.QuotedSum)
}

// overQuote reports whether a checksum is that of a message over what it quotes.
func (c Class) overQuote(check, f *field.Field) bool {
	return check.Proto == c.L4 && f.Proto.IsQuoted()
}

// messageWeight is what one unit of a quoted field adds to the sum of the message, by
// itself and by the checksums in the quote that follow it: they lose what it adds to
// them. So most of it comes to nothing.
func (c Class) messageWeight(f *field.Field, cover field.Cover) int {
	weight := cover.Weight
	for _, inner := range f.Covers {
		if check := field.MustByName(inner.Check); check.Proto.IsQuoted() && c.summed(check) {
			weight -= inner.Weight
		}
	}
	return weight
}
