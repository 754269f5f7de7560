package software

import (
	"encoding/binary"
	"math/bits"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// truth is what is known of a condition. The values are ordered so that the less one of two
// parts of an "and" holds is their minimum.
type truth uint8

const (
	no truth = iota
	unknown
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// condition is whether a condition holds for the packet of a runner.
type condition func(*Runner) truth

// condition makes one of a plan's; nil always holds.
func (c *compiler) condition(x plan.Cond) condition {
	switch x := x.(type) {
	case nil:
		return nil
	case plan.And:
		return allOf(c.conditions(x))
	case plan.Or:
		return anyOf(c.conditions(x))
	case plan.Test:
		return test(x)
	case plan.Chance:
		return func(r *Runner) truth { return truthOf((r.Draw(x.Index) < x.Below) != x.Not) }
	case plan.WholeDatagram:
		return func(r *Runner) truth { return r.wholeDatagram(x) }
	case plan.WholeHeader:
		return func(r *Runner) truth { return r.wholeHeader(x) }
	}
	panic("software: unknown kind of condition")
}

func (c *compiler) conditions(list []plan.Cond) []condition {
	out := make([]condition, len(list))
	for i, x := range list {
		out[i] = c.condition(x)
	}
	return out
}

// allOf holds if all of the list do.
func allOf(list []condition) condition {
	return func(r *Runner) truth {
		all := yes
		for _, holds := range list {
			if all = min(all, holds(r)); all == no {
				return no
			}
		}
		return all
	}
}

// anyOf holds if one of the list does.
func anyOf(list []condition) condition {
	return func(r *Runner) truth {
		some := no
		for _, holds := range list {
			if some = max(some, holds(r)); some == yes {
				return yes
			}
		}
		return some
	}
}

// test makes the condition of a test.
func test(t plan.Test) condition {
	w, in, not := windowOf(t.Window), t.In, t.Not
	part := func(r *Runner) truth { return r.partOf(w, in, not) }
	if v, single := in.Single(); single {
		value := uint32(v.Lo)
		return func(r *Runner) truth {
			have, ok := r.load(w)
			if !ok {
				return part(r)
			}
			return truthOf((have == value) != not)
		}
	}
	if len(in) == 1 {
		lo, span := uint32(in[0].Lo.Lo), uint32(in[0].Hi.Lo-in[0].Lo.Lo)
		return func(r *Runner) truth {
			have, ok := r.load(w)
			if !ok {
				return part(r)
			}
			return truthOf((have-lo <= span) != not)
		}
	}
	return func(r *Runner) truth {
		have, ok := r.load(w)
		if !ok {
			return part(r)
		}
		return truthOf(in.Contains(field.V(uint64(have))) != not)
	}
}

// partOf is a test of a window of which bytes may be missing: its value is between those
// that it has with all of their bits 0 and 1.
func (r *Runner) partOf(w window, in field.Set, not bool) truth {
	lo, missing := r.loadPart(w)
	if missing == 0 {
		return truthOf(in.Contains(field.V(uint64(lo))) != not)
	}
	between := field.Range{Lo: field.V(uint64(lo)), Hi: field.V(uint64(lo | missing))}
	common := in.Intersect(field.Set{between})
	switch {
	case common.Empty():
		return truthOf(not)
	case common.Equal(field.Set{between}):
		return truthOf(!not)
	}
	return unknown
}

// wholeDatagram reports whether a plan.WholeDatagram holds.
func (r *Runner) wholeDatagram(x plan.WholeDatagram) truth {
	length, whole := r.datagram(x.L3)
	if whole != yes || x.Proto != field.UDP {
		return whole
	}
	claimed, ok := r.load(udpLength)
	if !ok {
		return unknown
	}
	return truthOf(int(claimed) == length)
}

// udpLength is where UDP says how long it is (RFC 768).
var udpLength = window{header: uint8(field.UDP), off: 4, size: 2, mask: 0xffff}

// datagram is the length in bytes of the datagram of layer 4, and reports whether it is
// whole: no fragment, and all of it was in the packet.
func (r *Runner) datagram(l3 field.Protocol) (length int, whole truth) {
	at := r.at[l3]
	if at+l3.Header().Fixed > len(r.data) {
		return 0, unknown
	}
	header := r.data[at:]
	if l3 == field.IP6 {
		payload := int(binary.BigEndian.Uint16(header[4:]))
		return payload - r.stepped, truthOf(!r.more && payload != 0 && at+ip6Len+payload <= r.length)
	}
	total := int(binary.BigEndian.Uint16(header[2:]))
	more := header[6]&moreFragments != 0
	return total - 4*int(header[0]&0xf), truthOf(!more && total != 0 && at+total <= r.length)
}

// wholeHeader reports whether a plan.WholeHeader holds.
func (r *Runner) wholeHeader(x plan.WholeHeader) truth {
	at, size := r.at[field.IP], 4*x.Words
	if size == 0 {
		if at >= len(r.data) {
			return unknown
		}
		size = 4 * int(r.data[at]&0xf)
	}
	return truthOf(size >= ipLen && at+size <= r.length)
}

// window is a plan.Window.
type window struct {
	header, size uint8
	off          int32
	mask         uint32
}

func windowOf(w plan.Window) window {
	return window{uint8(w.Header), uint8(w.Size), int32(w.Off), w.Mask}
}

func windowsOf(list []plan.Window) []window {
	out := make([]window, len(list))
	for i, w := range list {
		out[i] = windowOf(w)
	}
	return out
}

// full is the window with all of its bits.
func (w window) full() window {
	w.mask = uint32(uint64(1)<<(8*w.size) - 1)
	return w
}

// load is the masked window as a big-endian number; ok is false if a byte of it is missing.
func (p *packet) load(w window) (v uint32, ok bool) {
	at := p.at[w.header] + int(w.off)
	if at+int(w.size) > len(p.data) {
		return 0, false
	}
	return read(p.data[at:], w.size) & w.mask, true
}

// read is a big-endian number of 1, 2 or 4 bytes.
func read(b []byte, size uint8) uint32 {
	switch size {
	case 2:
		return uint32(binary.BigEndian.Uint16(b))
	case 4:
		return binary.BigEndian.Uint32(b)
	}
	return uint32(b[0])
}

// write writes a big-endian number of 1, 2 or 4 bytes.
func write(b []byte, size uint8, v uint32) {
	switch size {
	case 2:
		binary.BigEndian.PutUint16(b, uint16(v))
	case 4:
		binary.BigEndian.PutUint32(b, v)
	default:
		b[0] = byte(v)
	}
}

// loadPart is load with 0 for missing bytes, of which missing are the bits of the mask.
func (p *packet) loadPart(w window) (v, missing uint32) {
	at := p.at[w.header] + int(w.off)
	for i := range int(w.size) {
		v, missing = v<<8, missing<<8
		if at+i < len(p.data) {
			v |= uint32(p.data[at+i])
		} else {
			missing |= 0xff
		}
	}
	return v & w.mask, missing & w.mask
}

// has reports whether the bytes of a window that its mask takes were captured.
func (p *packet) has(w window) bool {
	last := int(w.size) - bits.TrailingZeros32(w.mask)/8 // behind the last byte that counts
	return p.at[w.header]+int(w.off)+last <= len(p.data)
}
