package dissect

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
)

// Style is how packets are shown.
type Style struct {
	Color bool
	// Width is how many columns a line of fields may have, or 0 for no limit. Lines that
	// are one packet are never broken.
	Width int
}

// paint is an escape sequence that sets a colour or a weight, which can be read on a light and on a
// dark background: green and cyan cannot on white, where terminals show bold ones brighter still.
type paint string

const (
	plain  paint = ""
	oldest paint = "\x1b[31m" // what was
	newest paint = "\x1b[1m"  // what is
	name   paint = "\x1b[35m" // a rule, a header
	faint  paint = "\x1b[2m"  // what structures
	unset        = "\x1b[0m"
)

// as paints a text.
func (s Style) as(p paint, text string) string {
	if !s.Color || p == plain || text == "" {
		return text
	}
	return string(p) + text + unset
}

// change is an old and a new text.
func (s Style) change(before, after string) string {
	return s.as(oldest, before) + " → " + s.as(newest, after)
}

// Line is the packet in one line: what arrived, a bar, and what the rule did to it.
func (p Packet) Line(s Style) string {
	var b strings.Builder
	b.WriteString(p.Time.Format("15:04:05.000000") + " ")
	if p.Direction != run.NoDirection {
		b.WriteString(p.Direction.String() + " ")
	}
	b.WriteString(p.headers.summary())
	if p.Segments > 1 {
		fmt.Fprintf(&b, ", %d segments", p.Segments)
	}
	if deed := p.deed(s); deed != "" {
		b.WriteString(s.as(faint, " | ") + deed)
	}
	return b.String()
}

// deed is what the rule did: nothing where it is the only one and a dry run.
func (p Packet) deed(s Style) string {
	label, dryRun := p.Label(), p.Written().DryRun
	var parts []string
	for _, v := range p.Changes() {
		parts = append(parts, v.Field.Name+" "+s.change(v.texts()))
	}
	for _, r := range p.Rest() {
		parts = append(parts, r.bytes()+" "+s.change(r.of(p.Before), r.of(p.After)))
	}
	if check := p.offloadedCheck(); check != "" {
		parts = append(parts, check+" offloaded")
	}
	if fate := p.Fate(); fate != "" {
		parts = append(parts, s.as(newest, fate))
	}
	switch {
	case len(parts) > 0:
	case dryRun && label == "":
		return ""
	case dryRun:
		parts = []string{"match"}
	default:
		parts = []string{"no change"}
	}
	if label != "" {
		label = s.as(name, label) + ": "
	}
	return label + strings.Join(parts, ", ")
}

// texts are both values in the language.
func (v Value) texts() (before, after string) {
	return rule.PrintValue(v.Field, v.Before), rule.PrintValue(v.Field, v.After)
}

// bytes names the place of a stretch in the packet.
func (r Stretch) bytes() string {
	if r.End == r.Start+1 {
		return fmt.Sprintf("byte %d", r.Start)
	}
	return fmt.Sprintf("bytes %d-%d", r.Start, r.End-1)
}

// of is a stretch of data in hexadecimal.
func (r Stretch) of(data []byte) string { return fmt.Sprintf("0x%x", data[r.Start:r.End]) }

// offloadedCheck is the field of the checksum that is computed behind the hook, if it covers
// what changed, or "".
func (p Packet) offloadedCheck() string {
	for _, v := range p.Fields() {
		if v.Offloaded && slices.ContainsFunc(p.Changes(), func(changed Value) bool {
			return slices.ContainsFunc(changed.Field.Covers, func(c field.Cover) bool { return c.Check == v.Field.Name })
		}) {
			return v.Field.Name
		}
	}
	return ""
}

// differing are the places of the bytes that changed.
func (p Packet) differing() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range min(len(p.Before), len(p.After)) {
			if p.Before[i] != p.After[i] && !yield(i) {
				return
			}
		}
	}
}

