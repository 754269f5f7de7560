package dissect

import (
	"encoding/binary"

	"repacket/internal/field"
)

// headers says which headers a packet has (semantics.md 3.6) and where they begin. What was
// not captured is looked for by the lengths that the packet claims; a header of which nothing
// was captured is not there.
type headers struct {
	link   field.Link
	data   []byte // as captured
	length int    // at the hook
	at     [field.MSS + 1]int
	// etherType is the type of what follows the link layer and the tags, and next where it begins.
	etherType uint16
	next      int
	// end is the end of the datagram.
	end int
	// l4 is what follows the IP header and, over IPv6, the extension headers.
	l4         protocolAt
	extensions []protocolAt
	// fragment: offset in bytes and whether others follow; over IPv6 of the fragment header.
	fragment fragment
}

// protocolAt is an IP protocol number and where its header begins.
type protocolAt struct {
	number uint8
	at     int
}

// fragment is a part of a datagram: its place in bytes.
type fragment struct {
	offset int
	more   bool
}

// The numbers of what is parsed: EtherTypes (IEEE 802 Numbers), IP protocols (IANA).
const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
	typeCTag = 0x8100
	typeSTag = 0x88a8

	hopByHop     = 0
	routing      = 43
	fragmentNext = 44
	noNext       = 59
	destination  = 60

	extensionUnit = 8 // RFC 8200 section 4: lengths are multiples of it
	maxExtensions = 8
)

const missing = -1

// parse finds the headers of a packet.
func parse(link field.Link, data []byte, length int) *headers {
	h := &headers{link: link, data: data, length: max(length, len(data)), next: missing}
	for i := range h.at {
		h.at[i] = missing
	}
	h.end = h.length
	switch {
	case link == field.RawIP && h.captured(0, 1):
		h.parseNetwork(map[byte]uint16{4: typeIPv4, 6: typeIPv6}[data[0]>>4], 0)
	case link == field.Ethernet && h.find(field.Eth, 0):
		h.parseEthernet()
	}
	return h
}

// has reports whether the header is there.
func (h *headers) has(p field.Protocol) bool { return h.at[p] != missing }

// captured reports whether n bytes from at are there to be read.
func (h *headers) captured(at, n int) bool { return at >= 0 && at+n <= len(h.data) }

func (h *headers) u16(at int) int { return int(binary.BigEndian.Uint16(h.data[at:])) }

func (h *headers) u32(at int) uint32 { return binary.BigEndian.Uint32(h.data[at:]) }

// find notes a header at a place, if its fixed part is within the datagram and its first
// byte was captured. It reports whether all of the fixed part was captured.
func (h *headers) find(p field.Protocol, at int) bool {
	fixed := p.Header().Fixed
	if at+fixed > h.end || !h.captured(at, 1) {
		return false
	}
	h.at[p] = at
	return h.captured(at, fixed)
}

// parseEthernet finds at most two tags, and what follows.
func (h *headers) parseEthernet() {
	next := field.Eth.Header().Fixed
	t := h.u16(next - 2)
	for _, tag := range []field.Protocol{field.VLAN, field.CVLAN} {
		if t != typeCTag && t != typeSTag {
			break
		}
		if !h.find(tag, next) {
			if h.has(tag) {
				return // cut off within the tag
			}
			break
		}
		next += tag.Header().Fixed
		t = h.u16(next - 2)
	}
	h.parseNetwork(uint16(t), next)
}

// parseNetwork finds the header that an EtherType announces.
func (h *headers) parseNetwork(etherType uint16, at int) {
	h.etherType, h.next = etherType, at
	switch etherType {
	case typeARP:
		if h.captured(at, 6) && [6]byte(h.data[at:]) == [6]byte{0, 1, 8, 0, 6, 4} {
			h.find(field.ARP, at)
		}
	case typeIPv4:
		if h.find(field.IP, at) {
			h.parseIPv4(at)
		}
	case typeIPv6:
		if h.find(field.IP6, at) {
			h.parseIPv6(at)
		}
	}
}

