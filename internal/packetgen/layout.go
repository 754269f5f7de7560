package packetgen

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"repacket/internal/field"
)

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeARP  = 0x0806
	typeCTag = 0x8100
	typeSTag = 0x88a8
)

// tagTypes are the types of VLAN tags, and typeOf those of what follows.
var (
	tagTypes = []uint16{typeCTag, typeSTag}
	typeOf   = map[field.Protocol]uint16{field.IP: typeIPv4, field.IP6: typeIPv6, field.ARP: typeARP}
)

// typeFields hold the type of what follows, by the number of tags before.
var typeFields = []*field.Field{field.MustByName("eth_type"), field.MustByName("vlan_type"), field.MustByName("cvlan_type")}

// layout chooses the headers: those that are asked for, and ones that may be
// there.
func (d *draft) layout() {
	d.proto = d.w.l4()
	d.net = d.networkLayer()
	if d.net == field.None {
		d.hidden, d.net = true, d.any(field.IP, field.IP, field.IP6, field.ARP)
		if d.w.link == field.RawIP {
			d.net = field.IP
		}
	}
	d.tags()
	switch {
	case d.net == field.ARP:
		d.proto = field.None
	case d.proto == field.None:
		d.proto = d.transportLayer()
	}
	if d.net == field.IP6 {
		d.extensions()
	}
}

// any is one of the protocols.
func (d *draft) any(of ...field.Protocol) field.Protocol { return of[d.r.IntN(len(of))] }

// networkLayer is the header that is asked for, or one that may be there; None
// is something that is not looked into.
func (d *draft) networkLayer() field.Protocol {
	common := []field.Protocol{
		field.IP, field.IP, field.IP, field.IP, field.IP, field.IP, field.IP6, field.IP6, field.IP6, field.IP6, field.ARP, field.None,
	}
	may := slices.DeleteFunc(common, func(p field.Protocol) bool { return !d.mayFollow(p) })
	if len(may) == 0 {
		return field.None
	}
	return d.any(may...)
}

// mayFollow reports whether what is asked for leaves room for a network header.
func (d *draft) mayFollow(net field.Protocol) bool {
	if net == field.None {
		return !d.w.has[field.IP] && !d.w.has[field.IP6] && !d.w.has[field.ARP] && len(d.tagCounts(net)) > 0
	}
	return !d.w.excluded(net) && len(d.tagCounts(net)) > 0
}

// tagCounts are the numbers of tags that what is asked for leaves room for.
func (d *draft) tagCounts(net field.Protocol) []int {
	if d.w.link == field.RawIP {
		return []int{0}
	}
	var counts []int
	for n := range 3 {
		there := []bool{n >= 1, n >= 2}
		for i, tag := range []field.Protocol{field.VLAN, field.CVLAN} {
			if want, known := d.w.has[tag]; known && want != there[i] {
				there = nil
				break
			}
		}
		if there != nil && d.typesFit(n, net) {
			counts = append(counts, n)
		}
	}
	return counts
}

// typesFit reports whether the types that are asked for let n tags stand before
// a network header.
func (d *draft) typesFit(n int, net field.Protocol) bool {
	for i, f := range typeFields[:n+1] {
		in, asked := d.w.wanted(f)
		if !asked {
			continue
		}
		fits := slices.ContainsFunc(tagTypes, func(t uint16) bool { return in.Contains(field.V(uint64(t))) })
		if i == n {
			fits = net == field.None || in.Contains(field.V(uint64(typeOf[net])))
		}
		if !fits {
			return false
		}
	}
	return true
}

// tags chooses the tags, mostly none.
func (d *draft) tags() {
	net := d.net
	if d.hidden {
		net = field.None
	}
	counts := d.tagCounts(net)
	if len(counts) == 0 {
		return
	}
	n := counts[0]
	for _, more := range counts[1:] {
		if d.r.IntN(5) > 0 {
			break
		}
		n = more
	}
	for i := range n {
		d.types = append(d.types, d.typeIn(typeFields[i], tagTypes))
	}
}

// typeIn is one of the types, if possible one that is asked of f.
func (d *draft) typeIn(f *field.Field, types []uint16) uint16 {
	if in, asked := d.w.wanted(f); asked {
		good := slices.DeleteFunc(slices.Clone(types), func(t uint16) bool { return !in.Contains(field.V(uint64(t))) })
		if len(good) > 0 {
			types = good
		}
	}
	return types[d.r.IntN(len(types))]
}

// transportLayer is a header that may follow.
func (d *draft) transportLayer() field.Protocol {
	if d.r.IntN(8) == 0 {
		return field.None
	}
	p := d.any(field.TCP, field.TCP, field.UDP, field.UDP, field.ICMP, field.ICMP6)
	if d.w.excluded(p) || p == field.ICMP && d.net != field.IP || p == field.ICMP6 && d.net != field.IP6 {
		return field.None
	}
	return p
}

// linkLen is the length of what stands before the network header.
func (d *draft) linkLen() int {
	if d.w.link == field.RawIP {
		return 0
	}
	return 14 + 4*len(d.types)
}

// networkLen chooses the length of the network header; of an ip_hl of less
// than 5 there is still room for 20 bytes.
func (d *draft) networkLen() int {
	switch d.net {
	case field.ARP:
		return 28
	case field.IP6:
		return 40 + d.chainLen()
	}
	in, ok := d.w.wanted(ipHL)
	if !ok {
		in = field.All(ipHL.Width)
	}
	if in.Contains(field.V(5)) && d.r.IntN(3) > 0 { // most packets have no options
		return 20
	}
	return 4 * max(5, int(pick(d.r, in).Lo))
}

// link writes the types of the Ethernet header and its tags. A hidden network
// header has another type, or on a link without Ethernet another version.
func (d *draft) link() {
	if d.w.link == field.RawIP {
		return // see version
	}
	for i, t := range d.types {
		binary.BigEndian.PutUint16(d.frame[12+4*i:], t)
	}
	t := typeOf[d.net]
	if d.hidden {
		t = otherType(d.r)
	}
	binary.BigEndian.PutUint16(d.frame[d.l3-2:], t)
}

// version says on a link without Ethernet that the packet is of no known kind.
func (d *draft) version() {
	if d.hidden && d.w.link == field.RawIP {
		others := []byte{0, 1, 2, 3, 5, 7, 8, 15}
		d.frame[d.l3] = others[d.r.IntN(len(others))]<<4 | d.frame[d.l3]&15
	}
}

// otherType is an EtherType that nothing is known of.
func otherType(r *rand.Rand) uint16 {
	common := []uint16{typeCTag, typeSTag, 0x8847, 0x0801, 0x0008, 46, 0x9100, 0x86de, 0x8035}
	return common[r.IntN(len(common))]
}
