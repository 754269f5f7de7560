package software

import (
	"encoding/binary"
	"slices"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// Lengths and places in bytes, and numbers (IEEE 802.3, 802.1Q, RFC 791, 826, 8200, 9293).
const (
	ethernetLen   = 14
	tagLen        = 4
	maxTags       = 2
	typeIP        = 0x0800
	typeARP       = 0x0806
	typeIP6       = 0x86dd
	typeTag       = 0x8100
	typeService   = 0x88a8
	arpLen        = 28
	ipLen         = 20
	ip6Len        = 40
	ipDecides     = 10   // bytes of an IPv4 header, up to the protocol
	ip6Decides    = 7    // bytes of an IPv6 header, up to the next header
	moreFragments = 0x20 // of the first byte of flags and offset
	tcpLen        = 20
	mssLen        = 4
	lengthDecides = 13 // bytes of a TCP header, up to its length
)

// classify finds the headers and with them the chain of the packet's class, or where missing
// bytes decide the chains of all that it may be. Both are nil if no rule can act.
func (r *Runner) classify() (one *chain, several []*chain) {
	if r.link == field.RawIP {
		return r.rawIP(&r.levels[0])
	}
	switch {
	case r.length < ethernetLen:
		return nil, nil
	case r.blind:
		r.at[field.Eth] = 0
		return r.levels[0].other, nil
	}
	r.at[field.Eth] = 0
	if len(r.data) < ethernetLen {
		return nil, r.all
	}
	l3, tags := ethernetLen, 0
	next := binary.BigEndian.Uint16(r.data[l3-2:])
	for ; (next == typeTag || next == typeService) && tags < maxTags && r.length >= l3+tagLen; tags++ {
		r.at[int(field.VLAN)+tags] = l3
		if len(r.data) < l3+tagLen {
			return nil, r.levels[min(tags+1, len(r.levels)-1)].inner
		}
		l3 += tagLen
		next = binary.BigEndian.Uint16(r.data[l3-2:])
	}
	l := &r.levels[min(tags, len(r.levels)-1)]
	switch next {
	case typeIP:
		if l.ip != nil && r.length >= l3+ipLen {
			return r.ip(l.ip, l3)
		}
	case typeIP6:
		if l.ip6 != nil && r.length >= l3+ip6Len {
			return r.ip6(l.ip6, l3)
		}
	case typeARP:
		if l.arp != nil && r.length >= l3+arpLen {
			return r.arp(l, l3)
		}
	}
	return l.other, nil
}

// rawIP classifies a packet that begins with its IP header.
func (r *Runner) rawIP(l *level) (one *chain, several []*chain) {
	if r.length < ipLen {
		return l.other, nil
	}
	if len(r.data) == 0 {
		return nil, r.all
	}
	switch version := r.data[0] >> 4; {
	case version == 4 && l.ip != nil:
		return r.ip(l.ip, 0)
	case version == 6 && l.ip6 != nil && r.length >= ip6Len:
		return r.ip6(l.ip6, 0)
	}
	return l.other, nil
}

// arp: the header is that of ARP for IPv4 over Ethernet (RFC 826).
func (r *Runner) arp(l *level, at int) (one *chain, several []*chain) {
	if len(r.data) < at+6 {
		return nil, []*chain{l.arp, l.other}
	}
	if [6]byte(r.data[at:]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return l.other, nil
	}
	r.at[field.ARP] = at
	return l.arp, nil
}

// ip finds the header that follows an IPv4 header (semantics.md 3.6).
func (r *Runner) ip(n *network, at int) (one *chain, several []*chain) {
	r.at[field.IP] = at
	if len(n.l4) == 0 && n.summed == nil {
		return n.bare, nil
	}
	if len(r.data) < at+ipDecides {
		return r.ipPart(n, at)
	}
	header := r.data[at : at+ipDecides]
	words := int(header[0] & 0xf)
	if header[0]>>4 != 4 || words < 5 || binary.BigEndian.Uint16(header[6:])&0x1fff != 0 {
		return n.bare, nil
	}
	end := r.length
	if total := int(binary.BigEndian.Uint16(header[2:])); total != 0 {
		end = min(end, at+total)
	}
	way := plan.Direct
	if r.lastHop = nil; words > 5 && at+4*words <= r.length {
		if r.lastHop = lastHop(r.data[min(at+ipLen, len(r.data)):min(at+4*words, len(r.data))]); r.lastHop != nil {
			way = plan.Routed
		}
	}
	return r.layer4(n, field.IP, datagram{int(header[9]), at + 4*words, end}, way)
}

// ipPart is ip where the header was cut off before all that decides.
func (r *Runner) ipPart(n *network, at int) (one *chain, several []*chain) {
	header := make([]byte, ipDecides) // what is missing contradicts nothing
	header[0] = 0x45
	copy(header, r.data[min(at, len(r.data)):])
	words := int(header[0] & 0xf)
	if header[0]>>4 != 4 || words < 5 || binary.BigEndian.Uint16(header[6:])&0x1fff != 0 {
		return n.bare, nil
	}
	end := r.length
	if total := int(binary.BigEndian.Uint16(header[2:])); total != 0 && len(r.data) >= at+4 {
		end = min(end, at+total)
	}
	return nil, n.fitting(end-at-4*words, plan.Direct)
}

// datagram is what an IP header says of what follows: the protocol's number, where it begins
// and where it ends.
type datagram struct{ number, at, end int }

// ip6 finds the header that follows an IPv6 header and its extension headers (semantics.md
// 3.6).
func (r *Runner) ip6(n *network, at int) (one *chain, several []*chain) {
	r.at[field.IP6], r.stepped, r.more = at, 0, false
	if len(n.l4) == 0 && n.summed == nil {
		return n.bare, nil
	}
	if len(r.data) < at+ip6Decides {
		return r.ip6Part(n, at)
	}
	header := r.data[at : at+ip6Decides]
	if header[0]>>4 != 6 {
		return n.bare, nil
	}
	d := datagram{int(header[6]), at + ip6Len, r.length}
	if payload := int(binary.BigEndian.Uint16(header[4:])); payload != 0 {
		d.end = min(d.end, at+ip6Len+payload)
	}
	way, search := plan.Direct, homeSearch{}
	for count := 0; isExtension(d.number, count); count++ {
		switch {
		case count == maxExtensions, d.at+extensionUnit > d.end:
			return n.bare, nil
		case len(r.data) < d.at+extensionUnit:
			return nil, n.fitting(d.end-d.at-extensionUnit, max(way, plan.Extended))
		}
		search.header(r.data[d.at:], d.number, r.length-d.at)
		later, routed := r.extension(&d)
		if later {
			return n.bare, nil
		}
		if way = max(way, plan.Extended); routed {
			way = plan.Routed
		}
	}
	if r.home = search.found; r.home != nil {
		way = map[plan.Way]plan.Way{plan.Extended: plan.Homed, plan.Routed: plan.HomedRouted}[way]
	}
	return r.layer4(n, field.IP6, d, way)
}

// ip6Part is ip6 where the header was cut off before all that decides.
func (r *Runner) ip6Part(n *network, at int) (one *chain, several []*chain) {
	if len(r.data) > at && r.data[at]>>4 != 6 {
		return n.bare, nil
	}
	end := r.length
	if len(r.data) >= at+6 {
		if payload := int(binary.BigEndian.Uint16(r.data[at+4:])); payload != 0 {
			end = min(end, at+ip6Len+payload)
		}
	}
	return nil, n.fitting(end-at-ip6Len, plan.Direct)
}

// fitting are the chains of packets that have at most so many bytes behind their IP header, on
// this way or on one with more headers.
func (n *network) fitting(room int, way plan.Way) []*chain {
	out := []*chain{n.bare}
	for ; way <= plan.HomedRouted; way++ {
		for _, t := range n.l4 {
			if t.fixed > room {
				continue
			}
			for _, c := range t.ways[way].all {
				if c != nil && !slices.Contains(out, c) {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// Extension headers (RFC 8200 section 4).
const (
	hopByHop      = 0
	routing       = 43
	fragment      = 44
	destination   = 60
	extensionUnit = 8
	maxExtensions = 8
)

// isExtension reports whether a header of this number, behind count others, is stepped over.
func isExtension(number, count int) bool {
	return number == routing || number == fragment || number == destination || number == hopByHop && count == 0
}

// extension steps over an extension header. It reports whether it is that of a later
// fragment, or a routing header that has segments left.
func (r *Runner) extension(d *datagram) (later, routed bool) {
	header := r.data[d.at : d.at+extensionUnit]
	length := (int(header[1]) + 1) * extensionUnit
	switch d.number {
	case fragment:
		length = extensionUnit
		later = binary.BigEndian.Uint16(header[2:])&^7 != 0
		r.more = r.more || header[3]&1 != 0
	case routing:
		routed = header[3] != 0
	}
	d.number = int(header[0])
	d.at += length
	r.stepped += length
	return later, routed
}

// layer4 finds the header of layer 4.
func (r *Runner) layer4(n *network, l3 field.Protocol, d datagram, way plan.Way) (one *chain, several []*chain) {
	for i := range n.l4 {
		t := &n.l4[i]
		if t.number != d.number {
			continue
		}
		if d.at+t.fixed > d.end {
			return n.bare, nil
		}
		r.at[t.proto] = d.at
		switch l := &t.ways[way]; {
		case l.even != nil:
			return r.option(l, d)
		case l.quote != nil:
			return r.quote(l, d)
		default:
			return l.plain, nil
		}
	}
	if n.summed != nil {
		for i := range n.others {
			if int(n.others[i].Number) == d.number {
				return r.other(n, &n.others[i], l3, d, way)
			}
		}
	}
	return n.bare, nil
}

// other classifies a packet of a protocol of field.Others. If its checksum was not captured
// there is nothing to change.
func (r *Runner) other(n *network, o *field.Other, l3 field.Protocol, d datagram, way plan.Way) (one *chain, several []*chain) {
	check := d.at + o.Check
	switch {
	case max(d.at+8, check+2) > d.end, check >= len(r.data):
		return n.bare, nil
	case o.First != 0 && l3 == field.IP && r.data[d.at]&o.FirstMask != o.First:
		return n.bare, nil
	case o.NeverZero && check+2 <= len(r.data) && binary.BigEndian.Uint16(r.data[check:]) == 0:
		return n.bare, nil
	}
	r.at[field.None], r.neverZero = check, o.NeverZero
	found := n.summed.ways[way].plain
	if o.Shown && l3 == field.IP {
		switch r.showsPseudoHeader(d) {
		case no:
			return n.bare, nil
		case unknown:
			return nil, []*chain{n.bare, found}
		}
	}
	return found, nil
}

// option looks for the option MSS in a TCP header (RFC 9293 section 3.1).
func (r *Runner) option(l *leaf, d datagram) (one *chain, several []*chain) {
	if len(r.data) < d.at+lengthDecides {
		return nil, l.all
	}
	end := d.at + 4*int(r.data[d.at+12]>>4)
	if end > d.end || end < d.at+tcpLen+mssLen {
		return l.plain, nil
	}
	at, found := findMSS(r.data, d.at+tcpLen, end)
	switch found {
	case unknown:
		return nil, l.all
	case no:
		return l.plain, nil
	}
	r.at[field.MSS] = at
	if (at-d.at)%2 != 0 {
		return l.odd, nil
	}
	return l.even, nil
}

// findMSS looks for the option among those from at to end.
func findMSS(data []byte, at, end int) (_ int, found truth) {
	const endOfList, noOperation, mss = 0, 1, 2
	for at < end {
		if at >= len(data) {
			return 0, unknown
		}
		kind := data[at]
		switch {
		case kind == endOfList:
			return 0, no
		case kind == noOperation:
			at++
			continue
		case at+1 == end:
			return 0, no
		case at+1 >= len(data):
			return 0, unknown
		}
		length := int(data[at+1])
		switch {
		case length < 2 || at+length > end:
			return 0, no
		case kind == mss && length == mssLen:
			return at, yes
		}
		at += length
	}
	return 0, no
}
