package packetgen

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"repacket/internal/field"
)

// hostile builds a frame as w asks, then makes its headers lie, its checksums
// and its end.
func hostile(r *rand.Rand, w *wish) []byte {
	w.spoil = true
	d := newDraft(r, w)
	d.extend()
	known := d.lies()
	for range 1 + r.IntN(2) {
		known[r.IntN(len(known))]()
	}
	d.finish()
	if r.IntN(2) == 0 {
		d.cut()
	}
	if len(d.frame) < shortest {
		d.frame = append(d.frame, make([]byte, shortest-len(d.frame))...)
	}
	return d.frame
}

// lies are the ways in which the draft's headers can say what is not so.
func (d *draft) lies() []func() {
	all := []func(){d.lieType, d.flip, func() {}}
	switch d.net {
	case field.ARP:
		return append(all, d.lieARP, d.lieARP)
	case field.IP:
		all = append(all, d.lieTotal, d.lieTotal, d.fragment, d.fragment, d.lieVersion, d.lieHeaderLength, d.lieProtocol)
	case field.IP6:
		all = append(all, d.liePayloadLength, d.liePayloadLength, d.lieVersion, d.lieNext, d.lieExtension, d.lieExtension, d.lieExtension)
	}
	switch d.proto {
	case field.TCP:
		all = append(all, d.lieTCPLength, d.lieOptions, d.lieOptions)
	case field.UDP:
		all = append(all, d.lieUDPLength)
	}
	return all
}

// near is n or one beside it.
func (d *draft) near(n int) uint64 { return uint64(max(0, n+d.r.IntN(3)-1)) }

// oneOf is one of the choices.
func (d *draft) oneOf(choices ...uint64) uint64 { return choices[d.r.IntN(len(choices))] }

// lengthFrom is a length of what begins at an offset that is none, at the edge
// of the header that follows, at the edge of the frame, or anything.
func (d *draft) lengthFrom(start int) uint64 {
	honest := len(d.frame) - start
	return d.oneOf(
		0, d.near(d.l4-start), d.near(d.l4-start+d.fixed()), d.near(honest),
		0xffff, d.r.Uint64N(0x10000), d.r.Uint64N(uint64(honest)+1)) & 0xffff
}

func (d *draft) lieTotal() { d.put(ipTotLen, d.lengthFrom(d.l3)) }

func (d *draft) liePayloadLength() { d.put(ip6Len, d.lengthFrom(d.l3+40)) }

func (d *draft) lieUDPLength() {
	d.put(udpLen, d.oneOf(0, 7, 8, d.near(len(d.frame)-d.l4)&0xffff, 0xffff, d.r.Uint64N(0x10000)))
}

// fragment makes the packet a first or a later fragment.
func (d *draft) fragment() {
	d.put(ipOffset, d.oneOf(0, 0, 1, 0x1fff, 0x100, d.r.Uint64N(0x2000)))
	d.put(ipFlags, d.r.Uint64N(8))
}

func (d *draft) lieVersion() { d.frame[d.l3] = byte(d.r.IntN(16))<<4 | d.frame[d.l3]&15 }

func (d *draft) lieHeaderLength() { d.put(ipHL, d.oneOf(0, 4, 5, 6, 15, d.r.Uint64N(16))) }

func (d *draft) lieProtocol() { d.put(ipProtocol, d.oneOf(0, 1, 6, 17, 47, 58, d.r.Uint64N(256))) }

func (d *draft) lieNext() {
	d.put(ip6Next, d.oneOf(0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, d.r.Uint64N(256)))
}

// lieExtension spoils one of the extension headers.
func (d *draft) lieExtension() {
	if len(d.chain) == 0 {
		d.lieNext()
		return
	}
	i := d.r.IntN(len(d.chain))
	b := d.frame[d.extensionAt(i):]
	switch d.r.IntN(5) {
	case 0: // what follows: hop-by-hop options once more, one that is not known, …
		b[0] = byte(d.oneOf(0, 0, 43, 44, 50, 51, 60, 135, 6, 17, 58, d.r.Uint64N(256)))
	case 1: // its length
		b[1] = byte(d.oneOf(uint64(b[1])+1, uint64(b[1])-1, 0, 255, d.r.Uint64N(256)))
	case 2: // the fragment's offset, the routing header's segments
		binary.BigEndian.PutUint16(b[2:], uint16(d.oneOf(1, 2, 7, 8, 9, 0xfff8, 0xffff, d.r.Uint64N(0x10000))))
	case 3: // a jumbogram that is none, or is one
		copy(b[2:], []byte{0xc2, byte(d.oneOf(4, 4, 3, 5))})
		d.put(ip6Len, d.oneOf(0, 0, d.get(ip6Len).Lo))
	case 4: // all of it
		fill(d.r, b[1:8])
	}
}

