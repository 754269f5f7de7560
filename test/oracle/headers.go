package oracle

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"repacket/internal/field"
)

// headers are the outermost headers of a packet as the outside library decodes
// them; those that it does not find are nil.
type headers struct {
	eth   *layers.Ethernet
	tags  []*layers.Dot1Q
	arp   *layers.ARP
	ip    *layers.IPv4
	ip6   *layers.IPv6
	tcp   *layers.TCP
	udp   *layers.UDP
	icmp  *layers.ICMPv4
	icmp6 *layers.ICMPv6
	// quote are those of the packet that an ICMP error quotes, or nil.
	quote *headers
	// routed: a routing header has segments left, so ip6_dest is not the last
	// destination; known: and the library finds out which is.
	routed, known bool
	extensions    []gopacket.LayerType
	// home is what the option Home Address holds (RFC 6275 section 6.3).
	home []byte
}

// pseudoSource is the IPv6 header with the source that the pseudo-header has.
func (h *headers) pseudoSource() *layers.IPv6 {
	if h.home == nil {
		return h.ip6
	}
	ip6 := *h.ip6
	ip6.SrcIP = h.home
	return &ip6
}

// decode has the outside library take a frame apart.
func decode(link field.Link, frame []byte) headers {
	var h headers
	if len(frame) == 0 {
		return h
	}
	first := gopacket.Decoder(layers.LayerTypeEthernet)
	if link == field.RawIP {
		first = layers.LayerTypeIPv4
		if frame[0]>>4 == 6 {
			first = layers.LayerTypeIPv6
		}
	}
	for _, l := range gopacket.NewPacket(bytes.Clone(frame), first, gopacket.Default).Layers() {
		if !h.take(l) {
			break
		}
	}
	if quoted := h.quoted(); quoted != nil {
		inside := decode(field.RawIP, quoted)
		h.quote = &inside
	}
	return h
}

// quoted is the packet that an ICMP error quotes, as far as it does, or nil.
func (h *headers) quoted() []byte {
	switch {
	case h.icmp != nil && slices.Contains([]uint8{3, 4, 11, 12}, h.icmp.TypeCode.Type()):
		return h.icmp.Payload
	case h.icmp6 != nil && h.icmp6.TypeCode.Type() >= 1 && h.icmp6.TypeCode.Type() <= 4 && len(h.icmp6.Payload) >= 4:
		return h.icmp6.Payload[4:] // 4 bytes are the message's
	}
	return nil
}

// take adds a layer; it is false when what follows is none of the outermost
// headers.
func (h *headers) take(l gopacket.Layer) bool {
	switch l := l.(type) {
	case *layers.Ethernet:
		h.eth = l
		return true
	case *layers.Dot1Q:
		h.tags = append(h.tags, l)
		return len(h.tags) <= 2 // more are not stepped over
	case *layers.ARP:
		h.arp = l
		return false
	case *layers.IPv4:
		if h.tunnel() {
			return false
		}
		h.ip = l
		return true
	case *layers.IPv6:
		if h.tunnel() {
			return false
		}
		h.ip6 = l
		return true
	}
	if h.takeExtension(l) {
		return true
	}
	h.takeTransport(l)
	return false
}

// tunnel reports whether another IP header is one inside.
func (h *headers) tunnel() bool { return h.ip != nil || h.ip6 != nil }

// takeExtension adds one of at most eight extension headers.
func (h *headers) takeExtension(l gopacket.Layer) bool {
	t := l.LayerType()
	switch {
	case h.ip6 == nil || len(h.extensions) == 8:
		return false
	case t == layers.LayerTypeIPv6HopByHop && len(h.extensions) > 0:
		return false
	case t == layers.LayerTypeIPv6HopByHop, t == layers.LayerTypeIPv6Fragment:
	case t == layers.LayerTypeIPv6Destination:
		for _, o := range l.(*layers.IPv6Destination).Options {
			if h.home == nil && o.OptionType == 0xc9 && len(o.OptionData) == 16 {
				h.home = o.OptionData
			}
		}
	case t == layers.LayerTypeIPv6Routing:
		r := l.(*layers.IPv6Routing)
		if r.SegmentsLeft > 0 && !h.routed {
			h.routed = true
			h.known = r.RoutingType < 5 && r.RoutingType%2 == 0 && len(r.Contents) >= 24 && !h.behindFragment()
		}
	default:
		return false
	}
	h.extensions = append(h.extensions, t)
	return true
}

func (h *headers) behindFragment() bool {
	for _, t := range h.extensions {
		if t == layers.LayerTypeIPv6Fragment {
			return true
		}
	}
	return false
}

// takeTransport adds the transport header, if it follows IP.
func (h *headers) takeTransport(l gopacket.Layer) {
	if h.ip == nil && h.ip6 == nil {
		return
	}
	switch l := l.(type) {
	case *layers.TCP:
		h.tcp = l
	case *layers.UDP:
		h.udp = l
	case *layers.ICMPv4:
		if h.ip != nil {
			h.icmp = l
		}
	case *layers.ICMPv6:
		if h.ip6 != nil {
			h.icmp6 = l
		}
	}
}

// has reports whether the library found the header.
func (h *headers) has(p field.Protocol) bool {
	if p.IsQuoted() {
		return h.quote != nil && h.quote.has(field.Unquoted(p))
	}
	switch p {
	case field.Eth:
		return h.eth != nil
	case field.VLAN:
		return len(h.tags) > 0
	case field.CVLAN:
		return len(h.tags) > 1
	case field.ARP:
		return h.arp != nil && h.arp.AddrType == layers.LinkTypeEthernet && h.arp.Protocol == layers.EthernetTypeIPv4 &&
			h.arp.HwAddressSize == 6 && h.arp.ProtAddressSize == 4
	case field.IP:
		// The library reads the options before the version, and gives up in between.
		return h.ip != nil && len(h.ip.Contents) >= 20 && h.ip.Version != 0
	case field.IP6:
		return h.ip6 != nil && len(h.ip6.Contents) >= 40
	case field.TCP:
		return h.tcp != nil && len(h.tcp.Contents) >= 20
	case field.MSS:
		_, ok := h.mss()
		return ok
	case field.UDP:
		return h.udp != nil && len(h.udp.Contents) >= 8
	case field.ICMP:
		return h.icmp != nil && len(h.icmp.Contents) >= 8
	case field.ICMP6:
		return h.icmp6 != nil && len(h.icmp6.Contents) >= 4
	}
	return false
}

// mss is the first whole option MSS.
func (h *headers) mss() (v uint64, ok bool) {
	if h.tcp == nil {
		return 0, false
	}
	for _, o := range h.tcp.Options {
		if o.OptionType == layers.TCPOptionKindMSS && len(o.OptionData) == 2 {
			return uint64(binary.BigEndian.Uint16(o.OptionData)), true
		}
	}
	return 0, false
}