// parseIPv4 finds what follows an IPv4 header (RFC 791). A total length of 0 is no limit.
func (h *headers) parseIPv4(at int) {
	headerLen := 4 * int(h.data[at]&0xf)
	if h.data[at]>>4 != 4 || headerLen < field.IP.Header().Fixed {
		return
	}
	if total := h.u16(at + 2); total != 0 {
		h.end = min(h.end, at+total)
	}
	frag := h.u16(at + 6)
	h.fragment = fragment{8 * (frag & 0x1fff), frag&0x2000 != 0}
	h.l4 = protocolAt{h.data[at+9], at + headerLen}
	if h.fragment.offset == 0 {
		h.parseTransport(field.TCP, field.UDP, field.ICMP)
	}
}

// parseIPv6 finds what follows an IPv6 header (RFC 8200) and its extension headers. A payload
// length of 0 is no limit.
func (h *headers) parseIPv6(at int) {
	fixed := field.IP6.Header().Fixed
	if h.data[at]>>4 != 6 {
		return
	}
	if payload := h.u16(at + 4); payload != 0 {
		h.end = min(h.end, at+fixed+payload)
	}
	h.l4 = protocolAt{h.data[at+6], at + fixed}
	for isExtension(h.l4.number, len(h.extensions)) {
		here := h.l4.at
		if here+extensionUnit > h.end || !h.captured(here, extensionUnit) || len(h.extensions) == maxExtensions {
			return
		}
		h.extensions = append(h.extensions, h.l4)
		length := extensionUnit * (1 + int(h.data[here+1]))
		if h.l4.number == fragmentNext {
			length = extensionUnit
			frag := h.u16(here + 2)
			h.fragment = fragment{frag &^ 7, frag&1 != 0}
			if h.fragment.offset != 0 {
				h.l4 = protocolAt{h.data[here], here + length}
				return
			}
		}
		h.l4 = protocolAt{h.data[here], here + length}
	}
	h.parseTransport(field.TCP, field.UDP, field.ICMP6)
}

// isExtension reports whether a header is one to step over. Hop-by-hop options stand in
// front or nowhere.
func isExtension(number uint8, behind int) bool {
	switch number {
	case hopByHop:
		return behind == 0
	case routing, fragmentNext, destination:
		return true
	}
	return false
}

// parseTransport finds the header at l4, if it is of one of the protocols.
func (h *headers) parseTransport(protocols ...field.Protocol) {
	for _, p := range protocols {
		if uint16(h.l4.number) == p.Header().Number && h.find(p, h.l4.at) && p == field.TCP {
			h.findMSS()
		}
	}
}

// findMSS finds the option MSS (RFC 9293 section 3.1), if all of the TCP header is within the
// datagram and captured.
func (h *headers) findMSS() {
	end := h.at[field.TCP] + h.tcpLen()
	if end > h.end || end > len(h.data) {
		return
	}
	for _, o := range h.tcpOptions() {
		if o.malformed {
			return
		}
		if o.kind == optionMSS && len(o.data) == 2 {
			h.at[field.MSS] = o.at
			return
		}
	}
}

// tcpLen is the length in bytes that the TCP header claims.
func (h *headers) tcpLen() int { return 4 * int(h.data[h.at[field.TCP]+12]>>4) }

// The kinds of TCP options (IANA, TCP Option Kind Numbers).
const (
	optionEnd        = 0
	optionNop        = 1
	optionMSS        = 2
	optionScale      = 3
	optionSACKOK     = 4
	optionSACK       = 5
	optionTimestamps = 8
)

// option is one TCP option.
type option struct {
	kind uint8
	at   int // of the kind
	data []byte
	// malformed: its length cannot be, so nothing behind it can be told.
	malformed bool
}

// tcpOptions are the options of the TCP header, as far as they were captured.
func (h *headers) tcpOptions() []option {
	at := h.at[field.TCP] + field.TCP.Header().Fixed
	end := min(h.at[field.TCP]+h.tcpLen(), h.end, len(h.data))
	var options []option
	for at < end {
		kind := h.data[at]
		if kind == optionEnd || kind == optionNop {
			options = append(options, option{kind: kind, at: at})
			if kind == optionEnd {
				break
			}
			at++
			continue
		}
		if at+1 >= end || h.data[at+1] < 2 || at+int(h.data[at+1]) > end {
			return append(options, option{kind: kind, at: at, malformed: true})
		}
		next := at + int(h.data[at+1])
		options = append(options, option{kind: kind, at: at, data: h.data[at+2 : next]})
		at = next
	}
	return options
}
