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
	IP
	TCP
	UDP
	ICMP
)

// Header describes a protocol's header.
type Header struct {
	Name string
	// Layer is 2, 3 or 4. No packet has two headers of one layer.
	Layer int
	// Fixed is the length in bytes of the part that every such header has.
	Fixed int
	// Number is what the layer below calls the protocol: an EtherType
	// (IEEE 802 Numbers) or an IP protocol number (IANA).
	Number uint16
	Title  string
	RFC    string
}

var headers = [...]Header{
	Eth:  {"eth", 2, 14, 0, "Ethernet", "IEEE 802.3"},
	IP:   {"ip", 3, 20, 0x0800, "IPv4", "RFC 791"},
	TCP:  {"tcp", 4, 20, 6, "TCP", "RFC 9293"},
	UDP:  {"udp", 4, 8, 17, "UDP", "RFC 768"},
	ICMP: {"icmp", 4, 8, 1, "ICMP", "RFC 792"},
}

// Header is the description of p.
func (p Protocol) Header() Header { return headers[p] }

// String is the protocol's word in the language.
func (p Protocol) String() string { return headers[p].Name }

// Protocols lists every protocol, outermost first.
func Protocols() []Protocol {
	var all []Protocol
	for p := Eth; int(p) < len(headers); p++ {
		all = append(all, p)
	}
	return all
}

// ProtocolByName finds a protocol by its word in the language.
func ProtocolByName(name string) (Protocol, bool) {
	for _, p := range Protocols() {
		if p.String() == name {
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
	Checksum             // an Internet checksum (RFC 1071); takes fix and bad
)

var kindNames = [...]string{Number: "number", Flag: "flag", Port: "port", Address4: "IPv4 address", Checksum: "checksum"}

func (k Kind) String() string { return kindNames[k] }

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
	// Structural: the field says how a packet is cut up, so segmentation
	// offload cannot carry a change of it.
	Structural bool
	// Covers are the checksums that a change of the field changes.
	Covers []Cover
	// Unit is the unit of the value where it is not plain, such as "32-bit words".
	Unit string
	Doc  string
	RFC  string
}

// Max is the highest value that fits.
func (f *Field) Max() Value { return Ones(f.Width) }

// Mask is where the field's bits are within the bytes that hold it, that is
// the Size() bytes from Byte(), read as a big-endian number.
func (f *Field) Mask() Value {
	return Value{Lo: Ones(f.Width).Lo << f.Shift()} // no field of more than 64 bits is off a byte's edge
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
