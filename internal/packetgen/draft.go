package packetgen

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
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
	ip6Len     = field.MustByName("ip6_len")
	ip6Next    = field.MustByName("ip6_next")
	tcpHLen    = field.MustByName("tcp_hlen")
	udpLen     = field.MustByName("udp_len")
)

// checkOf names each header's checksum.
var checkOf = map[field.Protocol]*field.Field{
	field.IP:    field.MustByName("ip_check"),
	field.TCP:   field.MustByName("tcp_check"),
	field.UDP:   field.MustByName("udp_check"),
	field.ICMP:  field.MustByName("icmp_check"),
	field.ICMP6: field.MustByName("icmp6_check"),
}

// draft is a frame in the making. It always has room for the headers that it
// began with; what the headers say may be a lie.
type draft struct {
	r     *rand.Rand
	w     *wish
	frame []byte
	// at is where the headers that the draft began with begin; 0 in all but
	// the outermost: it has none.
	at     [field.QuotedICMP6 + 1]int
	types  []uint16       // of the tags
	net    field.Protocol // IP, IP6 or ARP
	hidden bool           // the type before it says something else
	chain  []extension    // behind IPv6
	proto  field.Protocol // behind IP; None: something unknown
	other  field.Other    // which, if its checksum covers the addresses
	l3, l4 int            // where net begins and where it ends
	quote  *draft         // the packet that an ICMP error quotes, or nil
	quoted []byte         // and so much of it
	// lastHop is the last address of a source route of IPv4 that has hops left.
	lastHop []byte
}

// newDraft builds a well-formed frame that is as w asks, but for the checksums.
func newDraft(r *rand.Rand, w *wish) *draft {
	d := &draft{r: r, w: w}
	d.layout()
	d.l3 = d.linkLen()
	body := d.networkLen()
	d.l4 = d.l3 + body
	words := d.optionWords()
	d.makeQuote()
	payload, total := d.lengths(body, d.fixed()+4*words)
	d.frame = make([]byte, d.l4+d.fixed()+4*words+payload)
	fill(r, d.frame)
	d.places()
	d.link()
	d.network(total)
	d.version()
	d.transport(words, payload)
	d.writeQuote()
	d.already()
	d.grant()
	return d
}

// fixed is the length of the transport header that every packet has.
func (d *draft) fixed() int {
	switch {
	case d.net == field.ARP:
		return 0
	case d.proto == field.None:
		return 8
	}
	return d.proto.Header().Fixed
}

// places notes where the headers begin.
func (d *draft) places() {
	for i := range d.types {
		d.at[field.VLAN+field.Protocol(i)] = 14 + 4*i
	}
	d.at[d.net] = d.l3
	if d.proto != field.None {
		d.at[d.proto] = d.l4
	}
}

// holds reports whether the draft has the header of f.
func (d *draft) holds(f *field.Field) bool {
	outermost := field.Eth
	if d.w.link == field.RawIP {
		outermost = d.net
	}
	return f.Proto == outermost || d.at[f.Proto] > 0
}

// lengths chooses the number of payload bytes, so that what is asked of the
// lengths in IP and UDP is the truth where that is possible, and the one in IP.
func (d *draft) lengths(body, headers int) (payload, total int) {
	payload = payloadLen(d.r)
	if d.quote != nil {
		payload = d.quotedPayload()
	}
	if in, ok := d.w.wanted(udpLen); ok && d.proto == field.UDP {
		if n := int(pick(d.r, in).Lo) - 8; d.sensible(n) {
			payload = min(n, 60000)
		}
	}
	f := ipTotLen
	headers += body
	switch d.net {
	case field.ARP:
		return d.r.IntN(19), 0
	case field.IP6:
		f = ip6Len
		headers -= 40
	}
	total = headers + payload
	in, ok := d.w.wanted(f)
	switch {
	case d.jumbo(), d.net == field.IP6 && !ok && !d.w.whole && d.r.IntN(24) == 0: // as BIG TCP has it
		return payload, 0
	case !ok || in.Contains(field.V(uint64(total))):
		return payload, total
	}
	total = int(pick(d.r, in).Lo)
	if n := total - headers; d.sensible(n) {
		payload = n
	}
	return payload, total
}

