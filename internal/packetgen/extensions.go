package packetgen

import (
	"slices"

	"repacket/internal/field"
)

// The extension headers that can be stepped over (RFC 8200 section 4).
const (
	hopByHop    = 0
	routing     = 43
	fragment    = 44
	destination = 60
)

// extension is an extension header in the making, without its next header.
type extension struct {
	kind  byte
	bytes []byte
	// home is where in it the address of the option Home Address stands, or 0.
	home int
}

// extensions chooses a chain of extension headers, mostly none, that a
// transport header is found behind.
func (d *draft) extensions() {
	first := d.firstKinds()
	n := 0
	switch x := d.r.IntN(100); {
	case x < 30:
		n = 1 + d.r.IntN(2)
	case x < 38:
		n = 3 + d.r.IntN(5)
	case x < 40:
		n = 8
	case x < 42 && d.w.l4() == field.None:
		n = 9
	}
	if in, asked := d.w.wanted(ip6Next); asked && d.proto != field.None && len(first) > 0 {
		if !in.Contains(field.V(uint64(d.proto.Header().Number))) {
			n = max(n, 1)
		}
	}
	if in, asked := d.w.wanted(ip6Len); asked && only(in, 0) && slices.Contains(first, hopByHop) {
		first, n = []byte{hopByHop}, max(n, 1)
	}
	if len(first) == 0 {
		n = 0
	}
	for i := range n {
		kinds := []byte{routing, fragment, destination, destination}
		if i == 0 {
			kinds = first
		}
		d.chain = append(d.chain, d.extension(kinds[d.r.IntN(len(kinds))]))
	}
	d.makeJumbo()
}

// firstKinds are the kinds that may be the first, by what is asked of ip6_next.
func (d *draft) firstKinds() []byte {
	kinds := []byte{hopByHop, routing, fragment, destination}
	in, asked := d.w.wanted(ip6Next)
	if !asked {
		return kinds
	}
	return slices.DeleteFunc(kinds, func(k byte) bool { return !in.Contains(field.V(uint64(k))) })
}

// only reports whether s is the one value.
func only(s field.Set, v uint64) bool {
	one, ok := s.Single()
	return ok && one == field.V(v)
}

// extension makes an extension header. Where a whole datagram is asked for, it
// is none that cuts the packet up or sends it elsewhere first.
func (d *draft) extension(kind byte) extension {
	if kind == destination && d.r.IntN(3) == 0 {
		return d.homeOption()
	}
	units := 0
	switch x := d.r.IntN(20); {
	case x < 5:
		units = 1 + d.r.IntN(3)
	case x == 5:
		units = d.r.IntN(30)
	}
	if kind == routing {
		units &^= 1 // addresses of two units each
	}
	b := make([]byte, 8*(units+1))
	fill(d.r, b)
	b[1] = byte(units)
	switch kind {
	case fragment:
		b = b[:8]
		b[2], b[3] = 0, 0
		if d.r.IntN(3) == 0 { // reserved bits
			b[3] = byte(d.r.IntN(4)) << 1
		} else {
			b[1] = 0
		}
		if !d.w.whole && d.r.IntN(3) == 0 {
			b[3] |= 1
		}
	case routing:
		types := []byte{0, 2, 4, 253}
		b[2], b[3] = types[d.r.IntN(len(types))], 0
		if !d.w.whole && d.r.IntN(2) == 0 {
			b[3] = byte(1 + d.r.IntN(max(1, units/2)))
		}
	default:
		pad(b[2:])
	}
	return extension{kind: kind, bytes: b}
}

// pad fills b with options that say nothing: PadN, as many as it takes.
func pad(b []byte) {
	for len(b) >= 2 {
		n := min(len(b), 2+255)
		if len(b)-n == 1 {
			n--
		}
		b[0], b[1] = 1, byte(n-2)
		clear(b[2:n])
		b = b[n:]
	}
}

// makeJumbo now and then puts the length of a jumbogram (RFC 2675) in front of
// the hop-by-hop options.
func (d *draft) makeJumbo() {
	in, asked := d.w.wanted(ip6Len)
	if len(d.chain) == 0 || d.chain[0].kind != hopByHop || d.w.whole {
		return
	}
	must := asked && only(in, 0)
	if asked && !in.Contains(field.V(0)) || !must && d.r.IntN(3) > 0 {
		return
	}
	b := d.chain[0].bytes
	copy(b[2:], []byte{0xc2, 4, 0, 1, 0, byte(d.r.IntN(256))})
	if len(b) > 8 {
		pad(b[8:])
	}
}

// jumbo reports whether the draft is a jumbogram.
func (d *draft) jumbo() bool {
	return len(d.chain) > 0 && d.chain[0].kind == hopByHop && d.chain[0].bytes[2] == 0xc2
}

// chainLen is the length of all extension headers.
func (d *draft) chainLen() int {
	n := 0
	for _, e := range d.chain {
		n += len(e.bytes)
	}
	return n
}

// extensionAt is the place of the i-th extension header in the frame.
func (d *draft) extensionAt(i int) int {
	at := d.l3 + 40
	for _, e := range d.chain[:i] {
		at += len(e.bytes)
	}
	return at
}

// network6 writes what a well-formed IPv6 header and its extension headers say.
func (d *draft) network6(total int) {
	d.frame[d.l3] = 6<<4 | d.frame[d.l3]&15
	d.put(ip6Len, uint64(total)&0xffff)
	before := d.l3 + 6 // where the number of the next header stands
	for i, e := range d.chain {
		d.frame[before] = e.kind
		before = d.extensionAt(i)
		copy(d.frame[before:], e.bytes)
	}
	d.frame[before] = d.number()
}
