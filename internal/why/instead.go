package why

import (
	"fmt"

	"repacket/internal/field"
)

// Where a header is missing, what is seen is the innermost header that is there instead, or
// what that one says follows. It is a number of 32 bits, the upper half of which says which of these
// it is.
const (
	isHeader = iota + 1
	isProtocol
	isLaterFragment
	isNext
	isEtherType
	isNoIP
)

func instead(kind, number uint64) field.Value { return field.V(kind<<16 | number) }

// Header is a header of the language.
func Header(p field.Protocol) field.Value { return instead(isHeader, uint64(p)) }

// Protocol is the protocol of an IPv4 header behind which no header was found.
func Protocol(number uint8) field.Value { return instead(isProtocol, uint64(number)) }

// LaterFragment is that of a fragment that is not the first.
func LaterFragment(number uint8) field.Value { return instead(isLaterFragment, uint64(number)) }

// Next is the next header of an IPv6 header behind which no header was found.
func Next(number uint8) field.Value { return instead(isNext, uint64(number)) }

// EtherType is the type behind the Ethernet addresses and the tags.
func EtherType(number uint16) field.Value { return instead(isEtherType, uint64(number)) }

// NoIP is what is no IP on a link without Ethernet.
func NoIP() field.Value { return instead(isNoIP, 0) }

// Instead says what is there instead of a header, in the words of rules where they have one.
func Instead(v field.Value) string {
	number := v.Lo & 0xffff
	switch v.Lo >> 16 {
	case isHeader:
		return field.Protocol(number).String()
	case isProtocol:
		return protocol("ip_protocol", number, field.TCP, field.UDP, field.ICMP)
	case isLaterFragment:
		return "later fragments of " + protocol("ip_protocol", number)
	case isNext:
		return protocol("ip6_next", number, field.TCP, field.UDP, field.ICMP6)
	case isEtherType:
		return protocol("eth_type", number, field.IP, field.IP6, field.ARP)
	}
	return "neither ip nor ip6"
}

// protocol is what a field calls a protocol. Those that rules know were not whole.
func protocol(name string, number uint64, known ...field.Protocol) string {
	for _, p := range known {
		if uint64(p.Header().Number) == number {
			return "incomplete " + p.String()
		}
	}
	f := field.MustByName(name)
	if word := f.Names.Word(number); word != "" {
		return word
	}
	if f.Width == 16 {
		return fmt.Sprintf("%s 0x%04x", name, number)
	}
	return fmt.Sprintf("%s %d", name, number)
}
