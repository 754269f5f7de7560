// Package dissect shows packets on which rules act, for people and for machines: what
// arrived in the words of tcpdump, and what changed in the words of the rules. Its fields
// are those of the one table of fields, and what it shows of them can be typed as a rule.
//
// It knows neither the kernel nor files, and takes no help of what carries rules out: which
// headers a packet has it finds out by itself (semantics.md 3.6).
package dissect

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Packet is a packet with the headers it has. Both of its sides are read by the headers of
// what arrived.
type Packet struct {
	*run.Packet
	headers *headers
	fields  []Value
}

// New finds the headers of a packet.
func New(p *run.Packet) Packet {
	d := Packet{Packet: p, headers: parse(p.Link, p.Before, p.Length)}
	d.fields = d.read()
	return d
}

// Value is a field of a packet as it arrived and as it left. In a packet that was dropped
// both are the same.
type Value struct {
	Field         *field.Field
	Before, After field.Value
	// Offloaded: a checksum that is computed behind the hook, so the values are not one.
	Offloaded bool
}

// Changed reports whether the packet left with another value.
func (v Value) Changed() bool { return v.Before != v.After && !v.Offloaded }

// Fields are all fields of the headers that the packet has, as far as they were captured, in
// the order of the table.
func (p Packet) Fields() []Value { return p.fields }

// read reads all fields.
func (p Packet) read() []Value {
	var all []Value
	for _, f := range field.Fields() {
		before, ok := p.headers.value(f, p.Before)
		if !ok || !p.present(f) {
			continue
		}
		v := Value{Field: f, Before: before, After: before, Offloaded: p.offloaded(f)}
		if p.After != nil {
			v.After, _ = p.headers.value(f, p.After)
		}
		all = append(all, v)
	}
	return all
}

// present reports whether a field is there whose header is.
func (p Packet) present(f *field.Field) bool {
	if f.Only == nil {
		return true
	}
	v, ok := p.headers.value(field.MustByName(f.Only.Field), p.Before)
	return ok && f.Only.In.Contains(v)
}

// offloaded reports whether f is the packet's checksum that is computed behind the hook.
func (p Packet) offloaded(f *field.Field) bool {
	return p.OffloadedChecksum && f.Kind == field.Checksum && (f.Proto == field.TCP || f.Proto == field.UDP)
}

// value reads a field from data, by the headers of h; ok is false if it is not there or was
// not captured.
func (h *headers) value(f *field.Field, data []byte) (v field.Value, ok bool) {
	at := h.at[f.Proto]
	if at == missing || at+f.Byte()+f.Size() > len(data) {
		return v, false
	}
	for _, b := range data[at+f.Byte() : at+f.Byte()+f.Size()] {
		v = field.Value{Hi: v.Hi<<8 | v.Lo>>56, Lo: v.Lo<<8 | uint64(b)}
	}
	return v.Shr(f.Shift()).Low(f.Width), true
}

// text is the value of a field in the language, or ? where it was not captured.
func (h *headers) text(name string) string {
	f := field.MustByName(name)
	if v, ok := h.value(f, h.data); ok {
		return rule.PrintValue(f, v)
	}
	return "?"
}

// Changes are the fields that changed. Where a field has parts that are fields too, and only
// one of these changed, it is that part: tcp_syn; where several did it is the whole: tcp_flags.
func (p Packet) Changes() []Value {
	var changed []Value
	for _, v := range p.Fields() {
		if v.Changed() {
			changed = append(changed, v)
		}
	}
	return slices.DeleteFunc(slices.Clone(changed), func(v Value) bool {
		if parts := partsOf(v, changed); parts > 0 {
			return parts == 1
		}
		return slices.ContainsFunc(changed, func(whole Value) bool {
			return whole.Field.Contains(v.Field) && partsOf(whole, changed) > 1
		})
	})
}

// partsOf is how many of the fields that changed are a part of another one.
func partsOf(whole Value, changed []Value) (n int) {
	for _, v := range changed {
		if v.Field != whole.Field && whole.Field.Contains(v.Field) {
			n++
		}
	}
	return n
}

// Stretch is bytes that changed and belong to no field, such as the checksum of a protocol
// that has no fields: from Start to End, excluded.
type Stretch struct {
	Start, End int
}

// Rest are the bytes that changed outside of the fields.
func (p Packet) Rest() []Stretch {
	var rest []Stretch
	for i := range p.differing() {
		if p.inField(i) {
			continue
		}
		if n := len(rest); n > 0 && rest[n-1].End == i {
			rest[n-1].End++
			continue
		}
		rest = append(rest, Stretch{i, i + 1})
	}
	return rest
}

// inField reports whether a byte belongs to a field of the packet. An offloaded checksum is
// one too.
func (p Packet) inField(i int) bool {
	return slices.ContainsFunc(p.Fields(), func(v Value) bool {
		start := p.headers.at[v.Field.Proto] + v.Field.Byte()
		return start <= i && i < start+v.Field.Size()
	})
}

// Label is the rule's name or its number, or "" where there is one rule only.
func (p Packet) Label() string {
	if len(p.Program.Written) == 1 {
		return ""
	}
	return cmp.Or(p.Written().Name, strconv.Itoa(p.Rule+1))
}

// Fate is the verdict, with the interface of redirect, or "" for pass.
func (p Packet) Fate() string {
	switch v := p.Written().Verdict; v {
	case rule.Pass:
		return ""
	case rule.ToInterface:
		return v.String() + " " + p.Redirect()
	default:
		return v.String()
	}
}

// Redirect is the interface to which the rule redirects, or "".
func (p Packet) Redirect() string {
	for _, r := range p.Program.Rules {
		if r.Index == p.Rule && r.Redirect != "" {
			return r.Redirect
		}
	}
	return ""
}

// Object is fields by name, as JSON in the order of the table: numbers, and so ports and
// checksums, as numbers, flags as true and false, addresses as strings.
type Object []ObjectField

// ObjectField is one field of an Object.
type ObjectField struct {
	Field *field.Field
	Value field.Value
}

// Objects are the packet's fields as it arrived and as it left; after is nil where it was
// dropped. An offloaded checksum is in neither.
func (p Packet) Objects() (before, after Object) {
	for _, v := range p.Fields() {
		if v.Offloaded {
			continue
		}
		before = append(before, ObjectField{v.Field, v.Before})
		if p.After != nil {
			after = append(after, ObjectField{v.Field, v.After})
		}
	}
	return before, after
}

// MarshalJSON writes the object.
func (o Object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, f := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, f.Field.Name)
		b = append(b, ':')
		switch {
		case f.Field.Kind == field.Flag:
			b = strconv.AppendBool(b, !f.Value.IsZero())
		case f.Field.Kind.IsAddress():
			b = strconv.AppendQuote(b, rule.PrintValue(f.Field, f.Value))
		default:
			b = strconv.AppendUint(b, f.Value.Lo, 10)
		}
	}
	return append(b, '}'), nil
}

var _ json.Marshaler = Object(nil)
