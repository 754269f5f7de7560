package guard

import (
	"fmt"
	"net"
	"net/netip"

	"repacket/internal/field"
	"repacket/internal/packetset"
)

// flow is packets of one direction that a connection needs.
type flow struct {
	of Connection
	// needs is what the packets are for the connection, such as "ARP", or "" for its own.
	needs string
	text  string
	in    packetset.Set
	// discovery: receivers drop the packets if their hop limit is not 255 (RFC 4861).
	discovery bool
}

// builder makes sets of packets.
type builder struct{ *packetset.Budget }

// with are the packets of a set that have a field with one of some values.
func (b builder) with(s packetset.Set, name string, in ...field.Range) packetset.Set {
	return b.Intersect(s, packetset.Where(field.MustByName(name), field.NewSet(in...)))
}

// without are the packets of a set that lack a header.
func (b builder) without(s packetset.Set, p field.Protocol) packetset.Set {
	return b.Intersect(s, packetset.Without(p))
}

// flows are what the connection needs in a direction at the interface of the rules.
func (b builder) flows(c Connection, leaves bool) []flow {
	toward := leaves != c.Link.Mirrored // what goes to the other end
	out := []flow{{of: c, text: c.text(toward), in: b.own(c, toward)}}
	hop := c.Link.NextHop
	if c.Link.Quiet {
		return out
	}
	if !hop.IsValid() {
		hop = Any(c.There.Addr())
	}
	if hop.Is4() {
		return append(out, b.arp(c, hop, toward))
	}
	return append(out, b.discovery(c, hop, toward))
}

// own are the connection's own packets.
func (b builder) own(c Connection, toward bool) packetset.Set {
	from, to := c.There, c.Here
	if toward {
		from, to = to, from
	}
	s := b.link(c.Link, toward, false)
	s = b.ends(s, prefixOf(from.Addr()), from.Addr(), to.Addr())
	if c.Protocol != field.None {
		s = b.Intersect(s, packetset.With(c.Protocol))
		s = b.port(s, c.Protocol.String()+"_src", from.Port())
		s = b.port(s, c.Protocol.String()+"_dest", to.Port())
	}
	if c.Established {
		s = b.established(s, from.Addr().Is4())
	}
	return s
}

// established are packets of an open TCP connection.
func (b builder) established(s packetset.Set, four bool) packetset.Set {
	s = b.with(b.without(s, field.MSS), "tcp_syn", one(0))
	if !four {
		return b.with(s, "ip6_next", one(uint64(field.TCP.Header().Number)))
	}
	s = b.with(s, "ip_ver", one(4))
	s = b.with(s, "ip_hl", one(5))
	return b.with(s, "ip_flags", one(0), one(flagDF))
}

// flagDF is the flag DF in ip_flags.
const flagDF = 2

// prefixOf is what the names of an address's header begin with.
func prefixOf(a netip.Addr) string {
	if a.Is4() {
		return "ip"
	}
	return "ip6"
}

// ends are the packets with two addresses.
func (b builder) ends(s packetset.Set, prefix string, from, to netip.Addr) packetset.Set {
	p, _ := field.ProtocolByName(prefix)
	s = b.Intersect(s, packetset.With(p))
	if !from.IsUnspecified() {
		s = b.with(s, prefix+"_src", addr(from))
	}
	if !to.IsUnspecified() {
		s = b.with(s, prefix+"_dest", addr(to))
	}
	return s
}

func (b builder) port(s packetset.Set, name string, port uint16) packetset.Set {
	if port == 0 {
		return s
	}
	return b.with(s, name, one(uint64(port)))
}

// broadcast is the destination of ARP requests, and multicast6 are those of neighbor
// discovery (RFC 2464).
var (
	broadcast  = one(1<<48 - 1)
	multicast6 = field.Range{Lo: field.V(0x333300000000), Hi: field.V(0x3333ffffffff)}
)

// link are the packets with what is known of their Ethernet header and tags. Those that find
// neighbors may go to all or several of them.
func (b builder) link(l Link, toward, several bool) packetset.Set {
	s := packetset.All()
	switch {
	case l.Bare:
		return b.without(s, field.Eth)
	case !l.Ethernet:
		return s
	}
	s = packetset.With(field.Eth)
	if l.Tags != nil {
		var tagged packetset.Set
		for _, ids := range l.Tags {
			tagged = b.Union(tagged, b.tagged(ids))
		}
		s = b.Intersect(s, tagged)
	}
	from, to := l.From, l.Own
	if toward {
		from, to = l.Own, l.Hop
	}
	if from != nil {
		s = b.with(s, "eth_src", mac(from))
	}
	switch {
	case to != nil && several:
		s = b.with(s, "eth_dest", mac(to), broadcast, multicast6)
	case to != nil:
		s = b.with(s, "eth_dest", mac(to))
	}
	return s
}

