package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"repacket/internal/field"
)

// fields lists every field, those of one header, or all about one field or
// generic field.
func (a *app) fields(words []string) error {
	if len(words) > 1 {
		return usage("repacket fields ip_dscp", "fields takes one name, not %d", len(words))
	}
	name := strings.ToLower(strings.Join(words, ""))
	protocols := field.Protocols()
	if name != "" {
		protocols = named(name)
	}
	generic, isGeneric := field.GenericByName(name)
	f, isField := field.ByName(strings.ReplaceAll(name, ".", "_"))
	switch {
	case a.out.json && len(protocols) > 0:
		for _, p := range protocols {
			a.out.fieldObjects(fieldsOf(p)...)
		}
	case a.out.json && isGeneric:
		a.out.fieldObjects(generic...)
	case a.out.json && isField:
		a.out.fieldObjects(f)
	case len(protocols) > 0:
		a.out.fieldTable(protocols)
		if name == "" {
			a.out.genericTable()
		}
	case isGeneric:
		a.out.genericDetail(name, generic)
	case isField:
		a.out.fieldDetail(f)
	default:
		return unknownField(words[0], name)
	}
	return nil
}

func unknownField(word, name string) error {
	hint := "repacket fields lists them all"
	if near := nearest(name, fieldNames()); near != "" {
		if f, ok := field.ByName(near); ok {
			near = f.Name
		}
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return usage(hint, "no field is named %q", word)
}

// named are the headers whose fields begin with a protocol's name: tcp has an
// option, too.
func named(name string) []field.Protocol {
	return slices.DeleteFunc(field.Protocols(), func(p field.Protocol) bool { return p.Header().Prefix != name || len(fieldsOf(p)) == 0 })
}

func fieldsOf(p field.Protocol) []*field.Field {
	return slices.DeleteFunc(slices.Clone(field.Fields()), func(f *field.Field) bool { return f.Proto != p })
}

// fieldNames are the words that mean a field, canonical names first.
func fieldNames() []string {
	var names, aliases []string
	for _, f := range field.Fields() {
		names, aliases = append(names, f.Name), append(aliases, f.Aliases...)
	}
	for _, s := range field.Generics() {
		names = append(names, s.Name)
	}
	return append(names, aliases...)
}

// fieldHeadings name the cells of fieldRow.
var fieldHeadings = []string{"NAME", "BIT", "WIDTH", "VALUES", "MEANING", "CHECKSUMS", "RFC", "ALIASES"}

func fieldRow(f *field.Field) []string {
	return []string{
		f.Name, strconv.Itoa(f.Bit), strconv.Itoa(f.Width), fieldValues(f), fieldMeaning(f),
		strings.Join(checksums(f), " "), f.RFC, strings.Join(f.Aliases, " "),
	}
}

func fieldMeaning(f *field.Field) string {
	if f.Unit != "" {
		return f.Doc + ", in " + f.Unit
	}
	return f.Doc
}

// fieldValues says in a few words what can be written for a value of f.
func fieldValues(f *field.Field) string {
	switch {
	case f.Kind == field.Flag:
		return "on, off"
	case f.Kind == field.Address4, f.Kind == field.Address6, f.Kind == field.MAC:
		return f.Kind.String()
	case f.Kind == field.Checksum:
		return fmt.Sprintf("0 to %v, fix, bad", f.Max())
	case len(f.Names) > 0:
		return fmt.Sprintf("0 to %v, names", f.Max())
	}
	return fmt.Sprintf("0 to %v", f.Max())
}

// checksums are the names of the checksums that follow when f is rewritten.
func checksums(f *field.Field) []string {
	var names []string
	for _, c := range f.Covers {
		if !slices.Contains(names, c.Check) {
			names = append(names, c.Check)
		}
	}
	return names
}

func headerTitle(p field.Protocol) string {
	h := p.Header()
	if h.Name == "" {
		return fmt.Sprintf("%s, %s", h.Title, h.RFC)
	}
	return fmt.Sprintf("%s (%s), %s", h.Title, h.Name, h.RFC)
}

func (o *output) fieldTable(protocols []field.Protocol) {
	rows := [][]string{fieldHeadings}
	for _, p := range protocols {
		for _, f := range fieldsOf(p) {
			rows = append(rows, fieldRow(f))
		}
	}
	lines := columns(rows, 1, 2)
	headings, lines := lines[0], lines[1:]
	for _, p := range protocols {
		n := len(fieldsOf(p))
		if n == 0 {
			continue
		}
		o.printf("%s\n%s\n%s\n\n", o.heading(headerTitle(p)), headings, strings.Join(lines[:n], "\n"))
		lines = lines[n:]
	}
}

func (o *output) genericTable() {
	o.printf("%s\n", o.heading("Generic fields: the field of whichever protocol is there"))
	var rows [][]string
	for _, s := range field.Generics() {
		rows = append(rows, []string{s.Name, strings.Join(s.Fields, ", "), s.Doc})
	}
	o.printf("%s\n", strings.Join(columns(rows), "\n"))
}

func (o *output) genericDetail(name string, fields []*field.Field) {
	o.printf("%s  whichever of these is there:\n", o.heading(name))
	var rows [][]string
	for _, f := range fields {
		rows = append(rows, []string{"  " + f.Name, fieldMeaning(f), headerTitle(f.Proto)})
	}
	o.printf("%s\n", strings.Join(columns(rows), "\n"))
	o.printf("\n  example: repacket -i eth1 %s\n", exampleRule(name, fields[0]))
}

// fieldDetail tells all about one field.
func (o *output) fieldDetail(f *field.Field) {
	o.printf("%s  %s\n", o.heading(f.Name), fieldMeaning(f))
	rows := [][]string{
		{"  header", headerTitle(f.Proto)},
		{"  place", fieldPlace(f)},
		{"  values", fieldValues(f)},
	}
	rows = append(rows, labelled("  names", wrap(valueNames(f.Names)))...)
	if f.Only != nil {
		rows = append(rows, []string{"  only with", onlyWith(f)})
	}
	if len(f.Aliases) > 0 {
		rows = append(rows, []string{"  aliases", strings.Join(f.Aliases, " ")})
	}
	if c := checksums(f); len(c) > 0 {
		rows = append(rows, []string{"  checksums", strings.Join(c, ", ") + " follow a change"})
	}
	if f.Structural {
		rows = append(rows, []string{"  structural", "it determines how a packet is segmented: receivers and segmentation offload depend on it"})
	}
	rows = append(rows, []string{"  source", f.RFC}, []string{"  example", "repacket -i eth1 " + exampleRule(f.Name, f)})
	o.printf("%s\n", strings.Join(columns(rows), "\n"))
}

func fieldPlace(f *field.Field) string {
	bits := "1 bit"
	if f.Width > 1 {
		bits = fmt.Sprintf("%d bits", f.Width)
	}
	if f.Width%8 == 0 && f.Bit%8 == 0 {
		return fmt.Sprintf("byte %d of the header, %s", f.Byte(), bits)
	}
	return fmt.Sprintf("byte %d of the header, %s, mask 0x%0*x", f.Byte(), bits, 2*f.Size(), f.Mask().Lo)
}

func valueNames(names field.NameSet) []string {
	var words []string
	for _, n := range names {
		words = append(words, fmt.Sprintf("%s=%d", n.Word, n.Value))
	}
	return words
}

// onlyWith is the test of the packets on which f is there.
func onlyWith(f *field.Field) string {
	names := field.MustByName(f.Only.Field).Names
	var words []string
	for _, r := range f.Only.In {
		for v := r.Lo; v.Cmp(r.Hi) <= 0; v = v.Inc() {
			word := v.String()
			if name := names.Word(v.Lo); name != "" {
				word = name
			}
			words = append(words, word)
		}
	}
	return f.Only.Field + " " + strings.Join(words, ",")
}

// labelled are rows of which the first carries the label.
func labelled(label string, lines []string) [][]string {
	var rows [][]string
	for _, line := range lines {
		rows = append(rows, []string{label, line})
		label = ""
	}
	return rows
}

// wrap breaks words into lines of at most 64 columns.
func wrap(words []string) []string {
	const width = 64
	var lines []string
	for _, w := range words {
		if n := len(lines) - 1; n >= 0 && len(lines[n])+1+len(w) <= width {
			lines[n] += " " + w
			continue
		}
		lines = append(lines, w)
	}
	return lines
}

// exampleRule is a rule that tests f, under one of its names, and sets it.
func exampleRule(name string, f *field.Field) string {
	test, set := "1", "2"
	switch {
	case f.Kind == field.Flag:
		test, set = "on", "off"
	case f.Kind == field.Port:
		test, set = "443", "8080"
	case f.Kind == field.Address4:
		test, set = "10.20.0.0/16", "192.0.2.1"
	case f.Kind == field.Address6:
		test, set = "2001:db8::/32", "2001:db8::1"
	case f.Kind == field.MAC:
		test, set = "02:00:00:00:00:01", "02:00:00:00:00:02"
	case f.Kind == field.Checksum:
		test, set = "0xdead", "fix"
	case len(f.Names) > 1:
		test, set = f.Names[len(f.Names)-2].Word, f.Names[0].Word
	}
	return fmt.Sprintf("if %s %s then %s %s", name, test, name, set)
}

// fieldEvent is a field as JSON.
type fieldEvent struct {
	event
	Name       string            `json:"name"`
	Aliases    []string          `json:"aliases"`
	Header     string            `json:"header"`
	Bit        int               `json:"bit"`
	Width      int               `json:"width"`
	Kind       string            `json:"kind"`
	Names      map[string]uint64 `json:"names,omitempty"`
	Unit       string            `json:"unit,omitempty"`
	Only       string            `json:"only,omitempty"`
	Checksums  []string          `json:"checksums"`
	Structural bool              `json:"structural"`
	Meaning    string            `json:"meaning"`
	RFC        string            `json:"rfc"`
}

func (o *output) fieldObjects(fs ...*field.Field) {
	for _, f := range fs {
		o.object(fieldObject(o.event("field"), f))
	}
}

func fieldObject(e event, f *field.Field) fieldEvent {
	names := map[string]uint64{}
	for _, n := range f.Names {
		names[n.Word] = n.Value
	}
	only := ""
	if f.Only != nil {
		only = onlyWith(f)
	}
	return fieldEvent{
		event: e, Name: f.Name, Aliases: append([]string{}, f.Aliases...), Header: f.Proto.String(),
		Bit: f.Bit, Width: f.Width, Kind: f.Kind.String(), Names: names, Unit: f.Unit, Only: only,
		Checksums: append([]string{}, checksums(f)...), Structural: f.Structural, Meaning: f.Doc, RFC: f.RFC,
	}
}
