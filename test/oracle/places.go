package oracle

import (
	"encoding/binary"

	"repacket/internal/field"
)

func get16(b []byte, off int) uint16 { return binary.BigEndian.Uint16(b[off:]) }

// places says where headers may begin in a frame. It asks for less than the
// contract does: it says where a header would be, not whether it is there.
func places(link field.Link, in []byte) map[field.Protocol]int {
	at := map[field.Protocol]int{}
	l3 := 0
	t := uint16(0x0800)
	if link == field.Ethernet {
		at[field.Eth] = 0
		l3 = 14
		for t = get16(in, 12); (t == 0x8100 || t == 0x88a8) && l3+4 <= len(in) && l3 < 22; t = get16(in, l3-2) {
			at[field.VLAN+field.Protocol(l3/18)] = l3
			l3 += 4
		}
	} else if len(in) > 0 && in[0]>>4 == 6 {
		t = 0x86dd
	}
	switch {
	case t == 0x0806:
		at[field.ARP] = l3
	case t == 0x0800 && len(in) >= l3+20:
		at[field.IP] = l3
		if get16(in, l3+6)&0x1fff == 0 && in[l3]>>4 == 4 {
			placeTransport(at, in, in[l3+9], l3+4*int(in[l3]&15))
			if in[l3]&15 < 5 { // there would be no room for the addresses
				delete(at, field.None)
			}
		}
	case t == 0x86dd && len(in) >= l3+40:
		at[field.IP6] = l3
		if in[l3]>>4 == 6 {
			next, l4 := behindExtensions(in, in[l3+6], l3+40)
			placeTransport(at, in, next, l4)
		}
	}
	placeQuote(at, in)
	return at
}

// placeQuote notes the headers of the packet that an ICMP or ICMPv6 error quotes, behind its own
// eight bytes (RFC 792, RFC 4443).
func placeQuote(at map[field.Protocol]int, in []byte) {
	begin, version := 0, byte(0)
	if l4, ok := at[field.ICMP]; ok {
		begin, version = l4+8, 4
	} else if l4, ok := at[field.ICMP6]; ok {
		begin, version = l4+8, 6
	}
	length := map[byte]int{4: 20, 6: 40}[version]
	if version == 0 || begin+length > len(in) || in[begin]>>4 != version {
		return
	}
	next, l4 := in[begin+9], begin+4*int(in[begin]&15)
	if version == 6 {
		at[field.QuotedIP6] = begin
		next, l4 = behindExtensions(in, in[begin+6], begin+40)
	} else {
		at[field.QuotedIP] = begin
	}
	if proto, ok := map[byte]field.Protocol{1: field.QuotedICMP, 6: field.QuotedTCP, 17: field.QuotedUDP, 58: field.QuotedICMP6}[next]; ok {
		at[proto] = l4
	}
}

// behindExtensions steps over all the extension headers that RFC 8200 has.
func behindExtensions(in []byte, next byte, at int) (byte, int) {
	for (next == 0 || next == 43 || next == 44 || next == 60) && at+8 <= len(in) {
		length := 8 + 8*int(in[at+1])
		if next == 44 {
			length = 8
		}
		next, at = in[at], at+length
	}
	return next, at
}

// placeTransport notes the transport header of a number, and the first MSS
// behind it.
func placeTransport(at map[field.Protocol]int, in []byte, number byte, l4 int) {
	proto, ok := map[byte]field.Protocol{1: field.ICMP, 6: field.TCP, 17: field.UDP, 58: field.ICMP6}[number]
	if !ok {
		// field.None: where a checksum follows the addresses that rules do not know.
		if check, ok := map[byte]int{27: 16, 33: 6, 89: 12, 103: 2, 112: 6, 135: 4, 136: 6, 139: 4}[number]; ok && l4+check+2 <= len(in) {
			at[field.None] = l4 + check
		}
		return
	}
	at[proto] = l4
	for o := l4 + 20; proto == field.TCP && o+3 < len(in); {
		switch {
		case in[o] == 2 && in[o+1] == 4:
			at[field.MSS] = o
			return
		case in[o] == 0 || in[o] > 1 && in[o+1] < 2:
			return
		case in[o] == 1:
			o++
		default:
			o += int(in[o+1])
		}
	}
}

// addresses are those in the IP header of a frame.
func addresses(frame []byte, at map[field.Protocol]int) []byte {
	if l3, ok := at[field.IP6]; ok {
		return frame[l3+8 : l3+40]
	}
	if l3, ok := at[field.IP]; ok {
		return frame[l3+12 : l3+20]
	}
	return nil
}

// follows reports whether the checksum at field.None stayed, as that of a protocol that
// covers no address or is not found does, or makes up for the addresses: then they and it
// have the same sum as before (RFC 1624). Behind extension headers and options an address
// may be another one.
func follows(in, out []byte, at map[field.Protocol]int) bool {
	check := at[field.None]
	if get16(in, check) == get16(out, check) {
		return true
	}
	if l3, ok := at[field.IP]; ok && in[l3]&15 > 5 {
		return true
	}
	if l3, ok := at[field.IP6]; ok && (in[l3+6] == 0 || in[l3+6] == 43 || in[l3+6] == 44 || in[l3+6] == 60) {
		return true
	}
	total := func(frame []byte) (n int) {
		for a := addresses(frame, at); len(a) > 0; a = a[2:] {
			n += int(get16(a, 0))
		}
		return (n + int(get16(frame, check))) % 65535
	}
	return total(in) == total(out)
}
