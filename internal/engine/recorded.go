package engine

import (
	"encoding/binary"
	"fmt"
	"time"

	"repacket/internal/bpf"
	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// recorded is a record as it was read.
type recorded struct {
	bpf.Record
	// before are the bytes of the packet as it arrived, after the first ones as it left, both
	// without an offloaded VLAN tag.
	before, after []byte
	packet        run.Packet
	out           [2][]byte // with the tag
	whole         []byte    // as it left
}

// tagLen is the length of a VLAN tag (IEEE 802.1Q), addressesLen that of the addresses before it.
const (
	tagLen       = 4
	addressesLen = 12
)

// parse reads a record from the ring, with so many bytes of the packet as it left. Its bytes are
// those of raw.
func (r *recorded) parse(raw []byte, head int) error {
	r.Record = bpf.ReadRecord(raw)
	if len(raw) < bpf.RecordHeader+head+int(r.Captured) || int(r.Left) > head {
		return fmt.Errorf("read a packet: a record of %d bytes", len(raw))
	}
	r.after = raw[bpf.RecordHeader:][:r.Left]
	r.before = raw[bpf.RecordHeader+head:][:r.Captured]
	return nil
}

// of is the packet of the record, of which all but what the record says is known. It is
// overwritten by the next.
func (r *recorded) of(known *run.Packet, epoch time.Time) *run.Packet {
	r.packet = *known
	p := &r.packet
	p.Time = epoch.Add(time.Duration(r.Time))
	p.Rule, p.Length, p.Segments = int(r.Rule), int(r.Length), int(r.Segments)
	before, after := r.sides(known.Link)
	if r.Tagged != 0 && p.Link == field.Ethernet && len(before) >= addressesLen {
		p.Length += tagLen
		r.out[0] = withTag(r.out[0][:0], before, r.TagType, r.Tag)
		r.out[1] = withTag(r.out[1][:0], after, r.TagTypeLeft, r.TagLeft)
		before, after = r.out[0], r.out[1]
	}
	p.Before, p.After = before, after
	if p.Written().Verdict == rule.Drop {
		p.After = nil
	}
	return p
}

// sides are the bytes of both sides, as many of each. Behind what is recorded of the packet as
// it left, it is as it arrived; where that is not sure, there is no more of either.
func (r *recorded) sides(link field.Link) (before, after []byte) {
	n := min(len(r.before), len(r.after))
	if n == len(r.before) || !r.headersWithin(link, n) {
		return r.before[:n], r.after[:n]
	}
	r.whole = append(append(r.whole[:0], r.after...), r.before[n:]...)
	return r.before, r.whole
}

// headersWithin reports whether all headers are within the first n bytes, as they always are
// where no IPv6 extension headers make them longer: 14 bytes of Ethernet, 8 of tags, and what an
// ICMP error quotes, 60 of IPv4, 8 of ICMP, 60 of IPv4 and 20 of TCP, or less.
func (r *recorded) headersWithin(link field.Link, n int) bool {
	const longest, typeIPv6, typeTag, typeService = 170, 0x86dd, 0x8100, 0x88a8
	if n < longest {
		return false
	}
	at := 0
	if link == field.Ethernet {
		at = addressesLen
		for t := binary.BigEndian.Uint16(r.before[at:]); t == typeTag || t == typeService; t = binary.BigEndian.Uint16(r.before[at:]) {
			if at += tagLen; at > longest/2 {
				return false
			}
		}
		if binary.BigEndian.Uint16(r.before[at:]) != typeIPv6 {
			return true
		}
		at += 2
	} else if r.before[0]>>4 != 6 {
		return true
	}
	switch r.before[at+nextHeaderAt] {
	case hopByHop, routing, fragment, destination:
		return false
	case icmp6: // errors quote packets, which may have extension headers
		return r.before[at+headerIPv6] >= firstInformational
	}
	return true
}

// What an IPv6 header has where (RFC 8200 section 3), and the numbers of extension headers and of
// ICMPv6 (IANA), of whose types the errors are below 128 (RFC 4443 section 2.1).
const (
	nextHeaderAt       = 6
	headerIPv6         = 40
	hopByHop           = 0
	routing            = 43
	fragment           = 44
	icmp6              = 58
	destination        = 60
	firstInformational = 128
)

// withTag appends a packet with its offloaded tag in the place that it has on the wire. The
// type is in network order, as the kernel has it.
func withTag(to, packet []byte, tagType, tag uint32) []byte {
	to = append(to, packet[:addressesLen]...)
	to = binary.NativeEndian.AppendUint16(to, uint16(tagType))
	to = binary.BigEndian.AppendUint16(to, uint16(tag))
	return append(to, packet[addressesLen:]...)
}
