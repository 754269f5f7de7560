package cli

import (
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

// section is a part of a page of help. Its blocks are of the types paragraph, list, example and
// form. The manual page repacket-rules(5) is made of the same.
type section struct {
	title  string
	blocks []any
}

type (
	// paragraph is text, whose lines are broken where it is shown.
	paragraph string
	// list are terms, and what they mean.
	list [][2]string
	// example is a task, and the words behind repacket that do it.
	example struct{ task, line string }
	// form is how something is written.
	form string
)

// rulesTopic is the language on one page.
func rulesTopic() string {
	var pages []string
	for _, s := range rulesPage() {
		texts := []string{s.title + "\n"}
		for _, b := range s.blocks {
			texts = append(texts, blockText(b))
		}
		pages = append(pages, strings.Join(texts, "\n"))
	}
	return strings.Join(pages, "\n")
}

// blockText is a block as plain text.
func blockText(b any) string {
	switch b := b.(type) {
	case list:
		return definitions(b)
	case example:
		return paragraphText(b.task) + commandLines("repacket "+b.line, "    ", 78)
	case form:
		return "  " + string(b) + "\n"
	}
	return paragraphText(string(b.(paragraph)))
}

// rulesPage is the language. What there is of it comes from the tables that the parser reads.
func rulesPage() []section {
	return []section{
		{"RULES", []any{
			form("[NAME:] if CONDITION [then ACTIONS [replies]] [from FILE]"),
			paragraph(`A rule says which packets to act on, and what to change in them. Rules are alternatives: they stand
side by side, or with else or ; between them, and the first that matches acts. One that sets a field acts only
on packets that have the field. All its actions read the packet as it arrived. Checksums follow what changes.`),
			keywords(syntax.RuleWord),
		}},
		{"CONDITIONS", []any{
			append(keywords(syntax.ConditionWord),
				[2]string{"HEADER", "the packet has this header: " + strings.Join(headers(), " ")},
				[2]string{"FIELD VALUE", "the packet has the field, with this value"},
				[2]string{"FIELD V,V,V", "one of these: values, ranges LO-HI, prefixes ADDRESS/LENGTH"}),
			paragraph("Between a field and its values:"),
			keywords(syntax.ComparisonWord),
			paragraph("In a file, or inside one quoted argument, == != < <= > >= && || ! and brackets stand for the words."),
		}},
		{"GENERIC FIELDS", []any{
			genericFields(),
			paragraph(`"repacket fields" lists the others, "repacket fields ip_dscp" describes one. The names of tcpdump,
Wireshark, nft, tc and iptables work where they mean the same. Values are decimal, 0x…, on, off, addresses, or
names (ef, https).`),
		}},
		{"ACTIONS AND OPERANDS", slices.Concat([]any{
			append(list{{"FIELD OPERAND", "the field becomes what the operand says"}}, keywords(syntax.ActionWord)...),
		}, operandsByField())},
		{"VERDICTS", []any{paragraph("A rule has at most one."), verdicts()}},
		{"EXAMPLES", examplesByTask()},
		{"SEE ALSO", []any{paragraph(`repacket check RULES says what rules do, without privileges; repacket help packets
says how to see it. docs/cookbook.md has more tasks, and docs/semantics.md defines the language.`)}},
	}
}

func verdicts() (rows list) {
	for _, v := range syntax.Verdicts() {
		rows = append(rows, [2]string{v.Usage(), v.Meaning()})
	}
	return rows
}

func examplesByTask() (blocks []any) {
	for _, e := range taskExamples {
		blocks = append(blocks, e)
	}
	return blocks
}

// helpColumn is how wide the left column of help is.
const helpColumn = 23

// keywords are the words of the language of one role, with their meaning.
func keywords(r syntax.Role) (rows list) {
	for _, k := range syntax.Keywords(r) {
		rows = append(rows, [2]string{k.Usage(), k.Meaning})
	}
	return rows
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

func genericFields() (rows list) {
	for _, g := range field.Generics() {
		rows = append(rows, [2]string{g.Name, g.Doc + ": " + strings.Join(g.Fields, ", ")})
	}
	return rows
}

// operandsByField lists the operands, under the fields that take them.
func operandsByField() (blocks []any) {
	var done []string
	for _, o := range operand.All() {
		of := fieldsTaking(o)
		if slices.Contains(done, of) {
			continue
		}
		done = append(done, of)
		var rows list
		for _, other := range operand.All() {
			if fieldsTaking(other) == of {
				rows = append(rows, [2]string{other.Usage, other.Meaning})
			}
		}
		blocks = append(blocks, paragraph("Operands of "+of+":"), rows)
	}
	return blocks
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

// commandLines is a command, indented, and continued where a line of that width is full.
func commandLines(command, indent string, width int) string {
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
		b.WriteString(folded(line, row[1], left))
	}
	return b.String()
}

// paragraphText is text that is indented by two.
func paragraphText(text string) string { return folded("  ", text, 2) }

// folded is text behind the begin of a line, folded at 80 columns. Its other lines are indented.
func folded(line, text string, indent int) string {
	var b strings.Builder
	begun := false
	for _, word := range strings.Fields(text) {
		if begun && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > 80 {
			b.WriteString(line + "\n")
			line, begun = strings.Repeat(" ", indent), false
		}
		if begun {
			line += " "
		}
		line, begun = line+word, true
	}
	return b.String() + line + "\n"
}
