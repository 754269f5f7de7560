package packetgen

import (
	"encoding/binary"
	"math/rand/v2"

	"repacket/internal/field"
)

// hostile builds a frame as w asks, then makes its headers lie, its checksums
// and its end.
func hostile(r *rand.Rand, w *wish) []byte {
	d := newDraft(r, w)
	d.extend()
	for range 1 + r.IntN(2) {
		lies[r.IntN(len(lies))](d)
	}
	d.finish()
	if r.IntN(2) == 0 {
		d.cut()
	}
	return d.frame
}

// lies are the ways in which a header says what is not so.
var lies = []func(*draft){
	(*draft).lieTotal, (*draft).lieTotal,
	(*draft).lieUDPLength,
	(*draft).fragment, (*draft).fragment,
	(*draft).lieVersion,
	(*draft).lieHeaderLength,
	(*draft).lieProtocol,
	(*draft).lieType,
	(*draft).lieTCPLength,
	(*draft).flip,
	func(*draft) {},
}

// near is n or one beside it.
func (d *draft) near(n int) uint64 { return uint64(max(0, n+d.r.IntN(3)-1)) }

// lieTotal sets an ip_tot_len that is none, at the edge of the header that
// follows, at the edge of the frame, or anything.
func (d *draft) lieTotal() {
	honest := len(d.frame) - d.l3
	choices := []uint64{
		0, d.near(d.l4 - d.l3), d.near(d.l4 - d.l3 + d.fixed()), d.near(honest),
		0xffff, d.r.Uint64N(0x10000), d.r.Uint64N(uint64(honest) + 1),
	}
	d.put(ipTotLen, choices[d.r.IntN(len(choices))])
}

func (d *draft) lieUDPLength() {
	if d.proto != field.UDP {
		return
	}
	choices := []uint64{0, 7, 8, d.near(len(d.frame) - d.l4), 0xffff, d.r.Uint64N(0x10000)}
	d.put(udpLen, choices[d.r.IntN(len(choices))])
}

// fragment makes the packet a first or a later fragment.
func (d *draft) fragment() {
	offsets := []uint64{0, 0, 1, 0x1fff, 0x100, d.r.Uint64N(0x2000)}
	d.put(ipOffset, offsets[d.r.IntN(len(offsets))])
	d.put(ipFlags, d.r.Uint64N(8))
}

func (d *draft) lieVersion() { d.put(ipVer, d.r.Uint64N(16)) }

func (d *draft) lieHeaderLength() {
	choices := []uint64{0, 4, 5, 6, 15, d.r.Uint64N(16)}
	d.put(ipHL, choices[d.r.IntN(len(choices))])
}

func (d *draft) lieProtocol() {
	choices := []uint64{0, 1, 6, 17, 47, d.r.Uint64N(256)}
	d.put(ipProtocol, choices[d.r.IntN(len(choices))])
}

// lieType calls the packet something else, a third VLAN tag included.
func (d *draft) lieType() {
	binary.BigEndian.PutUint16(d.frame[d.l3-2:], otherType(d.r))
}

func (d *draft) lieTCPLength() {
	if d.proto == field.TCP {
		d.put(tcpHLen, d.r.Uint64N(16))
	}
}

// flip turns one bit of the headers around.
func (d *draft) flip() {
	at := d.r.IntN(d.l4 + d.fixed())
	d.frame[at] ^= 1 << d.r.IntN(8)
}

// cut ends the frame early: at or beside the edge of a header, or anywhere.
// No Ethernet frame is shorter than its header.
func (d *draft) cut() {
	at := 14 + d.r.IntN(len(d.frame)-13)
	edges := []int{14, d.l3, d.l3 + 20, d.l4, d.l4 + d.fixed(), len(d.frame)}
	if d.r.IntN(3) > 0 {
		at = int(d.near(edges[d.r.IntN(len(edges))]))
	}
	d.frame = d.frame[:min(len(d.frame), max(14, at))]
}

// finish writes the checksums: all right in three of four frames, else
// wrong in one way or another.
func (d *draft) finish() {
	right := d.r.IntN(4) > 0
	for _, proto := range []field.Protocol{d.proto, field.IP} {
		f, ok := checkOf[proto]
		if !ok {
			continue
		}
		c := d.rightSum(proto)
		if !right {
			c = wrong(d.r, c)
		}
		if proto == field.UDP && d.r.IntN(6) == 0 {
			c = 0
		}
		if in, asked := d.w.wanted(f); asked && !in.Contains(field.V(c)) {
			c = pick(d.r, in).Lo
		}
		d.put(f, c)
	}
}

// wrong spoils the checksum c.
func wrong(r *rand.Rand, c uint64) uint64 {
	choices := []uint64{c, (c + 1) & 0xffff, (c - 1) & 0xffff, ^c & 0xffff, 0, 0xffff, r.Uint64N(0x10000)}
	return choices[r.IntN(len(choices))]
}

// rightSum is the right checksum (RFC 1071) of what the headers claim, as far
// as the frame reaches.
func (d *draft) rightSum(proto field.Protocol) uint64 {
	d.put(checkOf[proto], 0)
	ip := d.frame[d.l3:]
	header := 4 * int(d.get(ipHL).Lo)
	if proto == field.IP {
		return fold(add(0, ip[:min(max(20, header), len(ip))]))
	}
	end := d.l3 + int(d.get(ipTotLen).Lo)
	if end < d.l4+d.fixed() || end > len(d.frame) {
		end = len(d.frame)
	}
	total := add(0, d.frame[d.l4:end])
	if proto != field.ICMP {
		total = add(total, ip[12:20]) + d.get(ipProtocol).Lo + uint64(end-d.l4)
	}
	c := fold(total)
	if c == 0 && proto == field.UDP {
		return 0xffff
	}
	return c
}

// add adds the 16-bit words of b to total.
func add(total uint64, b []byte) uint64 {
	for i, x := range b {
		total += uint64(x) << (8 * (1 - i%2))
	}
	return total
}

// fold ends a sum with the carries around and the complement.
func fold(total uint64) uint64 {
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return ^total & 0xffff
}
