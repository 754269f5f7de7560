package plan

import (
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
	var words []string
	for _, f := range w.Fields {
		words = append(words, rule.Action{Field: f, Value: w.Get(f, field.V(uint64(w.Value)))}.Print())
	}
	return strings.Join(words, " ")
}

// Get is the value of a field in a window that holds v.
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
func (w WholeDatagram) String() string { return "whole " + w.Proto.String() + " datagram" }

// String says what the condition asks for.
func (w WholeHeader) String() string { return "whole ip header" }
