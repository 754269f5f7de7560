package cli

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/syntax"
)

// topic is a page of help that belongs to no command.
type topic struct {
	name, short string
	// text is plain, of at most 80 columns.
	text func() string
}

var topics = []topic{
	{"rules", "the language: operators, operands, verdicts, and examples by task", rulesTopic},
	{"packets", "how to see what rules do: tcpdump, checksum offload, counting", func() string { return packetsTopic }},
}

// topicByName finds a topic.
func topicByName(name string) (topic, bool) {
	i := slices.IndexFunc(topics, func(t topic) bool { return t.name == strings.ToLower(name) })
	if i < 0 {
		return topic{}, false
	}
	return topics[i], true
}

// showTopics is the end of the help of the command itself.
func showTopics() string {
	var rows [][2]string
	for _, t := range topics {
		rows = append(rows, [2]string{"repacket help " + t.name, t.short})
	}
	return "\n\nMore help:\n" + strings.TrimRight(definitions(rows), "\n")
}

// completeHelp has the shells offer topics behind help, and what cobra offers there.
func completeHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	help, _, err := root.Find([]string{"help"})
	if err != nil {
		return
	}
	commands := help.ValidArgsFunction
	help.ValidArgsFunction = func(c *cobra.Command, words []string, begun string) ([]string, cobra.ShellCompDirective) {
		offer, directive := commands(c, words, begun)
		for _, t := range topics {
			if len(words) == 0 && strings.HasPrefix(t.name, begun) {
				offer = append(offer, cobra.CompletionWithDesc(t.name, t.short))
			}
		}
		return offer, directive
	}
}

// rulesTopic is the language on one page. What there is of it comes from the tables that
// the parser reads.
func rulesTopic() string {
	var b strings.Builder
	b.WriteString(`RULES

  [NAME:] if CONDITION [then ACTIONS [replies]] [from FILE]

  A rule says which packets to act on, and what to change in them. Rules are
  alternatives: they stand side by side, or with else or ; between them, and
  the first that matches acts. One that sets a field acts only on packets that
  have the field. All its actions read the packet as it arrived. Checksums
  follow what changes.

`)
	b.WriteString(keywords(syntax.RuleWord))
	b.WriteString("\nCONDITIONS\n\n" + keywords(syntax.ConditionWord))
	b.WriteString(definitions([][2]string{
		{"HEADER", "the packet has this header: " + strings.Join(headers(), " ")},
		{"FIELD VALUE", "the packet has the field, with this value"},
		{"FIELD V,V,V", "one of these: values, ranges LO-HI, prefixes ADDRESS/LENGTH"},
	}))
	b.WriteString("\n  Between a field and its values:\n\n" + keywords(syntax.ComparisonWord))
	b.WriteString(`
  In a file, or inside one quoted argument, == != < <= > >= && || ! and
  brackets stand for the words.

FIELDS

`)
	b.WriteString(definitions(genericFields()))
	b.WriteString(`
  "repacket fields" lists the others, "repacket fields ip_dscp" describes one.
  The names of tcpdump, Wireshark, nft, tc and iptables work where they mean
  the same. Values are decimal, 0x…, on, off, addresses, or names (ef, https).

ACTIONS

`)
	b.WriteString(definitions([][2]string{{"FIELD OPERAND", "the field becomes what the operand says"}}))
	b.WriteString(keywords(syntax.ActionWord))
	b.WriteString(operandsByField())
	b.WriteString("\nVERDICTS\n\n  A rule has at most one.\n\n")
	var rows [][2]string
	for _, v := range syntax.Verdicts() {
		rows = append(rows, [2]string{v.Usage(), v.Meaning()})
	}
	b.WriteString(definitions(rows))
	b.WriteString("\nEXAMPLES\n")
	for _, e := range taskExamples {
		fmt.Fprintf(&b, "\n  %s\n%s", e.task, commandLines("repacket "+e.line))
	}
	b.WriteString("\nSEE ALSO\n\n  repacket check RULES says what rules do, without privileges; repacket help\n  packets says how to see it. docs/cookbook.md has more tasks, and\n  docs/semantics.md defines the language.\n")
	return b.String()
}

// helpColumn is how wide the left column of help is.
const helpColumn = 23

// keywords are the words of the language of one role, with their meaning.
func keywords(r syntax.Role) string {
	var rows [][2]string
	for _, k := range syntax.Keywords(r) {
		rows = append(rows, [2]string{k.Usage(), k.Meaning})
	}
	return definitions(rows)
}

// headers are the protocols that a condition can name.
func headers() (names []string) {
	for _, p := range field.Protocols() {
		if name := p.Header().Name; name != "" {
			names = append(names, name)
		}
	}
	return names
}

func genericFields() (rows [][2]string) {
	for _, g := range field.Generics() {
		rows = append(rows, [2]string{g.Name, g.Doc + ": " + strings.Join(g.Fields, ", ")})
	}
	return rows
}

// operandsByField lists the operands, under the fields that take them.
func operandsByField() string {
	var b strings.Builder
	var done []string
	for _, o := range operand.All() {
		of := fieldsTaking(o)
		if slices.Contains(done, of) {
			continue
		}
		done = append(done, of)
		var rows [][2]string
		for _, other := range operand.All() {
			if fieldsTaking(other) == of {
				rows = append(rows, [2]string{other.Usage, other.Meaning})
			}
		}
		fmt.Fprintf(&b, "\n  Operands of %s:\n\n%s", of, definitions(rows))
	}
	return b.String()
}

// fieldsTaking says in a few words which fields take an operand.
func fieldsTaking(o *operand.Operand) string {
	var with, without []string
	for _, k := range []struct {
		kind field.Kind
		name string
	}{
		{field.Number, "numbers"},
		{field.Port, "ports"},
		{field.Address4, "addresses"},
		{field.Flag, "flags"},
		{field.Checksum, "checksums"},
	} {
		if o.Takes(k.kind) {
			with = append(with, k.name)
		} else {
			without = append(without, k.name)
		}
	}
	switch {
	case len(without) == 0:
		return "every field"
	case len(without) < len(with):
		return "every field but " + strings.Join(without, " and ")
	}
	return strings.Join(with, " and ")
}

// commandLines is a command, indented, and continued where a line is full.
func commandLines(command string) string {
	const indent, width = "    ", 78
	var b strings.Builder
	line := indent
	for i, word := range strings.Fields(command) {
		if i > 0 && len(line)+1+len(word) > width {
			b.WriteString(line + " \\\n")
			line = indent + "  " + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}

// definitions are two columns: terms, indented by two and as wide as helpColumn, and what they
// mean, broken at 80 columns. A term that is too long has a line of its own.
func definitions(rows [][2]string) string {
	var b strings.Builder
	left := helpColumn + 4
	for _, row := range rows {
		line := "  " + row[0]
		if utf8.RuneCountInString(row[0]) > helpColumn {
			b.WriteString(line + "\n")
			line = ""
		}
		line += strings.Repeat(" ", left-utf8.RuneCountInString(line))
		begun := false
		for _, word := range strings.Fields(row[1]) {
			if begun && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > 80 {
				b.WriteString(line + "\n")
				line, begun = strings.Repeat(" ", left), false
			}
			if begun {
				line += " "
			}
			line, begun = line+word, true
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
