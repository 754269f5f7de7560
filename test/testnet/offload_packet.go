package testnet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Offload says which work on a packet is left to whoever sends it on: what a
// virtio_net_hdr says (virtio 1.2, 5.1.6). The zero value leaves nothing.
type Offload struct {
	// Partial: the checksum at Start+Offset holds only the pseudo-header's
	// part; the sum from Start to the end is still to be added.
	Partial bool
	Start   uint16 // where the layer-4 header begins in the packet
	Offset  uint16 // of the checksum in that header
	// GSO is the kind of a GSO packet: one packet that stands for many. Such
	// a packet is Partial too.
	GSO     GSOType
	Segment uint16 // payload bytes of each packet that it stands for
	Headers uint16 // bytes of all headers, which each of them gets
}

// GSOType is a kind of GSO packet.
type GSOType uint8

// The kinds, with virtio's numbers.
const (
	GSONone  GSOType = 0
	GSOTCP4  GSOType = 1
	GSOTCP6  GSOType = 4
	GSOUDP   GSOType = 5    // UDP_L4: the datagrams of one flow, not fragments of one
	gsoECN   GSOType = 0x80 // beside the TCP ones: the first segment alone has CWR
	gsoKinds         = ^gsoECN
)

// String is the kind's name.
func (g GSOType) String() string {
	names := map[GSOType]string{GSONone: "none", GSOTCP4: "tcp4", GSOTCP6: "tcp6", GSOUDP: "udp"}
	if name, ok := names[g&gsoKinds]; ok {
		return name
	}
	return fmt.Sprintf("gso(%d)", uint8(g))
}

// vnetHeaderSize is that of a virtio_net_hdr.
const vnetHeaderSize = 10

// The flags of a virtio_net_hdr.
const (
	vnetNeedsChecksum = 1
	vnetDataValid     = 2
)

// hostOrder is this machine's byte order, which the kernel's interfaces have.
var hostOrder = binary.NativeEndian

// header is the offload as a virtio_net_hdr, in this machine's byte order.
func (o Offload) header() []byte {
	h := make([]byte, vnetHeaderSize)
	if o.Partial {
		h[0] = vnetNeedsChecksum
	}
	h[1] = byte(o.GSO)
	hostOrder.PutUint16(h[2:], o.Headers)
	hostOrder.PutUint16(h[4:], o.Segment)
	hostOrder.PutUint16(h[6:], o.Start)
	hostOrder.PutUint16(h[8:], o.Offset)
	return h
}

// parseHeader reads a virtio_net_hdr; good says that the sum is known to be
// right.
func parseHeader(h []byte) (o Offload, good bool) {
	o = Offload{
		Partial: h[0]&vnetNeedsChecksum != 0,
		GSO:     GSOType(h[1]) & gsoKinds,
	}
	if o.GSO != GSONone {
		o.Headers = hostOrder.Uint16(h[2:])
		o.Segment = hostOrder.Uint16(h[4:])
	}
	if o.Partial {
		o.Start = hostOrder.Uint16(h[6:])
		o.Offset = hostOrder.Uint16(h[8:])
	}
	return o, h[0]&vnetDataValid != 0
}

// Partial makes a TCP, UDP or ICMPv6 packet in an Ethernet frame one whose
// checksum is left to the device: it returns a copy with the pseudo-header's
// part in the checksum, and what to send it with. With a segment above 0 it is
// a GSO packet that stands for packets of so many payload bytes each (TCP,
// UDP). What the checksum was does not matter.
func Partial(frame []byte, segment int) ([]byte, Offload, error) {
	l3, err := networkOffset(frame)
	if err != nil {
		return nil, Offload{}, err
	}
	return partialAt(frame, l3, segment)
}

// PartialIP is Partial for a packet without Ethernet, as tun has it.
func PartialIP(packet []byte, segment int) ([]byte, Offload, error) {
	return partialAt(packet, 0, segment)
}

func partialAt(packet []byte, l3, segment int) ([]byte, Offload, error) {
	t, err := findTransport(packet, l3)
	if err != nil {
		return nil, Offload{}, err
	}
	packet = append([]byte(nil), packet...)
	binary.BigEndian.PutUint16(packet[t.start+t.check:], t.seed)
	o := Offload{Partial: true, Start: uint16(t.start), Offset: uint16(t.check)}
	if segment > 0 {
		o.GSO, o.Segment, o.Headers = t.gso, uint16(segment), uint16(t.payload)
		if t.gso == GSONone || segment > 0xffff {
			return nil, Offload{}, fmt.Errorf("no GSO packet of protocol %d with segments of %d bytes", t.protocol, segment)
		}
	}
	return packet, o, nil
}

// networkOffset is where the network header of an Ethernet frame begins, behind
// any tags.
func networkOffset(frame []byte) (int, error) {
	for at := 12; at+2 <= len(frame); at += 4 {
		switch binary.BigEndian.Uint16(frame[at:]) {
		case 0x8100, 0x88a8:
		default:
			return at + 2, nil
		}
	}
	return 0, errors.New("the frame has no network header")
}
