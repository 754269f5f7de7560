// Package field holds the one table of protocols and header fields. The
// parser, the checker, the compiler, the documentation and the tests'
// generators all read it: adding a header field is one line in table.go.
//
// The package knows nothing of packets in memory or of the kernel.
package field

// Protocol is a header that can be looked for in a packet.
type Protocol uint8

// The headers, outermost first.
const (
	None Protocol = iota
	Eth
	VLAN  // the first tag on the wire, 802.1Q or 802.1ad
	CVLAN // the second
	ARP
	IP
	IP6
	TCP
	UDP
	ICMP
	ICMP6
	// MSS is the maximum segment size among TCP's options. It is a header here
	// because it has a place of its own and may be missing.
	MSS

	// The headers of the packet that an ICMP error quotes. They are no words of the
	// language: rules for what answers a rewritten packet are made of them.
	QuotedIP
	QuotedIP6
	QuotedTCP
	QuotedUDP
	QuotedICMP
	QuotedICMP6
)

// Layer says which headers exclude each other: no packet has two of one layer.
type Layer uint8

// The layers, outermost first.
const (
	LinkLayer Layer = iota
	TagLayer
	InnerTagLayer
	NetworkLayer
	TransportLayer
	OptionLayer
	Layers // how many there are, those of quoted headers apart
)

// The layers of quoted headers.
const (
	QuotedNetworkLayer = Layers + iota
	QuotedTransportLayer
)

// Header describes a protocol's header.
type Header struct {
	// Name is the word of the language; "" has none.
	Name string
	// Prefix is what the names of its fields begin with, without the underscore.
	Prefix string
	Layer  Layer
	// Over are the headers of which one must be there for this one to be.
	Over []Protocol
	// Fixed is the length in bytes of the part that every such header has. Of a quoted
	// one of layer 4 it is what every ICMP error quotes.
	Fixed int
	// Number is what the layer below calls the protocol: an EtherType
	// (IEEE 802 Numbers), an IP protocol number (IANA) or an option's kind. A
	// tag has two (0x8100 and 0x88a8), so it has none here.
	Number uint16
	Title  string
	RFC    string
}

var headers = [...]Header{
	Eth:   {"eth", "eth", LinkLayer, nil, 14, 0, "Ethernet", "IEEE 802.3"},
	VLAN:  {"vlan", "vlan", TagLayer, []Protocol{Eth}, 4, 0, "VLAN tag", "IEEE 802.1Q"},
	CVLAN: {"cvlan", "cvlan", InnerTagLayer, []Protocol{VLAN}, 4, 0, "second VLAN tag", "IEEE 802.1ad"},
	ARP:   {"arp", "arp", NetworkLayer, []Protocol{Eth}, 28, 0x0806, "ARP", "RFC 826"},
	IP:    {"ip", "ip", NetworkLayer, nil, 20, 0x0800, "IPv4", "RFC 791"},
	IP6:   {"ip6", "ip6", NetworkLayer, nil, 40, 0x86dd, "IPv6", "RFC 8200"},
	TCP:   {"tcp", "tcp", TransportLayer, []Protocol{IP, IP6}, 20, 6, "TCP", "RFC 9293"},
	UDP:   {"udp", "udp", TransportLayer, []Protocol{IP, IP6}, 8, 17, "UDP", "RFC 768"},
	ICMP:  {"icmp", "icmp", TransportLayer, []Protocol{IP}, 8, 1, "ICMP", "RFC 792"},
	ICMP6: {"icmp6", "icmp6", TransportLayer, []Protocol{IP6}, 4, 58, "ICMPv6", "RFC 4443"},
	MSS:   {"", "tcp", OptionLayer, []Protocol{TCP}, 4, 2, "the TCP option MSS", "RFC 9293"},

	QuotedIP:    {"quoted_ip", "quoted_ip", QuotedNetworkLayer, []Protocol{ICMP}, 20, 0, "quoted IPv4", "RFC 792"},
	QuotedIP6:   {"quoted_ip6", "quoted_ip6", QuotedNetworkLayer, []Protocol{ICMP6}, 40, 0, "quoted IPv6", "RFC 4443"},
	QuotedTCP:   {"quoted_tcp", "quoted_tcp", QuotedTransportLayer, []Protocol{QuotedIP, QuotedIP6}, quotedLen, 6, "quoted TCP", "RFC 792"},
	QuotedUDP:   {"quoted_udp", "quoted_udp", QuotedTransportLayer, []Protocol{QuotedIP, QuotedIP6}, quotedLen, 17, "quoted UDP", "RFC 792"},
	QuotedICMP:  {"quoted_icmp", "quoted_icmp", QuotedTransportLayer, []Protocol{QuotedIP}, quotedLen, 1, "quoted ICMP", "RFC 792"},
	QuotedICMP6: {"quoted_icmp6", "quoted_icmp6", QuotedTransportLayer, []Protocol{QuotedIP6}, quotedLen, 58, "quoted ICMPv6", "RFC 4443"},
}

// Header is the description of p.
func (p Protocol) Header() Header { return headers[p] }

// String is the protocol's word in the language, or its title if it has none.
func (p Protocol) String() string {
	if h := headers[p]; h.Name == "" {
		return h.Title
	}
	return headers[p].Name
}

