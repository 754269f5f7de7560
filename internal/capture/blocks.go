package capture

import (
	"math"

	"repacket/internal/pcapng"
)

// Sizes of blocks of pcapng in bytes, their options excluded and the length at their end
// included.
const (
	shortest        = 12
	sectionSize     = 28
	interfaceSize   = 20
	packetSize      = 32 // enhanced or obsolete
	simpleSize      = 16
	packetHeader    = 28 // up to the packet's bytes
	simpleHeader    = 12
	trailer         = 4
	sectionOptions  = 24
	interfaceHeader = 16
)

func isPacket(blockType uint32) bool {
	return blockType == pcapng.EnhancedPacket || blockType == pcapng.SimplePacket || blockType == pcapng.ObsoletePacket
}

// blocks finds the whole blocks of a file of the format pcapng.
func (r *Reader) blocks(batch *Batch, b []byte) (done, want int) {
	for len(b)-done >= shortest {
		block := b[done:]
		order := r.order
		blockType := order.Uint32(block)
		if blockType == pcapng.SectionHeader {
			if done > 0 && len(batch.Packets) > 0 {
				return done, 0 // the interfaces of a batch are those of one section
			}
			var ok bool
			if order, ok = byteOrder(block); !ok {
				return r.stop(done, "a section has neither byte order")
			}
		}
		length := order.Uint32(block[4:])
		switch {
		case length < shortest || length%4 != 0:
			return r.stop(done, "a block claims to have %d bytes", length)
		case length > largest && (isPacket(blockType) || blockType == pcapng.SectionHeader || blockType == pcapng.InterfaceDescription):
			return r.stop(done, "a block of type %d claims to have %d bytes", blockType, length)
		case length > largest:
			r.started = true
			if done == 0 {
				r.through = uint64(length) - uint64(len(b))
				if uint64(len(b)) > uint64(length) {
					r.through = 0
				}
				return min(len(b), int(length)), 0
			}
			return done, 0
		case int(length) > len(block):
			return done, int(length)
		}
		block = block[:length]
		if end := order.Uint32(block[length-trailer:]); end != length {
			return r.stop(done, "a block has %d bytes at its beginning and %d at its end", length, end)
		}
		if why := r.block(batch, block, order, done); why != "" {
			return r.stop(done, "%s", why)
		}
		done += int(length)
	}
	return done, shortest
}

// stop ends the file at a block, once those before it have been handed out.
func (r *Reader) stop(done int, format string, args ...any) (int, int) {
	if done == 0 {
		r.damaged(0, format, args...)
	}
	return done, 0
}

// byteOrder is that of a section, by its header.
func byteOrder(block []byte) (_ pcapng.Order, ok bool) {
	for _, order := range []pcapng.Order{littleEndian, bigEndian} {
		if order.Uint32(block[8:]) == pcapng.ByteOrderMagic {
			return order, true
		}
	}
	return nil, false
}

// block takes a whole block that stands at a place in the batch. It says what is wrong with
// it, or "".
func (r *Reader) block(batch *Batch, block []byte, order pcapng.Order, at int) (why string) {
	blockType := order.Uint32(block)
	if !r.started && blockType != pcapng.SectionHeader {
		return "the file does not begin with a section"
	}
	switch blockType {
	case pcapng.SectionHeader:
		if len(block) < sectionSize {
			return "the header of a section is too short"
		}
		if major := order.Uint16(block[12:]); major != pcapng.Major {
			return "a section is of another version than 1"
		}
		r.started, r.order, r.interfaces = true, order, nil
		batch.Interfaces = nil
		batch.sections = append(batch.sections, section{at, order, order.Uint64(block[16:])})
	case pcapng.InterfaceDescription:
		if len(block) < interfaceSize {
			return "the description of an interface is too short"
		}
		// A new slice: those handed out stay as they are.
		r.interfaces = append(r.interfaces[:len(r.interfaces):len(r.interfaces)], describedInterface(block, order))
		batch.Interfaces = r.interfaces
	case pcapng.EnhancedPacket, pcapng.ObsoletePacket, pcapng.SimplePacket:
		return r.packet(batch, block, order, at)
	}
	return ""
}

