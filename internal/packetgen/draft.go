package packetgen

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"repacket/internal/field"
	"repacket/internal/reference"
	"repacket/internal/rule"
)

// The fields that say how a packet is built.
var (
	ipVer      = field.MustByName("ip_ver")
	ipHL       = field.MustByName("ip_hl")
	ipTotLen   = field.MustByName("ip_tot_len")
	ipFlags    = field.MustByName("ip_flags")
	ipMF       = field.MustByName("ip_flag_mf")
	ipOffset   = field.MustByName("ip_offset")
	ipProtocol = field.MustByName("ip_protocol")
	tcpHLen    = field.MustByName("tcp_hlen")
	udpLen     = field.MustByName("udp_len")
)

// checkOf names each header's checksum.
var checkOf = map[field.Protocol]*field.Field{
	field.IP:   field.MustByName("ip_check"),
	field.TCP:  field.MustByName("tcp_check"),
	field.UDP:  field.MustByName("udp_check"),
	field.ICMP: field.MustByName("icmp_check"),
}

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeARP  = 0x0806
	typeCTag = 0x8100
	typeSTag = 0x88a8
)

// draft is a frame in the making. It always has room for the headers that it
// began with; what the headers say may be a lie.
type draft struct {
	r      *rand.Rand
	w      *wish
	frame  []byte
	l3, l4 int
	proto  field.Protocol // None: something unknown follows IP
}

// newDraft builds a well-formed frame that is as w asks, but for the checksums.
func newDraft(r *rand.Rand, w *wish) *draft {
	d := &draft{r: r, w: w, proto: w.transport(r)}
	hl := d.headerWords()
	payload, total := d.lengths(4*hl + d.fixed())
	tags := vlanTags(r)
	d.l3 = 14 + 4*len(tags)
	d.l4 = d.l3 + 4*hl
	d.frame = make([]byte, d.l4+d.fixed()+payload)
	fill(r, d.frame)
	d.link(tags)
	d.network(hl, total)
	options(r, d.frame[d.l3+20:d.l4], 158)
	d.transport(payload)
	d.already()
	d.grant()
	return d
}

// transport is the header that follows IP: the one that is asked for, or one
// that may be there.
func (w *wish) transport(r *rand.Rand) field.Protocol {
	if p := w.l4(); p != field.None {
		return p
	}
	if r.IntN(8) == 0 {
		return field.None
	}
	p := transports[r.IntN(len(transports))]
	if there, known := w.has[p]; known && !there {
		return field.None
	}
	return p
}

// fixed is the length of the transport header that every packet has.
func (d *draft) fixed() int {
	if d.proto == field.None {
		return 8
	}
	return d.proto.Header().Fixed
}

// headerWords chooses ip_hl; of less than 5 there is still room for 20 bytes.
func (d *draft) headerWords() int {
	in, ok := d.w.wanted(ipHL)
	if !ok {
		in = field.All(ipHL.Width)
	}
	if in.Contains(field.V(5)) && d.r.IntN(3) > 0 { // most packets have no options
		return 5
	}
	return max(5, int(pick(d.r, in).Lo))
}

// lengths chooses the number of payload bytes, so that what is asked of
// ip_tot_len and udp_len is the truth where that is possible, and ip_tot_len.
func (d *draft) lengths(headers int) (payload, total int) {
	const sensible = 9000
	payload = payloadLen(d.r)
	if in, ok := d.w.wanted(udpLen); ok && d.proto == field.UDP {
		if n := int(pick(d.r, in).Lo) - 8; n >= 0 && (n <= sensible || d.r.IntN(16) == 0) {
			payload = min(n, 60000)
		}
	}
	total = headers + payload
	in, ok := d.w.wanted(ipTotLen)
	if !ok || in.Contains(field.V(uint64(total))) {
		return payload, total
	}
	total = int(pick(d.r, in).Lo)
	if n := total - headers; n >= 0 && (n <= sensible || d.r.IntN(16) == 0) {
		payload = n
	}
	return payload, total
}

// payloadLen is mostly short, odd as often as even, seldom jumbo.
func payloadLen(r *rand.Rand) int {
	switch x := r.IntN(1000); {
	case x < 500:
		return r.IntN(41)
	case x < 850:
		return r.IntN(200)
	case x < 970:
		return r.IntN(1473)
	case x < 996:
		return r.IntN(3000)
	}
	return 8900 + r.IntN(101)
}

// vlanTags chooses the types of the tags.
func vlanTags(r *rand.Rand) []uint16 {
	types := []uint16{typeCTag, typeSTag}
	var tags []uint16
	for len(tags) < 2 && r.IntN(5) == 0 {
		tags = append(tags, types[r.IntN(2)])
	}
	return tags
}

// link writes the types of the Ethernet header and its tags.
func (d *draft) link(tags []uint16) {
	for i, t := range tags {
		binary.BigEndian.PutUint16(d.frame[12+4*i:], t)
	}
	t := uint16(typeIPv4)
	if there, known := d.w.has[field.IP]; known && !there {
		t = otherType(d.r)
	}
	binary.BigEndian.PutUint16(d.frame[d.l3-2:], t)
}

// otherType is an EtherType that is not IPv4.
func otherType(r *rand.Rand) uint16 {
	common := []uint16{typeARP, typeIPv6, typeCTag, typeSTag, 0x8847, 0x0801, 0x0008, 46}
	return common[r.IntN(len(common))]
}

