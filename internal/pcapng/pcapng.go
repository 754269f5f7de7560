// Package pcapng has the numbers of the capture file format pcapng
// (draft-ietf-opsawg-pcapng), and writes its blocks and options. It reads nothing, and
// knows no packets and no rules.
package pcapng

import "encoding/binary"

// Types of blocks.
const (
	SectionHeader        = 0x0A0D0D0A // the same in either byte order
	InterfaceDescription = 1
	ObsoletePacket       = 2
	SimplePacket         = 3
	NameResolution       = 4
	InterfaceStatistics  = 5
	EnhancedPacket       = 6
	DecryptionSecrets    = 10
)

// Of a Section Header Block: the magic number that tells its byte order, and the version.
const (
	ByteOrderMagic = 0x1A2B3C4D
	Major          = 1
	Minor          = 0
)

// Codes of options of every block.
const (
	EndOfOptions = 0
	Comment      = 1 // UTF-8
)

// Codes of options of a Section Header Block: all are texts.
const (
	SectionHardware    = 2
	SectionSystem      = 3
	SectionApplication = 4
)

// Codes of options of an Interface Description Block.
const (
	InterfaceName       = 2
	InterfaceAbout      = 3 // a text
	InterfaceMAC        = 6
	InterfaceTimeRes    = 9 // 1 byte: 10 to its negative power, or 2 if the highest bit is set
	InterfaceFilter     = 11
	InterfaceSystem     = 12
	InterfaceFCSLength  = 13 // 1 byte, in bits
	InterfaceTimeOffset = 14 // 64 bits, in seconds
)

// Codes of options of an Enhanced Packet Block.
const (
	PacketFlags     = 2 // 32 bits, see FlagsFCS
	PacketHash      = 3
	PacketDropCount = 4 // 64 bits
	PacketID        = 5 // 64 bits
	PacketQueue     = 6 // 32 bits
	PacketVerdict   = 7 // see VerdictTC and VerdictXDP
)

const (
	alignment            = 4
	longestOption        = 0xffff
	placeOfLength        = 4 // in a block
	unknownSectionLength = ^uint64(0)
)

// FlagsFCS are the bits of PacketFlags that are the length of the frame check sequence, in
// bytes, from bit FlagsFCSShift on; 0 is unknown.
const (
	FlagsFCS      = 0x1e0
	FlagsFCSShift = 5
)

// Values of PacketVerdict: the first byte says whose verdict the rest is.
const (
	VerdictHardware = 0
	VerdictTC       = 1 // 64 bits: TC_ACT_*, include/uapi/linux/pkt_cls.h
	VerdictXDP      = 2 // 64 bits: enum xdp_action, include/uapi/linux/bpf.h
)

// TimeResNanoseconds is the value of InterfaceTimeRes for nanoseconds.
const TimeResNanoseconds = 9

// Order is a byte order: binary.LittleEndian or binary.BigEndian.
type Order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// Padding is how many bytes are missing to a multiple of 4.
func Padding(n int) int { return -n & (alignment - 1) }

// Open appends the beginning of a block, whose length Close fills in; start is where it
// begins.
func Open(b []byte, o Order, blockType uint32) (_ []byte, start int) {
	start = len(b)
	b = o.AppendUint32(b, blockType)
	return o.AppendUint32(b, 0), start
}

// Close pads the block that begins at start and fills in its length.
func Close(b []byte, o Order, start int) []byte {
	b = pad(b, len(b)-start)
	length := uint32(len(b) - start + alignment)
	o.PutUint32(b[start+placeOfLength:], length)
	return o.AppendUint32(b, length)
}

// pad appends zeros behind n bytes, up to a multiple of 4.
func pad(b []byte, n int) []byte {
	return append(b, make([]byte, Padding(n))...)
}

// AppendOption appends an option. A value that is longer than 65535 bytes is cut there.
func AppendOption(b []byte, o Order, code uint16, value []byte) []byte {
	value = value[:min(len(value), longestOption)]
	b = o.AppendUint16(b, code)
	b = o.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...), len(value))
}

// AppendText is AppendOption with a text.
func AppendText(b []byte, o Order, code uint16, text string) []byte {
	text = text[:min(len(text), longestOption)]
	b = o.AppendUint16(b, code)
	b = o.AppendUint16(b, uint16(len(text)))
	return pad(append(b, text...), len(text))
}

// AppendUint32Option and AppendUint64Option append options that are numbers.
func AppendUint32Option(b []byte, o Order, code uint16, n uint32) []byte {
	return o.AppendUint32(o.AppendUint16(o.AppendUint16(b, code), 4), n)
}

// AppendUint64Option is AppendUint32Option for 64 bits.
func AppendUint64Option(b []byte, o Order, code uint16, n uint64) []byte {
	return o.AppendUint64(o.AppendUint16(o.AppendUint16(b, code), 8), n)
}

// AppendEndOfOptions appends what ends the options of a block that has some.
func AppendEndOfOptions(b []byte, o Order) []byte { return o.AppendUint32(b, EndOfOptions) }

// OpenSection appends a Section Header Block up to its options, for a section of unknown
// length.
func OpenSection(b []byte, o Order) (_ []byte, start int) {
	b, start = Open(b, o, SectionHeader)
	b = o.AppendUint32(b, ByteOrderMagic)
	b = o.AppendUint16(o.AppendUint16(b, Major), Minor)
	return o.AppendUint64(b, unknownSectionLength), start
}

// OpenInterface appends an Interface Description Block up to its options. A snapLength of 0
// is no limit.
func OpenInterface(b []byte, o Order, linkType uint16, snapLength uint32) (_ []byte, start int) {
	b, start = Open(b, o, InterfaceDescription)
	b = o.AppendUint16(o.AppendUint16(b, linkType), 0)
	return o.AppendUint32(b, snapLength), start
}

// OpenPacket appends an Enhanced Packet Block up to its options. The timestamp is in units
// of the interface's resolution since 1970; data are the bytes that were captured of length.
func OpenPacket(b []byte, o Order, iface uint32, timestamp uint64, length uint32, data []byte) (_ []byte, start int) {
	b, start = Open(b, o, EnhancedPacket)
	b = o.AppendUint32(b, iface)
	b = o.AppendUint32(b, uint32(timestamp>>32))
	b = o.AppendUint32(b, uint32(timestamp))
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, length)
	return pad(append(b, data...), len(data)), start
}