// Block is the line and below it all fields of all headers, a header a line or more.
func (p Packet) Block(s Style) string {
	var b strings.Builder
	b.WriteString(p.Line(s) + "\n")
	items := map[string][]item{} // by what the names of a header's fields begin with
	for _, v := range p.Fields() {
		prefix := v.Field.Proto.Header().Prefix
		items[prefix] = append(items[prefix], v.item(s))
	}
	for _, proto := range field.Protocols() {
		prefix := proto.Header().Prefix
		if len(items[prefix]) > 0 {
			s.writeItems(&b, prefix, append(items[prefix], p.further(proto)...))
		}
		delete(items, prefix)
	}
	return b.String()
}

// item is a text and how many columns it has.
type item struct {
	text    string
	columns int
}

func plainItem(text string) item { return item{text, utf8.RuneCountInString(text)} }

// item is the field as it stands in a block.
func (v Value) item(s Style) item {
	before, after := v.texts()
	switch {
	case v.Offloaded:
		return plainItem(v.Field.Name + " offloaded")
	case !v.Changed():
		return plainItem(v.Field.Name + " " + before)
	}
	in := plainItem(v.Field.Name + " " + Style{}.change(before, after))
	in.text = v.Field.Name + " " + s.change(before, after)
	return in
}

// further is what a header has besides fields.
func (p Packet) further(proto field.Protocol) []item {
	h := p.headers
	switch at := h.at[proto]; {
	case proto == field.TCP && h.captured(at, proto.Header().Fixed):
		if texts := h.optionTexts(); texts != nil {
			return []item{plainItem("options [" + strings.Join(texts, ",") + "]")}
		}
	case proto == field.IP && h.l4.at > at+proto.Header().Fixed:
		end := min(h.l4.at, len(h.data))
		return []item{plainItem(fmt.Sprintf("options 0x%x", h.data[min(at+proto.Header().Fixed, end):end]))}
	case proto == field.IP6 && len(h.extensions) > 0:
		return []item{plainItem("extensions [" + strings.TrimSpace(h.extensionHeaders()) + "]")}
	}
	return nil
}

// The columns of a block.
const (
	indent     = 4
	headColumn = 7 // of the name of a header, and a blank
	gap        = 2
)

// writeItems writes the fields of a header, in as many lines as the width asks for.
func (s Style) writeItems(b *strings.Builder, header string, items []item) {
	lead := strings.Repeat(" ", indent)
	fmt.Fprintf(b, "%s%s%s", lead, s.as(name, header), strings.Repeat(" ", headColumn-len(header)))
	column := indent + headColumn
	for i, it := range items {
		switch {
		case i == 0:
		case s.Width > 0 && column+gap+it.columns > s.Width:
			b.WriteString("\n" + strings.Repeat(" ", indent+headColumn))
			column = indent + headColumn
		default:
			b.WriteString(strings.Repeat(" ", gap))
			column += gap
		}
		b.WriteString(it.text)
		column += it.columns
	}
	b.WriteByte('\n')
}

// bytesPerLine is as tcpdump -xx has it.
const bytesPerLine = 16

// Bytes is the packet in hexadecimal, as tcpdump -xx shows it: as it arrived, and below a
// line in which bytes changed, these as they left.
func (p Packet) Bytes(s Style) string {
	var b strings.Builder
	changed := map[int]bool{}
	for i := range p.differing() {
		changed[i] = true
	}
	for at := 0; at < len(p.Before); at += bytesPerLine {
		before, after, shown := "", "", 0
		for i := at; i < min(at+bytesPerLine, len(p.Before)); i++ {
			if (i-at)%2 == 0 {
				before, after = before+" ", after+" "
			}
			if !changed[i] {
				before, after = before+fmt.Sprintf("%02x", p.Before[i]), after+"  "
				continue
			}
			before += s.as(oldest, fmt.Sprintf("%02x", p.Before[i]))
			after += s.as(newest, fmt.Sprintf("%02x", p.After[i]))
			shown++
		}
		fmt.Fprintf(&b, "\t0x%04x: %s\n", at, before)
		if shown > 0 {
			fmt.Fprintf(&b, "\t     → %s\n", strings.TrimRight(after, " "))
		}
	}
	return b.String()
}