// network writes what a well-formed IPv4 header says.
func (d *draft) network(hl, total int) {
	number := uint64(2 + d.r.IntN(4)) // nothing that is looked into
	if d.proto != field.None {
		number = uint64(d.proto.Header().Number)
	}
	d.put(ipVer, 4)
	d.put(ipHL, uint64(hl))
	d.put(ipTotLen, uint64(total))
	d.put(ipFlags, uint64(2*d.r.IntN(2)))
	d.put(ipOffset, 0)
	d.put(ipProtocol, number)
}

// transport writes what a well-formed transport header says.
func (d *draft) transport(payload int) {
	switch d.proto {
	case field.TCP:
		words := d.r.IntN(min(10, payload/4) + 1)
		d.put(tcpHLen, uint64(5+words))
		options(d.r, d.frame[d.l4+20:][:4*words], 253)
	case field.UDP:
		d.put(udpLen, uint64(8+payload)&0xffff)
	}
}

// options fills b, mostly with well-formed options (RFC 791, RFC 9293): no
// operation, and one of the kinds for experiments (RFC 4727).
func options(r *rand.Rand, b []byte, kind byte) {
	if r.IntN(6) == 0 {
		return
	}
	for len(b) > 0 {
		n := 1
		b[0] = 1
		if len(b) >= 2 && r.IntN(2) == 0 {
			n = 2 + r.IntN(len(b)-1)
			b[0], b[1] = kind, byte(n)
		}
		b = b[n:]
	}
}

// already now and then gives a field the value that the rule will set, or one
// that makes no difference to a sum: 0 for all ones, all ones for 0.
func (d *draft) already() {
	for _, a := range d.w.actions {
		if a.Op != rule.Set || !d.holds(a.Field) || d.structural(a.Field) || d.r.IntN(6) > 0 {
			continue
		}
		v := a.Value
		if d.r.IntN(2) == 0 {
			v = a.Field.Max().AndNot(v)
		}
		d.put(a.Field, v.Lo)
	}
}

// structural tells whether f says how the packet is built.
func (d *draft) structural(f *field.Field) bool { return f.Structural || f == ipFlags }

// grant writes a value of what is asked for into each field that is there,
// checksums apart; the widest first, because narrow fields lie in wide ones.
func (d *draft) grant() {
	wants := slices.Clone(d.w.sets)
	slices.SortStableFunc(wants, func(a, b want) int { return b.field.Width - a.field.Width })
	for _, s := range wants {
		if s.field.Kind == field.Checksum || !d.holds(s.field) || s.in.Contains(d.get(s.field)) {
			continue
		}
		d.put(s.field, pick(d.r, s.in).Lo)
	}
}

// holds tells whether the draft has the header of f.
func (d *draft) holds(f *field.Field) bool {
	return f.Proto == field.IP || f.Proto == d.proto
}

// start is the offset of a header in the frame.
func (d *draft) start(p field.Protocol) int {
	if p == field.IP {
		return d.l3
	}
	return d.l4
}

// extend now and then adds padding behind the packet.
func (d *draft) extend() {
	if d.r.IntN(6) == 0 {
		padding := make([]byte, 1+d.r.IntN(60))
		fill(d.r, padding)
		d.frame = append(d.frame, padding...)
	}
}

// towardsZero now and then chooses the checksums so that those that leave are
// zero, of which there are two: 0x0000 and 0xffff.
func (d *draft) towardsZero(p *rule.Program) {
	if d.r.IntN(8) > 0 {
		return
	}
	out := draft{frame: reference.Run(p, d.frame).Frame, l3: d.l3, l4: d.l4, proto: d.proto}
	for _, proto := range []field.Protocol{field.IP, d.proto} {
		f, ok := checkOf[proto]
		if _, asked := d.w.wanted(f); !ok || asked {
			continue
		}
		old, left := d.get(f).Lo, out.get(f).Lo
		if proto == field.UDP && old == 0 {
			continue
		}
		c := (old + 2*65535 - left) % 65535
		if c == 0 {
			c = 65535
		}
		d.put(f, c)
	}
}

// put writes a field of a header that the draft has.
func (d *draft) put(f *field.Field, v uint64) {
	b := d.frame[d.start(f.Proto)+f.Byte():][:f.Size()]
	mask, v := f.Mask().Lo, v<<f.Shift()
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = b[i]&^byte(mask) | byte(v)&byte(mask)
		mask, v = mask>>8, v>>8
	}
}

// get reads a field of a header that the draft has.
func (d *draft) get(f *field.Field) field.Value {
	var v uint64
	for _, b := range d.frame[d.start(f.Proto)+f.Byte():][:f.Size()] {
		v = v<<8 | uint64(b)
	}
	return field.V(v >> f.Shift() & f.Max().Lo)
}

// fill writes random bytes; now and then only zeros and ones in all bits,
// which is where sums carry.
func fill(r *rand.Rand, b []byte) {
	extreme := r.IntN(6) == 0
	for len(b) > 0 {
		var word [8]byte
		n := r.Uint64()
		binary.BigEndian.PutUint64(word[:], n)
		if extreme {
			for i := range word {
				word[i] = -byte(n >> i & 1)
			}
		}
		b = b[copy(b, word[:]):]
	}
}
