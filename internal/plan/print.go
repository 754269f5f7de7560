package plan

import (
	"fmt"
	"math/bits"
	"strings"

	"repacket/internal/field"
	"repacket/internal/rule"
)

// String is the test in the words of the language.
func (t Test) String() string {
	if v, single := t.In.Single(); single {
		words := t.print(func(f *field.Field) field.Set { return field.One(t.Get(f, v)) })
		if !t.Not || len(t.Fields) == 1 {
			return words
		}
		return "not (" + words + ")"
	}
	return t.print(func(*field.Field) field.Set {
		shift := bits.TrailingZeros32(t.Mask)
		in := make(field.Set, len(t.In))
		for i, r := range t.In {
			in[i] = field.Range{Lo: field.V(r.Lo.Lo >> shift), Hi: field.V(r.Hi.Lo >> shift)}
		}
		return in
	})
}

// print writes a test of each field, side by side. A test of a single field is
// turned around if t is.
func (t Test) print(in func(*field.Field) field.Set) string {
	var words []string
	for _, f := range t.Fields {
		if !t.holds(f) { // values of a part say little
			words = append(words, t.part(f))
			continue
		}
		set := in(f)
		if t.Not && len(t.Fields) == 1 {
			set = set.Complement(f.Width)
		}
		words = append(words, rule.Print(rule.Test{Field: f, In: set}))
	}
	return strings.Join(words, " ")
}

// String is the write in the words of the language.
func (w Write) String() string {
	if w.Computed {
		return w.Fields[0].Name + " as worked out"
	}
	var words []string
	if w.Row != 0 {
		for _, f := range w.Fields {
			words = append(words, f.Name+" by the table")
		}
		return strings.Join(words, " ")
	}
	for _, f := range w.Fields {
		if !w.holds(f) || isPart(f) {
			words = append(words, w.part(f))
			continue
		}
		words = append(words, rule.Action{Field: f, Value: w.Get(f, field.V(uint64(w.Value)))}.Print())
	}
	return strings.Join(words, " ")
}

// holds reports whether the window holds all of the field.
func (w Window) holds(f *field.Field) bool {
	return w.Off <= f.Byte() && f.Byte()+f.Size() <= w.Off+w.Size
}

// MaskOf is where the bits of a field, or of the part of it that the window
// holds, are in the window.
func (w Window) MaskOf(f *field.Field) uint32 {
	p := pattern{header: f.Proto}
	p.put(f, f.Max())
	return p.window(w.Off, w.Size).Mask
}

// part names the bytes of a field that the window holds.
func (w Window) part(f *field.Field) string {
	first := max(w.Off, f.Byte())
	last := min(w.Off+w.Size, f.Byte()+f.Size()) - 1
	return fmt.Sprintf("%s bytes %d-%d", f.Name, first-f.Byte(), last-f.Byte())
}

// Get is the value of a field in a window that holds v and all of the field.
func (w Window) Get(f *field.Field, v field.Value) field.Value {
	return field.V(v.Lo >> (8*(w.Off+w.Size) - f.Bit - f.Width) & f.Max().Lo)
}

// String says what becomes of the checksum.
func (s Sum) String() string {
	switch s.Op {
	case Fix:
		return s.Check.Name + " fix"
	case Bad:
		return s.Check.Name + " bad"
	}
	return s.Check.Name + " follows"
}

// String says what the condition asks for.
func (w WholeDatagram) String() string {
	return "whole " + w.Proto.String() + " datagram over " + w.L3.String()
}

// String says what changes places.
func (e Exchange) String() string { return "swap " + e.Swap.Proto.String() }

// String says what is looked up.
func (l Lookup) String() string {
	var words []string
	for _, f := range l.Table.Fields {
		words = append(words, f.Name)
	}
	return l.Table.Kind.String() + " by " + strings.Join(words, ", ")
}

// String says what the condition asks for.
func (w WholeHeader) String() string { return "whole ip header" }

// String says what is worked out, in the words of the language.
func (c Compute) String() string { return c.Action.Print() }

// String is the chance in the words of the language.
func (c Chance) String() string {
	if c.Not {
		return "not " + rule.Print(c.At)
	}
	return rule.Print(c.At)
}
