package capture

import "fmt"

// LinkType says what the packets of an interface begin with: LINKTYPE_* of the list of
// link-layer header types (tcpdump.org/linktypes.html).
type LinkType uint16

// The link types that can be read.
const (
	Null         LinkType = 0 // loopback of BSD: the address family, in the order of the machine
	Ethernet     LinkType = 1
	RawBSD       LinkType = 12 // raw IP, by numbers of old
	RawOpenBSD   LinkType = 14
	RawIP        LinkType = 101
	Loop         LinkType = 108 // loopback of OpenBSD: the address family, in network byte order
	LinuxCooked  LinkType = 113
	IPv4         LinkType = 228
	IPv6         LinkType = 229
	LinuxCooked2 LinkType = 276
)

// linkNames are the names of link types, those that cannot be read as well.
var linkNames = map[LinkType]string{
	Null: "BSD loopback", Ethernet: "Ethernet", RawBSD: "raw IP", RawOpenBSD: "raw IP", RawIP: "raw IP", Loop: "OpenBSD loopback",
	LinuxCooked: "Linux cooked v1", LinuxCooked2: "Linux cooked v2", IPv4: "raw IPv4", IPv6: "raw IPv6",

	6: "Token Ring", 9: "PPP", 10: "FDDI", 50: "PPP with HDLC framing", 51: "PPPoE",
	105: "IEEE 802.11", 119: "IEEE 802.11 with a Prism header", 127: "IEEE 802.11 with radiotap",
	163: "IEEE 802.11 with an AVS header", 192: "IEEE 802.11 or other with PPI",
	187: "Bluetooth HCI", 195: "IEEE 802.15.4", 201: "Bluetooth HCI", 203: "LAPD", 220: "USB", 230: "IEEE 802.15.4", 189: "USB",
	226: "IP over InfiniBand", 239: "netfilter's log (NFLOG)", 247: "InfiniBand", 249: "USB", 253: "netlink", 271: "vsock",
}

// String is the link type's name, or its number.
func (l LinkType) String() string {
	if name := linkNames[l]; name != "" {
		return name
	}
	return fmt.Sprintf("link type %d", uint16(l))
}

// Known reports whether packets of the link type can be read.
func (l LinkType) Known() bool {
	switch l {
	case Null, Ethernet, RawBSD, RawOpenBSD, RawIP, Loop, LinuxCooked, LinuxCooked2, IPv4, IPv6:
		return true
	}
	return false
}

// Network is where the IP header of a packet without Ethernet begins, in bytes. Of other
// protocols it is the end of the packet. VLAN tags in cooked packets are stepped over.
func (l LinkType) Network(data []byte, length int) int {
	const cooked, cooked2, family, tag = 16, 20, 4, 4
	switch l {
	case Null, Loop:
		// The family's number differs between systems; the version behind it does not.
		return min(family, length)
	case LinuxCooked:
		return etherPayload(data, length, cooked-2, cooked, tag)
	case LinuxCooked2:
		return etherPayload(data, length, 0, cooked2, tag)
	}
	return 0
}

// etherPayload is where the IP header begins whose Ethernet type stands at a place, and which
// follows at next; behind VLAN tags the type is in front of it.
func etherPayload(data []byte, length, at, next, tag int) int {
	const typeIP, typeIP6, typeTag, typeService = 0x0800, 0x86dd, 0x8100, 0x88a8
	for range 3 {
		if at+2 > len(data) || next > length {
			break
		}
		switch bigEndian.Uint16(data[at:]) {
		case typeIP, typeIP6:
			return next
		case typeTag, typeService:
			next += tag
			at = next - 2
			continue
		}
		break
	}
	return length
}
