package reference

import (
	"encoding/binary"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// packet is a frame, where the headers that are there begin in it, and what
// the way to the transport header says about the checksums.
type packet struct {
	frame []byte // as long as on the wire; bytes that were not captured are 0
	at    map[field.Protocol]int
	cut   cut
	// stepped are the extension headers between an IPv6 header and what follows.
	stepped steps
	// end is that of the datagram which the transport header belongs to.
	end int
	// lastHop is the last address of a source route of IPv4 with hops left, or nil.
	lastHop []byte
	// other is the checksum of a protocol without fields, if the packet has one.
	other otherCheck
	// draw gives the random numbers of this packet.
	draw Draws
	// flows are those that are tracked; restored is what the packet becomes that answers one.
	flows    *Flows
	restored conversation
	quotes   bool // the rule is for ICMP errors
}

// parse finds out which headers are there (semantics.md 3.6).
func parse(link field.Link, frame []byte) packet { return parseCut(link, frame, len(frame)) }

// parseCut is parse for a frame of which so many bytes were captured.
func parseCut(link field.Link, frame []byte, captured int) packet {
	p := packet{frame: frame, at: map[field.Protocol]int{}, cut: cut{captured: captured, unsureFrom: nowhere}}
	if link == field.RawIP {
		p.parseRaw()
	} else {
		p.parseEthernet()
	}
	if l3, ok := p.at[field.IP]; ok {
		p.end = p.parseIPv4(l3)
	} else if l3, ok := p.at[field.IP6]; ok {
		p.end = p.parseIPv6(l3)
	}
	if l4, ok := p.at[field.TCP]; ok && p.seesOptions(l4, p.end) {
		if at, ok := findMSS(frame[l4:p.end]); ok {
			p.at[field.MSS] = l4 + at
		}
	}
	if p.sees(p.end, field.QuotedNetworkLayer) {
		p.parseQuote()
	}
	return p
}

const (
	ethernetLen = 14     // IEEE 802.3: destination, source, type
	tagLen      = 4      // IEEE 802.1Q: tag control information, type
	typeIPv4    = 0x0800 // EtherTypes, IEEE 802 Numbers
	typeARP     = 0x0806
	typeIPv6    = 0x86dd
	typeCTag    = 0x8100
	typeSTag    = 0x88a8
	arpLen      = 28 // RFC 826, Ethernet and IPv4 addresses
	arpKinds    = 6  // of which so many say what addresses these are
	ipFixed     = 20 // RFC 791 without options
	ip6Fixed    = 40 // RFC 8200
)

// parseEthernet finds the Ethernet header, at most two VLAN tags, and what the
// type behind them says, if all of it is there.
func (p *packet) parseEthernet() {
	if !p.reaches(ethernetLen) {
		return
	}
	p.at[field.Eth] = 0
	if !p.sees(ethernetLen, field.TagLayer) {
		return
	}
	next, t := ethernetLen, p.etherType(ethernetLen)
	for _, tag := range []field.Protocol{field.VLAN, field.CVLAN} {
		if t != typeCTag && t != typeSTag || !p.reaches(next+tagLen) {
			break
		}
		p.at[tag] = next
		next += tagLen
		if !p.sees(next, field.InnerTagLayer) {
			return
		}
		t = p.etherType(next)
	}
	switch {
	case t == typeARP && p.reaches(next+arpLen):
		if p.sees(next+arpKinds, field.NetworkLayer) && isIPv4OverEthernet(p.frame[next:]) {
			p.at[field.ARP] = next
		}
	case t == typeIPv4 && p.reaches(next+ipFixed):
		p.at[field.IP] = next
	case t == typeIPv6 && p.reaches(next+ip6Fixed):
		p.at[field.IP6] = next
	}
}

// parseRaw finds the IP header of a packet that begins with it.
func (p *packet) parseRaw() {
	if !p.reaches(ipFixed) || !p.sees(1, field.NetworkLayer) {
		return
	}
	switch {
	case p.frame[0]>>4 == 4:
		p.at[field.IP] = 0
	case p.reaches(ip6Fixed) && p.frame[0]>>4 == 6:
		p.at[field.IP6] = 0
	}
}

// reaches reports whether the frame reaches to end.
func (p *packet) reaches(end int) bool { return len(p.frame) >= end }

// etherType is the two bytes before offset next.
func (p *packet) etherType(next int) int {
	return int(binary.BigEndian.Uint16(p.frame[next-2:]))
}

// isIPv4OverEthernet reports whether an ARP packet speaks of Ethernet and IPv4
// addresses, six and four bytes long: only then are they where the fields are.
func isIPv4OverEthernet(arp []byte) bool {
	return [6]byte(arp) == [6]byte{0x00, 0x01, 0x08, 0x00, 6, 4}
}

// parseIPv4 finds the header that follows the IPv4 header at l3, and gives the
// end of the datagram: only if the version is 4, the header has a possible
// length, the fragment is the first, and the fixed part of the header that
// follows lies inside both the frame and ip_tot_len. A total length of 0 is
// what segmentation offload sends: then the frame alone counts.
func (p *packet) parseIPv4(l3 int) (end int) {
	if !p.sees(l3+ipFixed, field.TransportLayer) {
		return 0
	}
	ip := readIP(p.frame[l3:])
	if ip.version != 4 || ip.headerLen < ipFixed || ip.fragOffset != 0 {
		return 0
	}
	end = len(p.frame)
	if l3+ip.headerLen <= end {
		p.lastHop = lastHop(p.frame[l3+ipFixed : l3+ip.headerLen])
	}
	if ip.totalLen != 0 {
		end = min(end, l3+ip.totalLen)
	}
	p.parseTransport([]field.Protocol{field.TCP, field.UDP, field.ICMP}, ip.protocol, l3+ip.headerLen, end)
	p.parseOther(others4, ip.protocol, l3+ip.headerLen, end)
	return end
}

// parseTransport finds which of the protocols has the number, if the fixed
// part of its header, from at, lies before end.
func (p *packet) parseTransport(protocols []field.Protocol, number, at, end int) {
	for _, proto := range protocols {
		if h := proto.Header(); int(h.Number) == number && at+h.Fixed <= end {
			p.at[proto] = at
		}
	}
}

// ipHeader is what an IPv4 header says about the length and fragmentation of its packet (RFC 791).
type ipHeader struct {
	version    int
	headerLen  int // in bytes
	totalLen   int // in bytes
	more       bool
	fragOffset int // in 8-byte units
	protocol   int
}

func readIP(b []byte) ipHeader {
	frag := int(binary.BigEndian.Uint16(b[6:]))
	return ipHeader{
		version:    int(b[0] >> 4),
		headerLen:  4 * int(b[0]&0x0f),
		totalLen:   int(binary.BigEndian.Uint16(b[2:])),
		more:       frag&0x2000 != 0,
		fragOffset: frag & 0x1fff,
		protocol:   int(b[9]),
	}
}

// has reports whether the header is there.
func (p packet) has(proto field.Protocol) bool {
	_, ok := p.at[proto]
	return ok
}

// whole reports whether the sum of proto's checksum can be known: what fix and
// bad ask for, apart from the header (semantics.md 4.4).
func (p packet) whole(proto field.Protocol, actions []rule.Action) bool {
	if p.has(field.IP6) {
		return p.whole6(proto)
	}
	l3 := p.at[field.IP]
	ip := readIP(p.frame[l3:])
	if proto == field.IP { // each fragment has a whole header
		n := p.headerLenAfter(ip, actions)
		return n >= ipFixed && l3+n <= len(p.frame)
	}
	if ip.more || ip.fragOffset != 0 || ip.totalLen == 0 || l3+ip.totalLen > len(p.frame) {
		return false
	}
	// The header is there, so ip_tot_len reaches at least over its fixed part.
	return proto != field.UDP || udpLen(p.frame[p.at[field.UDP]:]) == ip.totalLen-ip.headerLen
}

// headerLenAfter is the length in bytes of the IP header as it leaves.
func (p packet) headerLenAfter(ip ipHeader, actions []rule.Action) int {
	for _, a := range actions {
		if a.Field.Name == "ip_hl" {
			return 4 * int(p.result(a).Lo)
		}
	}
	return ip.headerLen
}

// udpLen is the length that the UDP header at b claims (RFC 768).
func udpLen(b []byte) int { return int(binary.BigEndian.Uint16(b[4:])) }

// findMSS gives the place of the option MSS in a TCP segment (RFC 9293 section
// 3.1): the whole header must be there, and the options before it have
// lengths that one can step over. One that does not have the length 4 is
// another option to be stepped over.
func findMSS(segment []byte) (at int, ok bool) {
	headerLen := 4 * int(segment[12]>>4)
	if headerLen > len(segment) {
		return 0, false
	}
	const end, noOperation, mss = 0, 1, 2
	for at = tcpFixed; at < headerLen; {
		kind := segment[at]
		switch {
		case kind == end:
			return 0, false
		case kind == noOperation:
			at++
			continue
		case at+1 == headerLen:
			return 0, false // cut off before its length
		}
		length := int(segment[at+1])
		if length < 2 || at+length > headerLen {
			return 0, false
		}
		if kind == mss && length == 4 {
			return at, true
		}
		at += length
	}
	return 0, false
}

const tcpFixed = 20 // RFC 9293 without options

// get reads a field of a header that is there, most significant bit first.
func (p packet) get(f *field.Field) field.Value {
	var v field.Value
	first := 8*p.at[f.Proto] + f.Bit
	for i := first; i < first+f.Width; i++ {
		bit := p.frame[i/8] >> (7 - i%8) & 1
		v = field.Value{Hi: v.Hi<<1 | v.Lo>>63, Lo: v.Lo<<1 | uint64(bit)}
	}
	return v
}

// put writes a field of a header that is there and no other bit.
func (p packet) put(f *field.Field, v field.Value) {
	first := 8*p.at[f.Proto] + f.Bit
	for i := first + f.Width - 1; i >= first; i-- {
		mask := byte(1) << (7 - i%8)
		p.frame[i/8] &^= mask
		if v.Lo&1 != 0 {
			p.frame[i/8] |= mask
		}
		v = field.Value{Hi: v.Hi >> 1, Lo: v.Lo>>1 | v.Hi<<63}
	}
}
