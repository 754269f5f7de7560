package reference

import (
	"encoding/binary"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// packet is a frame and where the headers that are there begin in it.
type packet struct {
	frame []byte
	at    map[field.Protocol]int
}

// parse finds out which headers are there (part 3.6).
func parse(frame []byte) packet {
	p := packet{frame: frame, at: map[field.Protocol]int{}}
	if len(frame) < ethernetLen {
		return p
	}
	p.at[field.Eth] = 0
	l3, ok := findIP(frame)
	if !ok {
		return p
	}
	p.at[field.IP] = l3
	if proto, l4, ok := findL4(frame, l3); ok {
		p.at[proto] = l4
	}
	return p
}

const (
	ethernetLen = 14     // IEEE 802.3: destination, source, type
	tagLen      = 4      // IEEE 802.1Q: tag control information, type
	typeIPv4    = 0x0800 // EtherTypes, IEEE 802 Numbers
	typeCTag    = 0x8100
	typeSTag    = 0x88a8
	maxTags     = 2
	ipFixed     = 20 // RFC 791 without options
)

// findIP gives the offset of the IPv4 header: the type behind at most two
// VLAN tags says that it is one, and 20 bytes are there, whatever they hold.
func findIP(frame []byte) (l3 int, ok bool) {
	l3 = ethernetLen
	for range maxTags {
		if t := etherType(frame, l3); t != typeCTag && t != typeSTag {
			break
		}
		l3 += tagLen
		if len(frame) < l3 {
			return 0, false
		}
	}
	return l3, etherType(frame, l3) == typeIPv4 && len(frame) >= l3+ipFixed
}

// etherType is the two bytes before offset next.
func etherType(frame []byte, next int) int {
	return int(binary.BigEndian.Uint16(frame[next-2:]))
}

// findL4 gives the header that follows the IPv4 header at l3: only if the
// version is 4, the header has a possible length, the fragment is the first,
// and the fixed part of the header that follows lies inside both the frame
// and ip_tot_len. A total length of 0 is what segmentation offload sends:
// then the frame alone counts.
func findL4(frame []byte, l3 int) (proto field.Protocol, l4 int, ok bool) {
	ip := readIP(frame[l3:])
	if ip.version != 4 || ip.headerLen < ipFixed || ip.fragOffset != 0 {
		return field.None, 0, false
	}
	end := len(frame)
	if ip.totalLen != 0 {
		end = min(end, l3+ip.totalLen)
	}
	l4 = l3 + ip.headerLen
	for _, proto := range []field.Protocol{field.TCP, field.UDP, field.ICMP} {
		if h := proto.Header(); int(h.Number) == ip.protocol && l4+h.Fixed <= end {
			return proto, l4, true
		}
	}
	return field.None, 0, false
}

// ipHeader is what an IPv4 header says about the cut of its packet (RFC 791).
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

// has tells whether the header is there.
func (p packet) has(proto field.Protocol) bool {
	_, ok := p.at[proto]
	return ok
}

// whole tells whether the sum of proto's checksum can be known: what fix and
// bad ask for besides the header (part 4).
func (p packet) whole(proto field.Protocol, actions []rule.Action) bool {
	l3 := p.at[field.IP]
	ip := readIP(p.frame[l3:])
	if proto == field.IP { // each fragment has a whole header
		n := headerLenAfter(ip, actions)
		return n >= ipFixed && l3+n <= len(p.frame)
	}
	if ip.more || ip.fragOffset != 0 || ip.totalLen == 0 || l3+ip.totalLen > len(p.frame) {
		return false
	}
	// The header is there, so ip_tot_len reaches at least over its fixed part.
	return proto != field.UDP || udpLen(p.frame[p.at[field.UDP]:]) == ip.totalLen-ip.headerLen
}

// headerLenAfter is the length in bytes of the IP header as it leaves.
func headerLenAfter(ip ipHeader, actions []rule.Action) int {
	for _, a := range actions {
		if a.Field.Name == "ip_hl" {
			return 4 * int(a.Value.Lo)
		}
	}
	return ip.headerLen
}

// udpLen is the length that the UDP header at b claims (RFC 768).
func udpLen(b []byte) int { return int(binary.BigEndian.Uint16(b[4:])) }

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

// put writes a field of a header that is there and no bit beside it.
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
