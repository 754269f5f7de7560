package rule

import (
	"slices"

	"pgregory.net/rapid"

	"repacket/internal/field"
)

// frame is a packet as the language sees it: which headers are found and what
// their fields hold. It is built by semantics.md 3.6, not by
// the checker's own table of them.
type frame struct {
	has map[field.Protocol]bool
	// whole: a whole datagram, no fragment and with lengths that agree.
	whole bool
	bytes map[field.Protocol][]byte
	// luck: a bit for each chance, whether it holds.
	luck uint64
}

// get reads bits one by one, unlike anything in the code under test.
func (p frame) get(f *field.Field) field.Value {
	var v field.Value
	for bit := f.Bit; bit < f.Bit+f.Width; bit++ {
		v = field.Value{Hi: v.Hi<<1 | v.Lo>>63, Lo: v.Lo<<1 | uint64(p.bytes[f.Proto][bit/8]>>(7-bit%8)&1)}
	}
	return v
}

// eyes is how a condition holds on a frame (semantics.md 2.6 and 3.3).
func eyes(e Expr, p frame) bool {
	switch e := e.(type) {
	case All:
		return true
	case Has:
		return p.has[e.Proto]
	case Test:
		return p.has[e.Field.Proto] && e.In.Contains(p.get(e.Field))
	case Chance:
		return p.luck>>e.Index&1 != 0
	case Not:
		return !eyes(e.X, p)
	case And:
		return !slices.ContainsFunc(e.X, func(x Expr) bool { return !eyes(x, p) })
	case Or:
		return slices.ContainsFunc(e.X, func(x Expr) bool { return eyes(x, p) })
	}
	panic("unknown condition")
}

// drawFrame makes a frame whose fields are often small numbers and often lie.
// It follows semantics.md 3.6; whether something fits into the frame is drawn.
func drawFrame(t *rapid.T) frame {
	p := frame{has: map[field.Protocol]bool{}, bytes: map[field.Protocol][]byte{}, luck: rapid.Uint64().Draw(t, "luck")}
	octet := rapid.Map(rapid.IntRange(0, 11), func(n int) byte {
		return []byte{0, 0, 0, 0, 1, 2, 3, 4, 5, 46, 184, 255}[n]
	})
	for _, proto := range field.Protocols() {
		n := proto.Header().Fixed
		p.bytes[proto] = rapid.SliceOfN(octet, n, n).Draw(t, proto.String())
	}
	p.bytes[field.TCP][12] = rapid.SampledFrom([]byte{0x50, 0x60, 0x60, 0xf0, 0}).Draw(t, "tcp_hlen")
	if rapid.IntRange(0, 3).Draw(t, "raw") == 0 {
		version := rapid.SampledFrom([]byte{4, 6, 5}).Draw(t, "version")
		p.bytes[field.IP][0] = version<<4 | p.bytes[field.IP][0]&15
		p.bytes[field.IP6][0] = version<<4 | p.bytes[field.IP6][0]&15
		p.network(t, map[byte]int{4: 0x0800, 6: 0x86dd}[version])
		return p
	}
	if !fits(t) {
		return p // under 14 bytes
	}
	p.has[field.Eth] = true
	types := rapid.SampledFrom([]int{0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x1234})
	kind := types.Draw(t, "type")
	p.bytes[field.Eth][12], p.bytes[field.Eth][13] = byte(kind>>8), byte(kind)
	for _, tag := range []field.Protocol{field.VLAN, field.CVLAN} {
		if kind != 0x8100 && kind != 0x88a8 || !fits(t) {
			break
		}
		p.has[tag] = true
		kind = types.Draw(t, "type")
		p.bytes[tag][2], p.bytes[tag][3] = byte(kind>>8), byte(kind)
	}
	p.network(t, kind)
	return p
}

func fits(t *rapid.T) bool { return rapid.IntRange(0, 5).Draw(t, "fits") > 0 }

