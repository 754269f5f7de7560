package dissect

import (
	"fmt"

	"repacket/internal/field"
)

// icmp6 is an ICMPv6 message.
func (h *headers) icmp6(rest int) string {
	at := h.at[field.ICMP6]
	if !h.captured(at, field.ICMP6.Header().Fixed) {
		return "[|icmp6]"
	}
	return fmt.Sprintf("ICMP6, %s, length %d", h.icmp6Message(at), rest)
}

// messageStart is the part of an ICMPv6 message before what it quotes or names.
const messageStart = 8

// icmp6Message is what the message at a place says: RFC 4443, RFC 4861 (neighbor discovery),
// RFC 2710 and RFC 3810 (multicast listeners).
func (h *headers) icmp6Message(at int) string {
	kind := h.data[at]
	if !h.captured(at, messageStart) {
		return fmt.Sprintf("type %d [|icmp6]", kind)
	}
	switch kind {
	case 1, 3:
		return h.icmp6Unreachable(at, kind, h.data[at+1])
	case 2:
		return fmt.Sprintf("packet too big, mtu %d", h.u32(at+4))
	case 4:
		return h.icmp6Parameter(at)
	case 128, 129:
		word := "reply"
		if kind == 128 {
			word = "request"
		}
		return fmt.Sprintf("echo %s, id %d, seq %d", word, h.u16(at+4), h.u16(at+6))
	case 130, 131, 132:
		word := [...]string{"query", "report", "done"}[kind-130]
		return "multicast listener " + word + h.named(at, " addr: %s")
	case 133:
		return "router solicitation"
	case 134:
		return "router advertisement"
	case 135:
		return "neighbor solicitation" + h.named(at, ", who has %s")
	case 136:
		return "neighbor advertisement" + h.named(at, ", tgt is %s")
	case 137:
		return h.icmp6Redirect(at)
	case 143:
		return fmt.Sprintf("multicast listener report v2, %d group record(s)", h.u16(at+6))
	default:
		return fmt.Sprintf("unknown icmp6 type (%d)", kind)
	}
}

// named is a text with the address behind the start of the message, if it was captured.
func (h *headers) named(at int, format string) string {
	const size = 16
	if !h.captured(at+messageStart, size) {
		return ""
	}
	return fmt.Sprintf(format, h.address6(at+messageStart))
}

// icmp6Unreachable is a destination that cannot be reached or was not in time (RFC 4443
// sections 3.1 and 3.3).
func (h *headers) icmp6Unreachable(at int, kind, code uint8) string {
	q, ok := h.quote6(at + messageStart)
	switch {
	case kind == 3 && code == 1:
		return "time exceeded in-transit (reassembly)"
	case kind == 3 && ok && code == 0:
		return "time exceeded in-transit for " + q.dest
	case kind == 3:
		return fmt.Sprintf("time exceeded, code %d", code)
	case !ok || int(code) >= len(unreachable6):
		return fmt.Sprintf("destination unreachable, unreachable code-#%d", code)
	case code == 2:
		return fmt.Sprintf("destination unreachable, beyond scope %s, source address %s", q.dest, q.src)
	case code == 4:
		return fmt.Sprintf("destination unreachable, unreachable port, %s %s", q.dest, q.portText())
	}
	return fmt.Sprintf("destination unreachable, unreachable %s %s", unreachable6[code], q.dest)
}

// unreachable6 says what was not reached, by code (RFC 4443 section 3.1).
var unreachable6 = [...]string{"route", "prohibited", "", "address", "port"}

// icmp6Parameter is a field that was not understood (RFC 4443 section 3.4).
func (h *headers) icmp6Parameter(at int) string {
	what := [...]string{"erroneous", "next header", "option"}
	if code := int(h.data[at+1]); code < len(what) {
		return fmt.Sprintf("parameter problem, %s - octet %d", what[code], h.u32(at+4))
	}
	return fmt.Sprintf("parameter problem, code-#%d", h.data[at+1])
}

// icmp6Redirect names a better next hop (RFC 4861 section 4.5).
func (h *headers) icmp6Redirect(at int) string {
	const target, dest, end = 8, 24, 40
	if !h.captured(at, end) {
		return "redirect"
	}
	return fmt.Sprintf("redirect, %s to %s", h.address6(at+dest), h.address6(at+target))
}
