package dissect

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"repacket/internal/field"
)

// summary is the packet in the words of tcpdump -nn -S, with tags, which that has with -e
// only. Payloads are not looked into. What was not captured is told as tcpdump does: [|tcp].
func (h *headers) summary() string {
	if h.link == field.RawIP {
		return h.network()
	}
	if !h.has(field.Eth) || !h.captured(0, field.Eth.Header().Fixed) {
		return "[|ether]"
	}
	return h.tags() + h.network()
}

// tags are the VLAN tags: "vlan 100, p 0, ".
func (h *headers) tags() string {
	var b strings.Builder
	for _, tag := range []field.Protocol{field.VLAN, field.CVLAN} {
		if !h.has(tag) || !h.captured(h.at[tag], 2) {
			break
		}
		tci := h.u16(h.at[tag])
		fmt.Fprintf(&b, "vlan %d, p %d, ", tci&0xfff, tci>>13)
		if tci&0x1000 != 0 {
			b.WriteString("DEI, ")
		}
	}
	return b.String()
}

// network is what follows the link layer.
func (h *headers) network() string {
	switch h.etherType {
	case typeARP:
		return h.arp()
	case typeIPv4:
		return h.ipv4()
	case typeIPv6:
		return h.ipv6()
	}
	if h.link == field.RawIP {
		return fmt.Sprintf("unknown IP version, length %d", h.length)
	}
	return h.ethernet()
}

// shortestType is the lowest EtherType; below are the lengths of IEEE 802.3 frames.
const shortestType = 0x0600

// ethernet is a frame that is neither ARP nor IP.
func (h *headers) ethernet() string {
	kind := fmt.Sprintf("ethertype Unknown (0x%04x)", h.etherType)
	if h.etherType < shortestType {
		kind = "802.3"
	} else if word := field.EtherTypeNames.Word(uint64(h.etherType)); word != "" {
		kind = fmt.Sprintf("ethertype %s (0x%04x)", word, h.etherType)
	}
	return fmt.Sprintf("%s > %s, %s, length %d", h.text("eth_src"), h.text("eth_dest"), kind, h.length)
}

// arp is an ARP packet for IPv4 over Ethernet, by operation (RFC 826, RFC 903, RFC 2390).
func (h *headers) arp() string {
	length := h.length - h.next
	switch {
	case h.has(field.ARP) && h.captured(h.at[field.ARP], field.ARP.Header().Fixed):
	case h.captured(h.next, field.ARP.Header().Fixed):
		return fmt.Sprintf("ARP, not IPv4 over Ethernet, length %d", length)
	default:
		return "ARP [|arp]"
	}
	var what string
	switch op := h.get("arp_op"); op {
	case 1:
		target := h.text("arp_tpa")
		if h.get("arp_tha") != 0 {
			target += " (" + h.text("arp_tha") + ")"
		}
		what = fmt.Sprintf("Request who-has %s tell %s", target, h.text("arp_spa"))
	case 2:
		what = fmt.Sprintf("Reply %s is-at %s", h.text("arp_spa"), h.text("arp_sha"))
	case 3:
		what = fmt.Sprintf("Reverse Request who-is %s tell %s", h.text("arp_tha"), h.text("arp_sha"))
	case 4:
		what = fmt.Sprintf("Reverse Reply %s at %s", h.text("arp_tha"), h.text("arp_tpa"))
	case 8:
		what = fmt.Sprintf("Inverse Request who-is %s tell %s", h.text("arp_tha"), h.text("arp_sha"))
	case 9:
		what = fmt.Sprintf("Inverse Reply %s at %s", h.text("arp_sha"), h.text("arp_spa"))
	default:
		what = fmt.Sprintf("Unknown (%d)", op)
	}
	return fmt.Sprintf("ARP, %s, length %d", what, length)
}

// ipv4 is an IPv4 packet (RFC 791).
func (h *headers) ipv4() string {
	at := h.at[field.IP]
	switch {
	case at == missing || !h.captured(at, field.IP.Header().Fixed):
		return "IP [|ip]"
	case h.data[at]>>4 != 4:
		return fmt.Sprintf("IP%d (invalid)", h.data[at]>>4)
	case h.l4.at == 0:
		return fmt.Sprintf("IP bad-hlen %d", 4*(h.data[at]&0xf))
	case h.datagram() < h.l4.at && h.u16(at+2) != 0:
		return fmt.Sprintf("IP bad-len %d", h.u16(at+2))
	}
	lead := "IP "
	if lacking := at + h.u16(at+2) - h.length; lacking > 0 {
		lead += fmt.Sprintf("truncated-ip - %d bytes missing! ", lacking)
	}
	return lead + h.between("ip_src", "ip_dest", "")
}

// ipv6 is an IPv6 packet (RFC 8200).
func (h *headers) ipv6() string {
	at := h.at[field.IP6]
	fixed := field.IP6.Header().Fixed
	switch {
	case at == missing || !h.captured(at, fixed):
		return "IP6 [|ip6]"
	case h.data[at]>>4 != 6:
		return fmt.Sprintf("IP6 version error: %d != 6", h.data[at]>>4)
	}
	lead := "IP6 "
	if lacking := at + fixed + h.u16(at+4) - h.length; lacking > 0 {
		lead += fmt.Sprintf("truncated-ip6 - %d bytes missing!", lacking)
	}
	return lead + h.between("ip6_src", "ip6_dest", h.extensionHeaders())
}