// packet takes a block with a packet.
func (r *Reader) packet(batch *Batch, block []byte, order pcapng.Order, at int) (why string) {
	p := Packet{Start: uint32(at), End: uint32(at + len(block))}
	blockType := order.Uint32(block)
	smallest, header := packetSize, packetHeader
	if blockType == pcapng.SimplePacket {
		smallest, header = simpleSize, simpleHeader
	}
	if len(block) < smallest {
		return "a block with a packet is too short"
	}
	switch blockType {
	case pcapng.EnhancedPacket:
		p.Interface, p.Captured, p.Length = order.Uint32(block[8:]), order.Uint32(block[20:]), order.Uint32(block[24:])
	case pcapng.ObsoletePacket:
		p.Interface, p.Captured, p.Length = uint32(order.Uint16(block[8:])), order.Uint32(block[20:]), order.Uint32(block[24:])
	default:
		p.Length = order.Uint32(block[8:])
		p.Captured = min(p.Length, uint32(len(block)-simpleSize))
	}
	if uint64(p.Interface) >= uint64(len(r.interfaces)) {
		return "a packet is of an interface that its section does not describe"
	}
	if snap := r.interfaces[p.Interface].SnapLength; blockType == pcapng.SimplePacket && snap > 0 {
		p.Captured = min(p.Captured, snap)
	}
	if uint64(p.Captured) > uint64(len(block)-smallest) {
		return "a packet has more bytes than its block"
	}
	p.Data, p.Length = uint32(at+header), max(p.Length, p.Captured)
	batch.Packets = append(batch.Packets, p)
	r.packets++
	return ""
}

// describedInterface reads the description of an interface.
func describedInterface(block []byte, order pcapng.Order) *Interface {
	i := &Interface{Link: LinkType(order.Uint16(block[8:])), SnapLength: order.Uint32(block[12:]), units: 1e6}
	eachOption(block[interfaceHeader:len(block)-trailer], order, func(o option) {
		switch {
		case o.code == pcapng.InterfaceName:
			i.Name = string(o.value)
		case o.code == pcapng.InterfaceTimeRes && len(o.value) == 1:
			i.units = resolution(o.value[0])
		case o.code == pcapng.InterfaceTimeOffset && len(o.value) == 8:
			i.offset = int64(order.Uint64(o.value))
		case o.code == pcapng.InterfaceFCSLength && len(o.value) == 1:
			// In bits, which some writers take for bytes.
			if i.FCS = int(o.value[0]); i.FCS >= 8 {
				i.FCS /= 8
			}
		}
	})
	return i
}

// resolution is how many units of a timestamp are a second. If they are more than 64 bits
// hold, as many as these do.
func resolution(v byte) uint64 {
	const binary = 0x80
	n := int(v &^ binary)
	switch {
	case v&binary != 0:
		return 1 << min(n, 63)
	case n > 19:
		return math.MaxUint64
	}
	units := uint64(1)
	for range n {
		units *= 10
	}
	return units
}

// option is an option of a block: its bytes, of which value are the last but the padding.
type option struct {
	code    uint16
	at, end int // in the options
	value   []byte
}

// eachOption calls f for each option, up to the end of the options or to one that reaches
// beyond it. It returns where that is.
func eachOption(b []byte, order pcapng.Order, f func(option)) (end int) {
	const header = 4
	at := 0
	for at+header <= len(b) {
		code, length := order.Uint16(b[at:]), int(order.Uint16(b[at+2:]))
		next := at + header + length + pcapng.Padding(length)
		if code == pcapng.EndOfOptions || next > len(b) {
			break
		}
		f(option{code, at, next, b[at+header:][:length]})
		at = next
	}
	return at
}