// Over reports whether p needs the header below, directly or through others. A
// header that can stand on one of several needs none of them.
func (p Protocol) Over(below Protocol) bool {
	over := headers[p].Over
	return len(over) == 1 && (over[0] == below || over[0].Over(below))
}

// Protocols lists every protocol of the language, outermost first.
func Protocols() []Protocol { return protocolsTo(MSS) }

// AllProtocols lists those that ICMP errors quote too, behind the others.
func AllProtocols() []Protocol { return protocolsTo(QuotedICMP6) }

func protocolsTo(last Protocol) []Protocol {
	all := make([]Protocol, 0, last)
	for p := Eth; p <= last; p++ {
		all = append(all, p)
	}
	return all
}

// ProtocolByName finds a protocol by its word in the language.
func ProtocolByName(name string) (Protocol, bool) {
	for _, p := range Protocols() {
		if name != "" && headers[p].Name == name {
			return p, true
		}
	}
	return None, false
}

// Kind says how a field's value is written and shown.
type Kind uint8

// The kinds of fields.
const (
	Number   Kind = iota // a plain number
	Flag                 // one bit: on or off
	Port                 // a TCP or UDP port
	Address4             // an IPv4 address
	Address6             // an IPv6 address
	MAC                  // an Ethernet address
	Checksum             // an Internet checksum (RFC 1071); takes fix and bad
)

var kindNames = [...]string{Number: "number", Flag: "flag", Port: "port", Address4: "IPv4 address", Address6: "IPv6 address", MAC: "MAC address", Checksum: "checksum"}

func (k Kind) String() string { return kindNames[k] }

// IsAddress reports whether values of the kind are addresses, which have prefixes.
func (k Kind) IsAddress() bool { return k == Address4 || k == Address6 || k == MAC }

// Cover says that a checksum covers a field.
type Cover struct {
	// Check is the name of the checksum field.
	Check string
	// Pseudo: the field counts in the pseudo-header (RFC 9293 section 3.1,
	// RFC 768) and not, or not only, in the bytes that are summed.
	Pseudo bool
	// Weight is what one unit of the field's value adds to the 16-bit sum in
	// network byte order.
	Weight int
}

// Field is one header field.
type Field struct {
	// Name is the canonical name, protocol_field.
	Name string
	// Aliases are the other names of the field in full, derived ones included.
	Aliases []string
	Proto   Protocol
	// Bit is the distance in bits of the field's most significant bit from the
	// start of its header; Width is the number of bits.
	Bit, Width int
	Kind       Kind
	// Names lists the words that stand for values, if the field has any.
	Names NameSet
	// Wraps: arithmetic wraps around instead of stopping at the ends.
	Wraps bool
	// Structural: the field shapes segmentation (GSO), which cannot carry
	// a change of it.
	Structural bool
	// Only, if it is not nil, says on which values of another field of the same
	// header this one is there. The checker adds it to conditions, so neither
	// the plan nor the reference sees it.
	Only *Only
	// Covers are the checksums that a change of the field changes.
	Covers []Cover
	// Unit is the unit of the value where it is not plain, such as "32-bit words".
	Unit string
	Doc  string
	RFC  string
}

// Only says that a field is there only where another one of its header has one
// of some values.
type Only struct {
	Field string
	In    Set
}

// Max is the highest value that fits.
func (f *Field) Max() Value { return Ones(f.Width) }

// Mask is where the field's bits are within the bytes that hold it, that is
// the Size() bytes from Byte(), read as a big-endian number.
func (f *Field) Mask() Value {
	m := Ones(f.Width)
	m.Lo <<= f.Shift() // no field of more than 64 bits is off a byte's edge
	return m
}

// PrefixLength is the length of the prefix whose values r has, or -1. Only
// addresses have prefixes.
func (f *Field) PrefixLength(r Range) int {
	if !f.Kind.IsAddress() {
		return -1
	}
	for n := range f.Width + 1 {
		host := Ones(f.Width - n)
		if r.Lo.AndNot(host) == r.Lo && r.Lo.Or(host) == r.Hi {
			return n
		}
	}
	return -1
}

// Byte is the offset in bytes of the first byte that holds a part of f.
func (f *Field) Byte() int { return f.Bit / 8 }

// Size is the number of bytes that hold a part of f.
func (f *Field) Size() int { return (f.Bit+f.Width+7)/8 - f.Byte() }

// Shift is the number of bits below the field in its last byte.
func (f *Field) Shift() int { return (f.Byte()+f.Size())*8 - f.Bit - f.Width }

// directWeight is what one unit of f adds to the sum of the 16-bit words of
// its header (RFC 1071): a power of two given by the place of its last bit.
func (f *Field) directWeight() int { return 1 << (15 - (f.Bit+f.Width-1)%16) }

// Contains reports whether every bit of g is a bit of f.
func (f *Field) Contains(g *Field) bool {
	return f.Proto == g.Proto && f.Bit <= g.Bit && g.Bit+g.Width <= f.Bit+f.Width
}

// Overlaps reports whether f and g have a bit in common.
func (f *Field) Overlaps(g *Field) bool {
	return f.Proto == g.Proto && f.Bit+f.Width > g.Bit && g.Bit+g.Width > f.Bit
}
