package dissect

import (
	"fmt"

	"repacket/internal/field"
)

// icmp is an ICMP message (RFC 792).
func (h *headers) icmp(rest int) string {
	at := h.at[field.ICMP]
	if !h.captured(at, field.ICMP.Header().Fixed) {
		return "[|icmp]"
	}
	return fmt.Sprintf("ICMP %s, length %d", h.icmpMessage(at), rest)
}

// icmpMessage is what the message at a place says.
func (h *headers) icmpMessage(at int) string {
	code := h.data[at+1]
	switch kind := h.data[at]; kind {
	case 8, 0:
		word := "reply"
		if kind == 8 {
			word = "request"
		}
		return fmt.Sprintf("echo %s, id %d, seq %d", word, h.u16(at+4), h.u16(at+6))
	case 3:
		return h.icmpUnreachable(at, code)
	case 4:
		return "source quench"
	case 5:
		return h.icmpRedirect(at, code)
	case 9:
		return "router advertisement"
	case 10:
		return "router solicitation"
	case 11:
		return icmpTimeExceeded(code)
	case 12:
		if code != 0 {
			return fmt.Sprintf("parameter problem - code %d", code)
		}
		return fmt.Sprintf("parameter problem - octet %d", h.data[at+4])
	case 13:
		return fmt.Sprintf("time stamp query id %d seq %d", h.u16(at+4), h.u16(at+6))
	case 14:
		return fmt.Sprintf("time stamp reply id %d seq %d", h.u16(at+4), h.u16(at+6))
	case 15:
		return "information request"
	case 16:
		return "information reply"
	case 17:
		return "address mask request"
	case 18:
		return "address mask reply"
	default:
		return fmt.Sprintf("type-#%d", kind)
	}
}

// icmpTimeExceeded is a packet that was under way too long.
func icmpTimeExceeded(code uint8) string {
	switch code {
	case 0:
		return "time exceeded in-transit"
	case 1:
		return "ip reassembly time exceeded"
	}
	return fmt.Sprintf("time exceeded-#%d", code)
}

// quoted is the packet that an ICMP error quotes.
type quoted struct {
	src, dest string
	protocol  uint8
	port      int // the destination's, 0 where it was not captured
}

// quote4 reads the IPv4 packet that is quoted at a place.
func (h *headers) quote4(at int) (q quoted, ok bool) {
	if !h.captured(at, field.IP.Header().Fixed) {
		return q, false
	}
	q = quoted{src: h.address4(at + 12), dest: h.address4(at + 16), protocol: h.data[at+9]}
	if l4 := at + 4*int(h.data[at]&0xf); h.captured(l4, 4) {
		q.port = h.u16(l4 + 2)
	}
	return q, true
}

// quote6 reads the IPv6 packet that is quoted at a place.
func (h *headers) quote6(at int) (q quoted, ok bool) {
	fixed := field.IP6.Header().Fixed
	if !h.captured(at, fixed) {
		return q, false
	}
	q = quoted{src: h.address6(at + 8), dest: h.address6(at + 24), protocol: h.data[at+6]}
	if h.captured(at+fixed, 4) {
		q.port = h.u16(at + fixed + 2)
	}
	return q, true
}

// portText is the protocol and the port of a quoted packet: "udp port 53".
func (q quoted) portText() string {
	for _, p := range []field.Protocol{field.TCP, field.UDP} {
		if uint16(q.protocol) == p.Header().Number {
			return fmt.Sprintf("%s port %d", p, q.port)
		}
	}
	return fmt.Sprintf("protocol %d port %d", q.protocol, q.port)
}

// unreachable are the texts of a destination that cannot be reached, by code (RFC 792, RFC
// 1122, RFC 1812); %s is the destination.
var unreachable = map[uint8]string{
	0: "net %s unreachable", 1: "host %s unreachable", 5: "%s unreachable - source route failed",
	6: "net %s unreachable - unknown", 7: "host %s unreachable - unknown", 8: "%s unreachable - source host isolated",
	9: "net %s unreachable - admin prohibited", 10: "host %s unreachable - admin prohibited",
	11: "net %s unreachable - tos prohibited", 12: "host %s unreachable - tos prohibited",
	13: "host %s unreachable - admin prohibited filter", 14: "host %s unreachable - host precedence violation",
	15: "host %s unreachable - precedence cutoff",
}

// icmpUnreachable is a destination that cannot be reached.
func (h *headers) icmpUnreachable(at int, code uint8) string {
	q, ok := h.quote4(at + field.ICMP.Header().Fixed)
	switch format, known := unreachable[code], unreachable[code] != ""; {
	case !ok:
		return fmt.Sprintf("unreachable - #%d", code)
	case known:
		return fmt.Sprintf(format, q.dest)
	case code == 2:
		return fmt.Sprintf("%s protocol %d unreachable", q.dest, q.protocol)
	case code == 3:
		return fmt.Sprintf("%s %s unreachable", q.dest, q.portText())
	case code == 4:
		return fmt.Sprintf("%s unreachable - need to frag (mtu %d)", q.dest, h.u16(at+6))
	default:
		return fmt.Sprintf("%s unreachable - #%d", q.dest, code)
	}
}

// icmpRedirect names a better router.
func (h *headers) icmpRedirect(at int, code uint8) string {
	q, ok := h.quote4(at + field.ICMP.Header().Fixed)
	if !ok {
		return fmt.Sprintf("redirect-#%d", code)
	}
	formats := [...]string{
		"redirect %s to net %s", "redirect %s to host %s", "redirect-tos %s to net %s", "redirect-tos %s to host %s",
	}
	router := h.address4(at + 4)
	if int(code) < len(formats) {
		return fmt.Sprintf(formats[code], q.dest, router)
	}
	return fmt.Sprintf("redirect-#%d %s to %s", code, q.dest, router)
}