// tagged are the packets with just these tags.
func (b builder) tagged(ids []uint16) packetset.Set {
	names := []string{"vlan_id", "cvlan_id"}
	headers := []field.Protocol{field.VLAN, field.CVLAN}
	s := packetset.With(field.Eth)
	for i, name := range names {
		if i < len(ids) {
			s = b.with(s, name, one(uint64(ids[i])))
		} else {
			s = b.without(s, headers[i])
		}
	}
	return s
}

// arp are the ARP packets between this machine and the next hop: requests and replies.
func (b builder) arp(c Connection, hop netip.Addr, toward bool) flow {
	here := c.Here.Addr()
	if !here.Is4() { // the next hop has an address of another family
		here = Any(hop)
	}
	from, to := hop, here
	if toward {
		from, to = to, from
	}
	s := b.Intersect(b.link(c.Link, toward, true), packetset.With(field.ARP))
	s = b.with(s, "arp_op", field.Range{Lo: field.V(1), Hi: field.V(2)})
	if !from.IsUnspecified() {
		s = b.with(s, "arp_spa", addr(from))
	}
	if !to.IsUnspecified() {
		s = b.with(s, "arp_tpa", addr(to))
	}
	return flow{
		of: c, needs: "ARP", in: s,
		text: fmt.Sprintf("%sarp %s > %s", c.Link.tags(), endText(netip.AddrPortFrom(from, 0)), endText(netip.AddrPortFrom(to, 0))),
	}
}

// The messages of neighbor discovery (RFC 4861) are router solicitations to neighbor advertisements.
const (
	routerSolicitation    = 133
	neighborAdvertisement = 136
)

// discovery are the messages of neighbor discovery between this machine and the next hop. They
// come from one of its addresses, of which one is of the link, and go to one or to those that
// listen for it.
func (b builder) discovery(c Connection, hop netip.Addr, toward bool) flow {
	here := c.Here.Addr()
	if here.Is4() {
		here = Any(hop)
	}
	from, to := hop, here
	if toward {
		from, to = to, from
	}
	s := b.Intersect(b.link(c.Link, toward, true), packetset.With(field.ICMP6))
	s = b.with(s, "icmp6_type", field.Range{Lo: field.V(routerSolicitation), Hi: field.V(neighborAdvertisement)})
	s = b.with(s, "ip6_hlim", one(255))
	s = b.with(s, "ip6_next", one(uint64(field.ICMP6.Header().Number)))
	linkLocal := within(netip.MustParsePrefix("fe80::/10"))
	if !from.IsUnspecified() {
		s = b.with(s, "ip6_src", addr(from), linkLocal, addr(netip.IPv6Unspecified()))
	}
	if !to.IsUnspecified() {
		s = b.with(s, "ip6_dest", addr(to), linkLocal, within(netip.MustParsePrefix("ff02::/16")))
	}
	return flow{
		of: c, needs: "neighbor discovery", in: s, discovery: true,
		text: fmt.Sprintf("%sicmp6 %s > %s, neighbor discovery", c.Link.tags(), endText(netip.AddrPortFrom(from, 0)), endText(netip.AddrPortFrom(to, 0))),
	}
}

// one is a single value.
func one(v uint64) field.Range { return field.Range{Lo: field.V(v), Hi: field.V(v)} }

// addr is an address as the value of a field.
func addr(a netip.Addr) field.Range {
	v := bytesOf(a.AsSlice())
	return field.Range{Lo: v, Hi: v}
}

// within are the addresses of a prefix of IPv6.
func within(p netip.Prefix) field.Range {
	lo := bytesOf(p.Masked().Addr().AsSlice())
	return field.Range{Lo: lo, Hi: lo.Or(field.Ones(128 - p.Bits()))}
}

func mac(a net.HardwareAddr) field.Range {
	v := bytesOf(a)
	return field.Range{Lo: v, Hi: v}
}

// bytesOf reads at most 16 bytes in network byte order.
func bytesOf(b []byte) (v field.Value) {
	for _, x := range b {
		v = field.Value{Hi: v.Hi<<8 | v.Lo>>56, Lo: v.Lo<<8 | uint64(x)}
	}
	return v
}