// between is the addresses, with the ports where the transport header follows at once, and
// what is sent between them.
func (h *headers) between(src, dest, extensions string) string {
	from, to, lead := h.text(src), h.text(dest), ""
	if ports := h.ports(); ports != nil {
		if extensions == "" {
			from, to = fmt.Sprintf("%s.%d", from, ports[0]), fmt.Sprintf("%s.%d", to, ports[1])
		} else {
			lead = fmt.Sprintf("%d > %d: ", ports[0], ports[1])
		}
	}
	text := fmt.Sprintf("%s > %s: %s%s%s", from, to, extensions, lead, h.transport())
	return strings.TrimRight(text, " ")
}

// ports are the ports of TCP and UDP, or nil.
func (h *headers) ports() []int {
	for _, p := range []field.Protocol{field.TCP, field.UDP} {
		if at := h.at[p]; at != missing && h.captured(at, 4) {
			return []int{h.u16(at), h.u16(at + 2)}
		}
	}
	return nil
}

// extensionHeaders are the IPv6 extension headers, each with a blank behind it.
func (h *headers) extensionHeaders() string {
	var b strings.Builder
	for _, x := range h.extensions {
		switch x.number {
		case hopByHop:
			b.WriteString("HBH ")
		case destination:
			b.WriteString("DSTOPT ")
		case routing:
			fmt.Fprintf(&b, "RT6 (len=%d, type=%s, segleft=%d) ", h.data[x.at+1], routingType(h.data[x.at+2]), h.data[x.at+3])
		case fragmentNext:
			fmt.Fprintf(&b, "frag (%d|%d) ", h.u16(x.at+2)&^7, h.datagram()-x.at-extensionUnit)
		}
	}
	return b.String()
}

// routingType is the type of a routing header; RFC 5095 deprecates type 0.
func routingType(t uint8) string {
	if t == 0 {
		return "0 [Deprecated]"
	}
	return strconv.Itoa(int(t))
}

// datagram is the end of the datagram by its own length, which may be beyond that of the
// packet.
func (h *headers) datagram() int {
	if at := h.at[field.IP]; at != missing && h.u16(at+2) != 0 {
		return at + h.u16(at+2)
	}
	if at := h.at[field.IP6]; at != missing && h.u16(at+4) != 0 {
		return at + field.IP6.Header().Fixed + h.u16(at+4)
	}
	return h.length
}

// transport is what follows the IP header and the extension headers.
func (h *headers) transport() string {
	rest := h.datagram() - h.l4.at
	overIPv6 := h.has(field.IP6)
	switch {
	case h.fragment.offset != 0 && overIPv6:
		return "" // told by the fragment header
	case h.fragment.offset != 0:
		return fmt.Sprintf("ip-proto-%d", h.l4.number)
	case h.l4.number == noNext:
		return "no next header"
	case h.has(field.TCP):
		return h.tcp(rest)
	case h.has(field.UDP):
		return h.udp(rest)
	case h.has(field.ICMP):
		return h.icmp(rest)
	case h.has(field.ICMP6):
		return h.icmp6(rest)
	}
	return h.unknown(rest)
}

// unknown is a protocol that is not looked into, or one whose header is cut off.
func (h *headers) unknown(rest int) string {
	known := []field.Protocol{field.TCP, field.UDP, field.ICMP}
	if h.has(field.IP6) {
		known[2] = field.ICMP6
	}
	if i := slices.IndexFunc(known, func(p field.Protocol) bool { return p.Header().Number == uint16(h.l4.number) }); i >= 0 {
		return "[|" + known[i].String() + "]"
	}
	return fmt.Sprintf("ip-proto-%d %d", h.l4.number, max(0, rest))
}

// udp is a UDP header (RFC 768).
func (h *headers) udp(rest int) string {
	at, fixed := h.at[field.UDP], field.UDP.Header().Fixed
	if !h.captured(at, fixed) {
		return "[|udp]"
	}
	claimed := h.u16(at + 4)
	switch whole := rest - fixed; {
	case claimed < fixed && whole >= 0xffff-fixed: // a jumbogram, RFC 2675
		return fmt.Sprintf("UDP, length %d", whole)
	case claimed < fixed:
		return fmt.Sprintf("truncated-udp %d", claimed)
	case claimed > rest && !h.fragment.more:
		return fmt.Sprintf("UDP, bad length %d > %d", claimed-fixed, whole)
	}
	return fmt.Sprintf("UDP, length %d", claimed-fixed)
}

// get is the value of a field of at most 64 bits that was captured.
func (h *headers) get(name string) uint64 {
	v, _ := h.value(field.MustByName(name), h.data)
	return v.Lo
}

// address4 and address6 are addresses at a place.
func (h *headers) address4(at int) string {
	return netip.AddrFrom4([4]byte(h.data[at:])).String()
}

func (h *headers) address6(at int) string {
	return netip.AddrFrom16([16]byte(h.data[at:])).String()
}
