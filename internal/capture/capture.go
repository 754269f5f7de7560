// Package capture reads capture files, pcap and pcapng, as streams of blocks that are kept as
// they are: what it does not know, it hands on byte for byte. The packets are places in these
// bytes, where they can be changed. It knows no rules and no kernel.
//
// The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
package capture

import (
	"encoding/binary"
	"fmt"
	"time"

	"repacket/internal/pcapng"
)

// Format is that of a capture file.
type Format uint8

// The formats.
const (
	PCAP Format = iota
	PCAPNG
)

// String is the format's name.
func (f Format) String() string { return [...]string{PCAP: "pcap", PCAPNG: "pcapng"}[f] }

// Interface is what a file says of where packets were captured. A file of the format pcap
// has one for all packets.
type Interface struct {
	Name string // "" is unknown
	Link LinkType
	// FCS is how many bytes of frame check sequence end a packet, as far as that is known.
	FCS int
	// SnapLength is how many bytes of a packet were captured at most; 0 is unknown.
	SnapLength uint32
	// units is how many units of a timestamp are a second, offset what is added in seconds.
	units  uint64
	offset int64
}

// time is the time of a timestamp.
func (i *Interface) time(stamp uint64) time.Time {
	seconds, rest := stamp/i.units, stamp%i.units
	// The rest is less than a second; a float has more digits than nanoseconds take.
	return time.Unix(int64(seconds)+i.offset, int64(float64(rest)/float64(i.units)*1e9+0.5)).UTC()
}

// Batch is a part of a file: whole blocks, one behind the other.
type Batch struct {
	// Bytes are the blocks as they are in the file.
	Bytes []byte
	// Packets are those among the blocks, in order.
	Packets []Packet
	// First is how many packets were in the file before.
	First uint64
	// Interfaces are those that Packet.Interface counts.
	Interfaces []*Interface
	format     Format
	// sections are the places in Bytes where sections of pcapng begin.
	sections []section
	order    pcapng.Order // of the section in which Bytes begins
}

// section is where a section of pcapng begins in a batch.
type section struct {
	at    int // the Section Header Block
	order pcapng.Order
	// length of what follows its header, in bytes; unknownLength if the file does not say.
	length uint64
}

const unknownLength = ^uint64(0)

// Packet is a packet in a batch, by places in Batch.Bytes.
type Packet struct {
	// Start and End are those of its block or record.
	Start, End uint32
	// Data is where its bytes begin, of which Captured are there, and Length were on the wire.
	// Length is never less than Captured.
	Data, Captured, Length uint32
	// Interface is its place in Batch.Interfaces.
	Interface uint32
}

// Data are the captured bytes of a packet, in place.
func (b *Batch) Data(p *Packet) []byte { return b.Bytes[p.Data:][:p.Captured:p.Captured] }

// Interface is that of a packet.
func (b *Batch) Interface(p *Packet) *Interface { return b.Interfaces[p.Interface] }

// orderAt is the byte order at a place.
func (b *Batch) orderAt(at int) pcapng.Order {
	order := b.order
	for _, s := range b.sections {
		if s.at <= at {
			order = s.order
		}
	}
	return order
}

// Time is the time at which a packet was captured; ok is false if the file does not say.
func (b *Batch) Time(p *Packet) (_ time.Time, ok bool) {
	record, order := b.Bytes[p.Start:p.End], b.orderAt(int(p.Start))
	i := b.Interface(p)
	if b.format == PCAP {
		return i.time(uint64(order.Uint32(record))*i.units + uint64(order.Uint32(record[4:]))), true
	}
	switch order.Uint32(record) {
	case pcapng.EnhancedPacket, pcapng.ObsoletePacket:
		return i.time(uint64(order.Uint32(record[12:]))<<32 | uint64(order.Uint32(record[16:]))), true
	}
	return time.Time{}, false
}

// DamagedError says that a file cannot be read from a place on.
type DamagedError struct {
	// Packets is how many were read before, At the place in bytes from the start of the file,
	// of a compressed one without its compression.
	Packets uint64
	At      int64
	// Cut: the file ends there, in the middle of a block.
	Cut bool
	Why string
}

func (e *DamagedError) Error() string {
	if e.Cut {
		return fmt.Sprintf("the file ends in the middle of %s, which begins at byte %d, behind %d packets", e.Why, e.At, e.Packets)
	}
	return fmt.Sprintf("%s, at byte %d, behind %d packets", e.Why, e.At, e.Packets)
}

// FormatError says that a file is no capture file that can be read.
type FormatError struct {
	What string // what it is, or ""
	hint string
}

func (e *FormatError) Error() string {
	if e.What == "" {
		return "this is no capture file: it is neither pcap nor pcapng"
	}
	return "this is no capture file of the formats pcap or pcapng, but " + e.What
}

// Hint says what to do.
func (e *FormatError) Hint() string { return e.hint }

// littleEndian and bigEndian are the two byte orders.
var littleEndian, bigEndian pcapng.Order = binary.LittleEndian, binary.BigEndian

// Format is that of the file.
func (b *Batch) Format() Format { return b.format }
