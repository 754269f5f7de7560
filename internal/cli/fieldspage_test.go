package cli

import (
	"fmt"
	"strings"

	"repacket/internal/field"
)

// fieldsPage is docs/fields.md: the field table as a page. A test holds the
// file to it.
func fieldsPage() string {
	var b strings.Builder
	b.WriteString(`# The fields

Generated from the field table by ` + "`make docs`" + `; do not edit. ` + "`repacket fields NAME`" + ` describes one.

Bits are counted from the start of the header, most significant first. Checksums
are those that are updated when the field is rewritten. Case is ignored, and a
dot may replace the underscore: ` + "`ip.ttl`" + ` is ` + "`ip_ttl`" + `.
`)
	for _, p := range field.Protocols() {
		fields := fieldsOf(p)
		if len(fields) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", headerTitle(p))
		b.WriteString("| " + strings.Join(titleCase(fieldHeadings), " | ") + " |\n")
		b.WriteString("|" + strings.Repeat("---|", len(fieldHeadings)) + "\n")
		for _, f := range fields {
			row := fieldRow(f)
			row[0] = "`" + row[0] + "`"
			b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		}
	}
	b.WriteString("\n## Generic fields\n\nEach stands for the field of whichever protocol the packet has.\n\n| Name | Means |\n|---|---|\n")
	for _, s := range field.Generics() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", s.Name, strings.Join(s.Fields, ", "))
	}
	b.WriteString("\n## Structural fields\n\nThese fields determine how a packet is segmented. At tc, a rule that sets one of them skips\nGSO packets, and counts them ([semantics.md](semantics.md#38-structural-fields)):\n\n")
	for _, f := range field.Fields() {
		if f.Structural {
			fmt.Fprintf(&b, "`%s`\n", f.Name)
		}
	}
	b.WriteString("\n## Names of values\n")
	for _, f := range field.Fields() {
		if len(f.Names) > 0 && f.Kind != field.Port {
			fmt.Fprintf(&b, "\n`%s`: %s\n", f.Name, strings.Join(valueNames(f.Names), " "))
		}
	}
	fmt.Fprintf(&b, "\nPorts: %s\n", strings.Join(valueNames(field.PortNames), " "))
	return b.String()
}

func titleCase(words []string) []string {
	var out []string
	for _, w := range words {
		if w != "RFC" {
			w = w[:1] + strings.ToLower(w[1:])
		}
		out = append(out, w)
	}
	return out
}
