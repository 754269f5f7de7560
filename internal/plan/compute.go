package plan

import (
	"math/bits"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/rule"
)

// Compute works out a new value, from the packet as it arrived, from random numbers
// or from the hash of the packet's flow. The value is left in the step's scratch area as an image: the bytes
// that the field's windows will have, bits of other fields 0.
type Compute struct {
	// Action is what the rule says.
	Action rule.Action
	// Field gets the value: the action's field, or of one that is chosen a part of
	// it that lies in one window.
	Field *field.Field
	// Skip, where anything that Field can hold is chosen: the value is the
	// Field.Width bits behind the first Skip bits of the numbers, which are random
	// and stand from Action.Draw on, or are those of the hash.
	Skip int
	// Slot is where the image begins in the scratch area, see At.
	Slot int
}

// Bits reports whether a chosen value is nothing but bits of the numbers: the
// field has one window, see Skip. Otherwise it is Action.Range, of 2^32 values
// at most, and one number chooses from it as rule.Action.Words says.
func (c Compute) Bits() bool {
	return c.Action.Op.Chooses() && (c.Field != c.Action.Field || c.Action.Range == field.Range{Hi: c.Field.Max()})
}

// Windows are those of the field, most significant first.
func (c Compute) Windows() []Window { return fieldWindows(c.Field) }

// At is where in the scratch area the image of a window of the field is, in
// bytes. It is aligned as the window is in its header.
func (c Compute) At(w Window) int { return c.Slot + w.Off - alignedDown(c.Field) }

// source is the image of a window of the field.
func (c Compute) source(w Window) Source { return Source{Computed: true, Slot: c.At(w)} }

// size is how much of the scratch area the image takes.
func (c Compute) size() int {
	end := c.Field.Byte() + c.Field.Size()
	return (end - alignedDown(c.Field) + longest - 1) &^ (longest - 1)
}

func alignedDown(f *field.Field) int { return f.Byte() &^ (longest - 1) }

// flowHash is the size in bytes of the state of the hash, which back ends keep behind
// the images.
const flowHash = 8

// Scratch is the size in bytes of the area that a step works values out in, a
// multiple of 4. The last 8 are for the state of the hash if the step has a Flow.
func (s Step) Scratch() int {
	if len(s.Computes) == 0 {
		return 0
	}
	last := s.Computes[len(s.Computes)-1]
	size := last.Slot + last.size()
	if s.Flow != nil {
		size += flowHash
	}
	return size
}

// edit is what a field, or a part of it, becomes: a value that is known, or
// one that is worked out.
type edit struct {
	field   *field.Field
	value   field.Value
	compute *Compute
}

// edits are what a rule's actions do, fix and bad apart.
func edits(r *rule.Rule) (list []edit, computes []Compute) {
	slot := 0
	add := func(f *field.Field, a rule.Action, skip int) {
		c := Compute{Action: a, Field: f, Skip: skip, Slot: slot}
		slot += c.size()
		computes = append(computes, c)
		list = append(list, edit{field: f, compute: &c})
	}
	for _, a := range r.Actions {
		switch {
		case a.Op.Sums() || a.Idle():
		case a.Op == operand.Set:
			list = append(list, edit{field: a.Field, value: a.Value})
		case a.Op == operand.Prefix:
			list = append(list, upperBits(a.Field, a.Value, a.Bits)...)
		case a.Op.Chooses() && a.Field.Kind.IsAddress() && a.Field.PrefixLength(a.Range) >= 0:
			n, skip := a.Field.PrefixLength(a.Range), 0
			list = append(list, upperBits(a.Field, a.Range.Lo, n)...)
			for _, f := range pieces(a.Field, n, a.Field.Width) {
				add(f, a, skip)
				skip += f.Width
			}
		default:
			add(a.Field, a, 0)
		}
	}
	return list, computes
}

// upperBits sets the upper n bits of an address to those of v.
func upperBits(f *field.Field, v field.Value, n int) []edit {
	var out []edit
	for _, p := range pieces(f, 0, n) {
		below := f.Bit + f.Width - p.Bit - p.Width
		out = append(out, edit{field: p, value: v.Shr(below).Low(p.Width)})
	}
	return out
}

// pieces are the bits of an address from one on to another, one piece a window.
func pieces(f *field.Field, from, to int) []*field.Field {
	var out []*field.Field
	for _, w := range fieldWindows(f) {
		first, last := max(8*w.Off-f.Bit, from), min(8*(w.Off+w.Size)-f.Bit, to)
		if first < last {
			out = append(out, bitsOf(f, first, last-first))
		}
	}
	return out
}

// bitsOf are width bits of an address, from its bit at on, as a field of their
// own. In 16-bit sums 2^16 is 1, so its weight is one of the lowest 16 powers.
func bitsOf(f *field.Field, at, width int) *field.Field {
	if width == f.Width {
		return f
	}
	p := *f
	p.Bit, p.Width = f.Bit+at, width
	below := f.Width - at - width
	p.Covers = make([]field.Cover, len(f.Covers))
	for i, c := range f.Covers {
		c.Weight <<= below % 16
		p.Covers[i] = c
	}
	return &p
}

// factor is what one unit of a window adds to a sum in which one unit of the
// field adds weight.
func factor(f *field.Field, w Window, weight int) int {
	if !f.Kind.IsAddress() {
		// A field of several windows is an address.
		return weight >> bits.TrailingZeros32(w.Mask)
	}
	// The weight of an address, or of a part of one, is a power of two, and of
	// these 16 are different.
	below := 8*(w.Off+w.Size) - f.Bit - f.Width // bits of the window below the field's last one
	sign := 1
	if weight < 0 {
		sign, weight = -1, -weight
	}
	power := (bits.TrailingZeros(uint(weight)) - below) % 16
	return sign << ((power + 16) % 16)
}

// isPart reports whether f is a part of a field.
func isPart(f *field.Field) bool { return f.Width != field.MustByName(f.Name).Width }