// network finds what the type says.
func (p *frame) network(t *rapid.T, kind int) {
	if !fits(t) {
		return
	}
	switch kind {
	case 0x0806:
		p.has[field.ARP] = fits(t) // for Ethernet and IPv4
	case 0x0800:
		p.has[field.IP] = true
		p.ip(t)
	case 0x86dd:
		p.has[field.IP6] = true
		p.ip6(t)
	}
}

// ip finds what follows IPv4.
func (p *frame) ip(t *rapid.T) {
	ip := p.bytes[field.IP]
	if rapid.IntRange(0, 4).Draw(t, "lies") > 0 {
		ip[0] = ip[0]&0xf0 | 5
		if p.has[field.Eth] {
			ip[0] = 0x45
		}
		ip[3] = rapid.SampledFrom([]byte{0, 20, 27, 28, 39, 40, 43, 44, 60}).Draw(t, "total")
		ip[7] = 0
		ip[9] = rapid.SampledFrom([]byte{1, 6, 6, 17, 47}).Draw(t, "protocol")
	}
	total, hl := int(ip[2])<<8|int(ip[3]), int(ip[0]&15)
	p.whole = ip[6]&0x3f == 0 && ip[7] == 0 && total != 0 && rapid.Bool().Draw(t, "whole")
	if ip[0]>>4 != 4 || hl < 5 || ip[6]&0x1f != 0 || ip[7] != 0 || !fits(t) {
		return
	}
	inside := func(length int) bool { return total == 0 || 4*hl+length <= total }
	switch ip[9] {
	case 1:
		p.has[field.ICMP] = inside(8)
	case 6:
		p.tcp(t, inside)
	case 17:
		p.has[field.UDP] = inside(8)
	}
}

// ip6 finds what follows IPv6, behind the extension headers that are drawn.
func (p *frame) ip6(t *rapid.T) {
	ip := p.bytes[field.IP6]
	if p.has[field.Eth] {
		ip[0] = ip[0]&15 | rapid.SampledFrom([]byte{6, 6, 6, 6, 4}).Draw(t, "version")<<4
	}
	ip[5] = rapid.SampledFrom([]byte{0, 3, 4, 8, 12, 19, 20, 24, 28, 36, 60}).Draw(t, "len")
	chain := rapid.SliceOfN(rapid.SampledFrom([]byte{43, 44, 60}), 0, 2).Draw(t, "extensions")
	if rapid.IntRange(0, 3).Draw(t, "hop by hop") == 0 {
		chain = append([]byte{0}, chain...)
	}
	behind, length := 8*len(chain), int(ip[4])<<8|int(ip[5])
	chain = append(chain, rapid.SampledFrom([]byte{6, 6, 17, 58, 59, 0, 1}).Draw(t, "protocol"))
	ip[6] = chain[0]
	jumbo := length == 0 && ip[6] == 0 && behind > 0 && rapid.Bool().Draw(t, "jumbo")
	p.whole = length != 0 && rapid.Bool().Draw(t, "whole")
	later := slices.Contains(chain, 44) && rapid.Bool().Draw(t, "later fragment")
	if ip[0]>>4 != 6 || later || !fits(t) {
		return
	}
	inside := func(n int) bool { return jumbo || behind+n <= length }
	switch chain[len(chain)-1] {
	case 6:
		p.tcp(t, inside)
	case 17:
		p.has[field.UDP] = inside(8)
	case 58:
		p.has[field.ICMP6] = inside(4)
	}
}

// tcp finds TCP and its option.
func (p *frame) tcp(t *rapid.T, inside func(int) bool) {
	p.has[field.TCP] = inside(20)
	words := int(p.bytes[field.TCP][12] >> 4)
	p.has[field.MSS] = p.has[field.TCP] && words >= 6 && inside(4*words) && rapid.Bool().Draw(t, "option")
}
