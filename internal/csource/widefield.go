package csource

import (
	"fmt"
	"strings"
	"sync"

	"repacket/internal/field"
	"repacket/internal/plan"
)

// pieces splits a field that is wider than a load into fields of a member each,
// the most significant first, along the windows of the plan. Other fields are
// their own only piece, and so are the parts of addresses that the plan makes.
func pieces(f *field.Field) []*field.Field {
	if isPart(f) {
		return []*field.Field{f}
	}
	return piecesOf()[f]
}

// isPart reports whether f is a part of an address that the plan has made: it has
// the address's name, lies in one member and need not fill it.
func isPart(f *field.Field) bool { return piecesOf()[f] == nil && !isPiece()[f] }

var isPiece = sync.OnceValue(func() map[*field.Field]bool {
	out := map[*field.Field]bool{}
	for _, list := range piecesOf() {
		for _, p := range list {
			out[p] = true
		}
	}
	return out
})

// plainName is the name of a piece as a part of a name in C.
func plainName(p *field.Field) string {
	return strings.NewReplacer("[", "_", "]", "").Replace(p.Name)
}

var piecesOf = sync.OnceValue(func() map[*field.Field][]*field.Field {
	out := map[*field.Field][]*field.Field{}
	for _, f := range field.AllFields() {
		out[f] = splitWide(f)
	}
	return out
})

const word = 4 // bytes of the longest load; loads do not cross its multiples

func splitWide(f *field.Field) []*field.Field {
	last := f.Byte() + f.Size() - 1
	if f.Byte()/word == last/word {
		return []*field.Field{f}
	}
	var out []*field.Field
	for at := f.Byte(); at <= last; {
		size := word
		if at%word != 0 || at+word > last+1 {
			size = word / 2
		}
		// MAC is the kind of numbers that are shown as digits of bytes.
		out = append(out, &field.Field{Proto: f.Proto, Bit: 8 * at, Width: 8 * size, Kind: field.MAC})
		at += size
	}
	for i, p := range out {
		p.Name = fmt.Sprintf("%s[%d]", f.Name, i)
		if len(out) == 2 {
			p.Name = f.Name + [...]string{"_high", "_low"}[i]
		}
	}
	return out
}

// narrow are the pieces of fields.
func narrow(fields []*field.Field) []*field.Field {
	var out []*field.Field
	for _, f := range fields {
		out = append(out, pieces(f)...)
	}
	return out
}

// within are the pieces of fields that a window holds.
func within(w plan.Window, fields []*field.Field) []*field.Field {
	var out []*field.Field
	for _, p := range narrow(fields) {
		if w.Off <= p.Byte() && p.Byte()+p.Size() <= w.Off+w.Size {
			out = append(out, p)
		}
	}
	return out
}

// elements says how many elements the array has that a piece is the first of:
// 0 if it is in none, -1 if it is another one.
func elements(p *field.Field) int {
	for _, list := range piecesOf() {
		for i, other := range list {
			if other != p || len(list) < 3 {
				continue
			}
			if i > 0 {
				return -1
			}
			return len(list)
		}
	}
	return 0
}

// bitsOf are the bits of a piece, given the whole field's value.
func bitsOf(f, piece *field.Field, v field.Value) uint64 {
	below := f.Bit + f.Width - piece.Bit - piece.Width
	return v.Shr(below).Low(piece.Width).Lo
}
