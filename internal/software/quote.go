package software

import (
	"encoding/binary"

	"repacket/internal/field"
)

// quote finds the packet that an ICMP error quotes (semantics.md 5.4).
func (r *Runner) quote(l *leaf, d datagram) (one *chain, several []*chain) {
	q := l.quote
	if len(r.data) < d.end {
		return nil, l.all
	}
	own, errors, version, fixed := field.ICMP, field.ICMPErrors, byte(4), ipLen
	if q.l3 == field.QuotedIP6 {
		own, errors, version, fixed = field.ICMP6, field.ICMP6Errors, 6, ip6Len
	}
	message := r.data[r.at[own]:d.end]
	if !errors.Contains(field.V(uint64(message[0]))) || len(message) < field.QuoteAt+fixed {
		return l.plain, nil
	}
	header := message[field.QuoteAt:]
	if header[0]>>4 != version {
		return l.plain, nil
	}
	at := r.at[own] + field.QuoteAt
	r.at[q.l3] = at
	behind := datagram{number: int(header[6]), at: at + ip6Len, end: int(binary.BigEndian.Uint16(header[4:]))}
	if q.l3 == field.QuotedIP {
		words := int(header[0] & 0xf)
		if words < 5 || binary.BigEndian.Uint16(header[6:])&0x1fff != 0 {
			return q.bare, nil
		}
		behind = datagram{int(header[9]), at + 4*words, int(binary.BigEndian.Uint16(header[2:]))}
		if behind.end != 0 {
			behind.end = max(behind.end-4*words, 1)
		}
	}
	return r.quoted(q, behind, d.end), nil
}

// quoted finds the header of layer 4 in a quote that reaches to end. Of the packet that was
// answered, behind.end bytes followed its IP header, or any number if that is 0.
func (r *Runner) quoted(q *quote, behind datagram, end int) *chain {
	for i := range q.l4 {
		t := &q.l4[i]
		whole := field.Unquoted(t.proto).Header().Fixed
		if t.number != behind.number {
			continue
		}
		if behind.end != 0 && behind.end < whole || behind.at+t.proto.Header().Fixed > end {
			return q.bare
		}
		r.at[t.proto] = behind.at
		check := field.MustByName(checkOf[t.proto]).Byte()
		switch {
		case t.plain == nil:
			return t.summed
		case behind.at+check+2 > end:
			return t.plain
		case t.proto == field.QuotedUDP && binary.BigEndian.Uint16(r.data[behind.at+check:]) == 0:
			return t.plain
		}
		return t.summed
	}
	return q.bare
}

// checkOf are the checksums of quoted headers.
var checkOf = map[field.Protocol]string{
	field.QuotedTCP: "tcp_check", field.QuotedUDP: "udp_check", field.QuotedICMP: "icmp_check", field.QuotedICMP6: "icmp6_check",
}
