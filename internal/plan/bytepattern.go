package plan

import (
	"sync"

	"repacket/internal/field"
)

// headerBytes is the longest fixed part of a header that has fields.
const headerBytes = 40

// pattern is a set of bits of one header and what they are or become: a mask
// and a value for each byte. Tests for one value and writes of constants
// gather here, so that neighbours share a load or a store.
type pattern struct {
	header    field.Protocol
	mask, val [headerBytes]byte
	fields    []*field.Field // those that were put
}

// put adds the bits of a field. It is false if some of them are there already
// with another value, and then nothing is added.
func (p *pattern) put(f *field.Field, v field.Value) bool {
	mask, val := placed(f, v)
	for i := range mask {
		both := mask[i] & p.mask[f.Byte()+i]
		if (val[i]^p.val[f.Byte()+i])&both != 0 {
			return false
		}
	}
	for i := range mask {
		p.mask[f.Byte()+i] |= mask[i]
		p.val[f.Byte()+i] |= val[i]
	}
	p.fields = append(p.fields, f)
	return true
}

// get is the value of a field, if the pattern has all of its bits.
func (p *pattern) get(f *field.Field) (field.Value, bool) {
	mask, _ := placed(f, field.Value{})
	var v field.Value
	for i := range mask {
		if p.mask[f.Byte()+i]&mask[i] != mask[i] {
			return field.Value{}, false
		}
		v = field.Value{Hi: v.Hi<<8 | v.Lo>>56, Lo: v.Lo<<8 | uint64(p.val[f.Byte()+i]&mask[i])}
	}
	v.Lo >>= f.Shift() // no field of more than 64 bits is off a byte's edge
	return v, true
}

// placed is a field's mask and value as the bytes that hold it.
func placed(f *field.Field, v field.Value) (mask, val []byte) {
	m := f.Mask()
	v.Lo <<= f.Shift() // no field of more than 64 bits is off a byte's edge
	for i := f.Size() - 1; i >= 0; i-- {
		mask = append(mask, byteOf(m, i))
		val = append(val, byteOf(v, i))
	}
	return mask, val
}

// byteOf is byte i of v, 0 being the lowest.
func byteOf(v field.Value, i int) byte {
	if i >= 8 {
		return byte(v.Hi >> (8 * (i - 8)))
	}
	return byte(v.Lo >> (8 * i))
}

// loads covers the pattern with as few loads as there can be: of four bytes
// where both halves have a part, of two, or of one.
func (p *pattern) loads() []Write {
	var out []Write
	for off := 0; off < headerBytes; off += 4 {
		lo, hi := p.touched(off, 2), p.touched(off+2, 2)
		if lo && hi && !p.tag() {
			out = append(out, p.window(off, 4))
			continue
		}
		for half := off; half < off+4; half += 2 {
			out = append(out, p.half(half)...)
		}
	}
	return out
}

// half covers the two bytes at off.
func (p *pattern) half(off int) []Write {
	first, second := p.touched(off, 1), p.touched(off+1, 1)
	switch {
	case first && second:
		return []Write{p.window(off, 2)}
	case first:
		return []Write{p.window(off, 1)}
	case second:
		return []Write{p.window(off+1, 1)}
	}
	return nil
}

// stores covers the pattern with stores: whole bytes need no load, so four or
// two of them go together; bits that share a byte with others go by halves.
func (p *pattern) stores() []Write {
	var out []Write
	for off := 0; off < headerBytes; off += 4 {
		if p.window(off, 4).Full() && !p.tag() {
			out = append(out, p.window(off, 4))
			continue
		}
		out = append(out, p.half(off)...)
		out = append(out, p.half(off+2)...)
	}
	return out
}

// tag reports whether the header is a VLAN tag. Its first two bytes may be
// offloaded (skb->vlan_tci), so a window holds them or the other two.
func (p *pattern) tag() bool {
	layer := p.header.Header().Layer
	return layer == field.TagLayer || layer == field.InnerTagLayer
}

func (p *pattern) touched(off, size int) bool {
	return p.window(off, size).Mask != 0
}

func (p *pattern) window(off, size int) Write {
	w := Write{Window: Window{Header: p.header, Off: off, Size: size}}
	for i := off; i < off+size; i++ {
		w.Mask = w.Mask<<8 | uint32(p.mask[i])
		w.Value = w.Value<<8 | uint32(p.val[i])
	}
	for _, f := range p.fields {
		if f.Byte() < off+size && off < f.Byte()+f.Size() {
			w.Fields = append(w.Fields, f)
		}
	}
	return w
}

// patterns are the patterns of the headers of one packet.
type patterns map[field.Protocol]*pattern

func (ps patterns) of(h field.Protocol) *pattern {
	if ps[h] == nil {
		ps[h] = &pattern{header: h}
	}
	return ps[h]
}

// each calls f for every pattern, outer headers first.
func (ps patterns) each(f func(*pattern)) {
	for _, h := range field.AllProtocols() {
		if ps[h] != nil {
			f(ps[h])
		}
	}
}

// longest is the size in bytes of the longest window.
const longest = 4

// fieldWindows are the loads that hold a field, most significant first: most
// often a single one. They are not to be written to.
func fieldWindows(f *field.Field) []Window {
	if known, ok := windows()[f]; ok {
		return known
	}
	return findWindows(f) // a part of a field
}

// windows are the loads of all fields.
var windows = sync.OnceValue(func() map[*field.Field][]Window {
	out := map[*field.Field][]Window{}
	for _, f := range field.AllFields() {
		out[f] = findWindows(f)
	}
	return out
})

func findWindows(f *field.Field) []Window {
	p := pattern{header: f.Proto}
	p.put(f, f.Max())
	var out []Window
	for _, w := range p.loads() {
		out = append(out, w.Window)
	}
	return out
}
