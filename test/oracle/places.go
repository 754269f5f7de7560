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
		}
	case t == 0x86dd && len(in) >= l3+40:
		at[field.IP6] = l3
		if in[l3]>>4 == 6 {
			next, l4 := behindExtensions(in, in[l3+6], l3+40)
			placeTransport(at, in, next, l4)
		}
	}
	return at
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
