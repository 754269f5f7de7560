package reference

import (
	"encoding/binary"

	"repacket/internal/field"
)

// goldenRatio is 2^64 divided by the golden ratio: a multiplier that spreads what
// is alike (Knuth, The Art of Computer Programming, volume 3, section 6.4).
const goldenRatio = 0x9e3779b97f4a7c15

// flowHash is number i of the hash of the packet's flow (semantics.md 3.11).
func (p packet) flowHash(i int) uint32 {
	h := uint64(0)
	for _, word := range p.flow() {
		h = (h ^ word) * goldenRatio
		h ^= h >> 32
	}
	h += uint64(i) * goldenRatio
	h = (h ^ h>>33) * 0xff51afd7ed558ccd // as MurmurHash3 ends
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return uint32(h >> 32)
}

// flow is what all packets of a flow have in common: the addresses, the protocol and
// the ports. Not every fragment has the ports, so none counts them: then the protocol
// is what the IP header says.
func (p packet) flow() []uint64 {
	var words []uint64
	var number uint8
	var whole bool
	if l3, ok := p.at[field.IP6]; ok {
		header := p.frame[l3:]
		for at := 8; at < 40; at += 8 {
			words = append(words, binary.BigEndian.Uint64(header[at:]))
		}
		number, whole = header[6], !p.stepped.more
	} else {
		header := p.frame[p.at[field.IP]:]
		words = append(words, binary.BigEndian.Uint64(header[12:]))
		number, whole = header[9], !readIP(header).more
	}
	for _, proto := range []field.Protocol{field.TCP, field.UDP} {
		if l4, ok := p.at[proto]; ok && whole {
			ports := binary.BigEndian.Uint32(p.frame[l4:])
			return append(words, uint64(ports)<<32|uint64(proto.Header().Number))
		}
	}
	return append(words, uint64(number))
}