// lieARP speaks of other addresses than those of Ethernet and IPv4.
func (d *draft) lieARP() {
	b := d.frame[d.l3:]
	switch d.r.IntN(4) {
	case 0:
		binary.BigEndian.PutUint16(b, uint16(d.oneOf(0, 6, 32, 0x100)))
	case 1:
		binary.BigEndian.PutUint16(b[2:], uint16(d.oneOf(0, typeIPv6, 0x0801, 8)))
	case 2:
		b[4] = byte(d.oneOf(0, 5, 7, 8, 16))
	case 3:
		b[5] = byte(d.oneOf(0, 3, 5, 16))
	}
}

// lieType calls the packet something else, a third VLAN tag included.
func (d *draft) lieType() {
	if d.w.link == field.RawIP {
		d.lieVersion()
		return
	}
	t := uint16(d.oneOf(typeIPv4, typeIPv6, typeARP, typeCTag, uint64(otherType(d.r))))
	binary.BigEndian.PutUint16(d.frame[d.l3-2:], t)
}

func (d *draft) lieTCPLength() { d.put(tcpHLen, d.r.Uint64N(16)) }

// lieOptions spoils TCP's options: the MSS cut off, of another length, behind
// the end or behind an option that cannot be stepped over.
func (d *draft) lieOptions() {
	b := d.frame[d.l4+20:]
	b = b[:min(len(b), max(0, 4*int(d.get(tcpHLen).Lo)-20))]
	if len(b) < 4 {
		d.lieTCPLength()
		return
	}
	mss := []byte{2, 4, 5, 0xb4}
	choices := [][]byte{
		{2, 3, 5},
		{2, 0},
		{2, 5, 1, 1, 1},
		{0},
		{3, 0},
		{3, 1},
		{3, 41},
		{1},
		{4, 2},
		mss,
		slices.Concat([]byte{2, 3, 5}, mss),
		slices.Concat([]byte{1}, mss),
		slices.Concat(mss, mss),
	}
	with := choices[d.r.IntN(len(choices))]
	switch at := d.r.IntN(len(b)); d.r.IntN(3) {
	case 0: // in front
		copy(b, with)
	case 1: // at the end, cut off
		for i := range b {
			b[i] = 1
		}
		copy(b[len(b)-1-d.r.IntN(4):], mss)
	case 2:
		copy(b[at:], with)
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
	if len(d.frame) <= shortest {
		return
	}
	at := shortest + d.r.IntN(len(d.frame)-shortest+1)
	edges := []int{14, d.l3, d.l3 + 20, d.l4, d.l4 + d.fixed(), len(d.frame)}
	if d.net == field.IP6 {
		edges = append(edges, d.l3+40, d.l3+48)
	}
	if mss := d.at[field.MSS]; mss > 0 {
		edges = append(edges, mss, mss+4)
	}
	edges = append(edges, d.quoteEdges()...)
	if d.r.IntN(3) > 0 {
		at = int(d.near(edges[d.r.IntN(len(edges))]))
	}
	d.frame = d.frame[:min(len(d.frame), max(shortest, at))]
}

// finish writes the checksums: all right in three of four frames, else
// wrong in one way or another.
func (d *draft) finish() {
	d.shown()
	right := d.r.IntN(4) > 0
	for _, proto := range []field.Protocol{d.proto, d.net} {
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
	network := d.frame[d.l3:]
	if proto == field.IP {
		header := 4 * int(d.get(ipHL).Lo)
		return fold(add(0, network[:min(max(20, header), len(network))]))
	}
	end := d.datagramEnd()
	total := add(0, d.frame[d.l4:end])
	switch {
	case proto == field.ICMP:
	case d.net == field.IP6:
		total = add(total, d.addresses()) + uint64(proto.Header().Number) + uint64(end-d.l4)
	default:
		total = add(total, d.addresses()) + d.get(ipProtocol).Lo + uint64(end-d.l4)
	}
	c := fold(total)
	if c == 0 && proto == field.UDP {
		return 0xffff
	}
	return c
}

// datagramEnd is where the datagram ends by what IP says, as far as that makes
// sense.
func (d *draft) datagramEnd() int {
	end := 0
	if d.net == field.IP6 {
		end = d.l3 + 40 + int(d.get(ip6Len).Lo)
	} else {
		end = d.l3 + int(d.get(ipTotLen).Lo)
	}
	if end < d.l4+d.fixed() || end > len(d.frame) {
		return len(d.frame)
	}
	return end
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
