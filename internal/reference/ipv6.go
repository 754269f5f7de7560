package reference

import (
	"encoding/binary"

	"repacket/internal/field"
)

// Extension headers, by what the header before them calls them (RFC 8200
// section 4).
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60

	extensionUnit = 8 // lengths are multiples of it, and none is shorter
	maxExtensions = 8 // so many are stepped over
)

// steps is what the extension headers that were stepped over say.
type steps struct {
	count int
	bytes int  // of all of them together
	more  bool // a fragment header says that more fragments follow
	// routed: a routing header has segments left, so ip6_dest is not the last
	// destination.
	routed bool
	// home is the address of the Home Address option, or nil; searched is among how
	// many headers and options it has been looked for.
	home     []byte
	searched int
}

// parseIPv6 finds the header that follows the IPv6 header at l3 and its
// extension headers, and gives the end of the datagram: only if the version is
// 6, every extension header is one that RFC 8200 lets one step over, the
// fragment is the first, and the fixed part of the header that follows lies
// inside both the frame and ip6_len. A payload length of 0 is what segmentation
// offload sends, with the option for jumbograms or without: then the frame alone
// counts.
func (p *packet) parseIPv6(l3 int) (end int) {
	if !p.sees(l3+ip6Fixed, field.TransportLayer) {
		return 0
	}
	ip := readIP6(p.frame[l3:])
	if ip.version != 6 {
		return 0
	}
	end = len(p.frame)
	if ip.payloadLen != 0 {
		end = min(end, l3+ip6Fixed+ip.payloadLen)
	}
	next, at := ip.next, l3+ip6Fixed
	for isExtension(next, p.stepped.count) {
		if at+extensionUnit > end || p.stepped.count == maxExtensions {
			return end
		}
		if !p.sees(at+extensionUnit, field.TransportLayer) {
			return end
		}
		header := p.frame[at:]
		if next == fragment && fragmentOffset(header) != 0 {
			return end
		}
		p.stepped.over(next, header)
		next, at = int(header[0]), l3+ip6Fixed+p.stepped.bytes
	}
	p.parseTransport([]field.Protocol{field.TCP, field.UDP, field.ICMP6}, next, at, end)
	p.parseOther(others6, next, at, end)
	return end
}

// isExtension reports whether a header of this number, behind so many others,
// can be stepped over. Hop-by-hop options stand in front or nowhere.
func isExtension(number, behind int) bool {
	switch number {
	case hopByHop:
		return behind == 0
	case routing, fragment, destination:
		return true
	}
	return false
}

// over steps over an extension header.
func (s *steps) over(number int, header []byte) {
	length := (int(header[1]) + 1) * extensionUnit
	switch number {
	case fragment: // its second byte is reserved
		length = extensionUnit
		s.more = s.more || header[3]&1 != 0
	case routing:
		segmentsLeft := header[3]
		s.routed = s.routed || segmentsLeft != 0
	}
	if s.searched < maxSearched && s.home == nil {
		s.searched++
		if number == destination && length <= len(header) {
			s.findHome(header[:length])
		}
	}
	s.count++
	s.bytes += length
}

// fragmentOffset is the offset, in 8-byte units, that a fragment header says.
func fragmentOffset(header []byte) int {
	return int(binary.BigEndian.Uint16(header[2:]) >> 3)
}

// ip6Header is what an IPv6 header says about the length and fragmentation of its packet (RFC 8200
// section 3).
type ip6Header struct {
	version    int
	payloadLen int // in bytes, extension headers included
	next       int
}

func readIP6(b []byte) ip6Header {
	return ip6Header{
		version:    int(b[0] >> 4),
		payloadLen: int(binary.BigEndian.Uint16(b[4:])),
		next:       int(b[6]),
	}
}

// whole6 is whole over IPv6: all of the datagram is there, UDP's length agrees,
// and the last destination is known.
func (p packet) whole6(proto field.Protocol) bool {
	l3 := p.at[field.IP6]
	ip := readIP6(p.frame[l3:])
	if p.stepped.more || p.stepped.routed || ip.payloadLen == 0 || l3+ip6Fixed+ip.payloadLen > len(p.frame) {
		return false
	}
	return proto != field.UDP || udpLen(p.frame[p.at[field.UDP]:]) == ip.payloadLen-p.stepped.bytes
}