// sensible reports whether a payload of n bytes is worth the time.
func (d *draft) sensible(n int) bool {
	return n >= 0 && (n <= 9000 || n <= 60000 && d.r.IntN(16) == 0)
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

// network writes what a well-formed header of the network layer says.
func (d *draft) network(total int) {
	switch d.net {
	case field.ARP:
		copy(d.frame[d.l3:], []byte{0, 1, 8, 0, 6, 4})
		return
	case field.IP6:
		d.network6(total)
		return
	}
	d.put(ipVer, 4)
	d.put(ipHL, uint64(d.l4-d.l3)/4)
	d.put(ipTotLen, uint64(total))
	d.put(ipFlags, uint64(2*d.r.IntN(2)))
	d.put(ipOffset, 0)
	d.put(ipProtocol, uint64(d.number()))
	options(d.r, d.frame[d.l3+20:d.l4], 158)
	d.sourceRoute()
}

// number is what the header below calls the transport header.
func (d *draft) number() byte {
	if d.proto != field.None {
		return byte(d.proto.Header().Number)
	}
	unknown := []byte{2, 3, 5, 27, 59, 103, 112, 132, 135} // nothing that is looked into, or over one of both IP headers only
	if others := field.OthersOver(d.net); d.r.IntN(3) > 0 && len(others) > 0 {
		d.other = others[d.r.IntN(len(others))]
		return d.other.Number
	}
	return unknown[d.r.IntN(len(unknown))]
}

// transport writes what a well-formed transport header says.
func (d *draft) transport(words, payload int) {
	switch d.proto {
	case field.TCP:
		d.put(tcpHLen, uint64(5+words))
		d.tcpOptions(d.frame[d.l4+20:][:4*words])
	case field.UDP:
		d.put(udpLen, uint64(8+payload)&0xffff)
	case field.None:
		if d.other.First != 0 && d.r.IntN(2) == 0 {
			d.frame[d.l4] = d.other.First | d.frame[d.l4]&^d.other.FirstMask
		}
		if at := d.otherCheck(); at > 0 && d.r.IntN(8) == 0 {
			binary.BigEndian.PutUint16(d.frame[at:], uint16(-d.r.IntN(2))) // either 0
		}
	}
}

// otherCheck is where in the frame the checksum of a protocol without fields stands,
// or 0.
func (d *draft) otherCheck() int {
	at := d.l4 + d.other.Check
	if d.other.Number == 0 || at+2 > len(d.frame) {
		return 0
	}
	return at
}

// already now and then gives a field the value that the rule will set, or one
// that makes no difference to a sum: 0 for all ones, all ones for 0.
func (d *draft) already() {
	for _, a := range d.w.actions {
		if a.Op != operand.Set || !d.holds(a.Field) || a.Field.Structural || d.r.IntN(6) > 0 {
			continue
		}
		v := a.Value
		if d.r.IntN(2) == 0 {
			v = a.Field.Max().AndNot(v)
		}
		d.set(a.Field, v)
	}
	d.atEdges()
}

// atEdges now and then gives fields values where arithmetic stops or wraps,
// where a bound begins to count, and where a copy changes nothing.
func (d *draft) atEdges() {
	for _, a := range d.w.actions {
		if a.Op == operand.Set || a.Op.Sums() || !d.holds(a.Field) || a.Field.Structural || d.r.IntN(3) > 0 {
			continue
		}
		v := a.Value
		switch {
		case a.Op == operand.Add: // all ones less v: the last that does not overflow
			v = a.Field.Max().AndNot(v)
		case a.Op == operand.Copy:
			if d.holds(a.From) {
				d.set(a.Field, d.get(a.From))
			}
			continue
		case a.Op.Chooses():
			v = a.Range.Lo
		}
		d.set(a.Field, near(d.r, v, a.Field.Max()))
	}
}

// near is v or a value beside it, at most top.
func near(r *rand.Rand, v, top field.Value) field.Value {
	switch n := r.IntN(3); {
	case n == 0 && !v.IsZero():
		return v.Dec()
	case n == 1 && v != top:
		return v.Inc()
	}
	return v
}

// grant writes a value of what is asked for into each field that is there,
// checksums apart; the widest first, because narrow fields lie in wide ones.
func (d *draft) grant() {
	wants := slices.Clone(d.w.sets)
	slices.SortStableFunc(wants, func(a, b want) int { return b.field.Width - a.field.Width })
	for _, s := range wants {
		if s.field.Kind == field.Checksum || !d.holds(s.field) || s.in.Contains(d.get(s.field)) {
			continue
		}
		d.set(s.field, pick(d.r, s.in))
	}
}

// extend now and then adds padding behind the packet.
func (d *draft) extend() {
	if d.r.IntN(6) == 0 || len(d.frame) < shortest {
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
	out := *d
	out.frame = reference.RunOn(d.w.link, p, d.frame).Frame
	for _, proto := range append(d.quotedSums(), d.net, d.proto) {
		f, ok := checkOf[field.Unquoted(proto)]
		if proto.IsQuoted() {
			f = field.Quoted(f)
		}
		if _, asked := d.w.wanted(f); !ok || asked {
			continue
		}
		old, left := d.get(f).Lo, out.get(f).Lo
		if field.Unquoted(proto) == field.UDP && old == 0 {
			continue
		}
		c := (old + 2*65535 - left) % 65535
		if c == 0 {
			c = 65535
		}
		d.put(f, c)
	}
	if at := d.otherCheck(); at > 0 {
		old, left := binary.BigEndian.Uint16(d.frame[at:]), binary.BigEndian.Uint16(out.frame[at:])
		binary.BigEndian.PutUint16(d.frame[at:], uint16((int(old)+2*65535-int(left)-1)%65535+1))
	}
}

// put writes a field of at most 64 bits of a header that the draft has.
func (d *draft) put(f *field.Field, v uint64) { d.set(f, field.V(v)) }

// set writes a field of a header that the draft has.
func (d *draft) set(f *field.Field, v field.Value) {
	b := d.frame[d.at[f.Proto]+f.Byte():][:f.Size()]
	if f.Width > 64 {
		binary.BigEndian.PutUint64(b, v.Hi)
		binary.BigEndian.PutUint64(b[8:], v.Lo)
		return
	}
	mask, n := f.Mask().Lo, v.Lo<<f.Shift()
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = b[i]&^byte(mask) | byte(n)&byte(mask)
		mask, n = mask>>8, n>>8
	}
}

// get reads a field of a header that the draft has.
func (d *draft) get(f *field.Field) field.Value {
	var v field.Value
	for _, b := range d.frame[d.at[f.Proto]+f.Byte():][:f.Size()] {
		v = field.Value{Hi: v.Hi<<8 | v.Lo>>56, Lo: v.Lo<<8 | uint64(b)}
	}
	if f.Width > 64 {
		return v
	}
	return field.V(v.Lo >> f.Shift() & f.Max().Lo)
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
