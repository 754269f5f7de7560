package cli

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"repacket/internal/field"
)

// manDate is what the manual pages say of when they were written.
const manDate = "December 1, 2026"

// rulesManual is repacket-rules(5): what help rules says, and the table of fields.
func rulesManual() string {
	m := &manual{}
	m.head("REPACKET-RULES", 5, "repacket-rules", "rules of repacket: which packets to act on, and what to change in them")
	m.section("DESCRIPTION")
	m.text(`.Xr repacket 8
rewrites header fields of packets by rules.
They stand on its command line, or in a file that
.Fl f
names.
In a file they stand one after the other, over as many lines as they take;
.Ql #
begins a comment.
Case is ignored.
A service reads
.Pa /etc/repacket/IFACE.rules .
.Pp
.Nm repacket Ic check Fl f Ar FILE
says what the rules of a file do, and needs no privilege.`)
	for _, s := range rulesPage() {
		if s.title == "EXAMPLES" {
			m.fields()
		}
		if s.title == "SEE ALSO" {
			m.section(s.title)
			m.text(".Xr repacket 8")
			m.text(".Pp")
		} else {
			m.section(s.title)
		}
		for i, b := range s.blocks {
			m.block(b, i > 0)
		}
	}
	return m.String()
}

// manual is a manual page in mdoc(7).
type manual struct{ strings.Builder }

// text adds lines as they are.
func (m *manual) text(lines string) { m.WriteString(lines + "\n") }

func (m *manual) head(title string, number int, name, does string) {
	fmt.Fprintf(m, ".\\\" Generated from the tables of the program by make docs; do not edit.\n.Dd %s\n.Dt %s %d\n.Os\n", manDate, title, number)
	m.section("NAME")
	fmt.Fprintf(m, ".Nm %s\n.Nd %s\n", name, roff(does))
}

func (m *manual) section(title string) { fmt.Fprintf(m, ".Sh %s\n", title) }

// block adds a block of a page of help, behind another one or not.
func (m *manual) block(b any, behind bool) {
	switch b := b.(type) {
	case list:
		if behind {
			m.text(".Pp")
		}
		m.list(b)
	case example:
		if behind {
			m.text(".Pp")
		}
		m.text(prose(b.task))
		m.commands("repacket " + b.line)
	case form:
		m.text(".D1 " + term(string(b)))
	case paragraph:
		if behind {
			m.text(".Pp")
		}
		m.text(prose(string(b)))
	}
}

// list adds terms, and what they mean.
func (m *manual) list(rows list) {
	m.text(".Bl -tag -width 22n -compact")
	for _, row := range rows {
		m.text(".It " + term(row[0]) + "\n" + prose(row[1]))
	}
	m.text(".El")
}

// commands adds lines to type, as they are.
func (m *manual) commands(lines string) {
	m.text(".Bd -literal -offset 2n")
	for line := range strings.Lines(lines) {
		for part := range strings.Lines(commandLines(line, "", 70)) { // of 80, indented by 7
			m.text(roff(strings.TrimSuffix(part, "\n")))
		}
	}
	m.text(".Ed")
}

// fields adds the table of fields.
func (m *manual) fields() {
	m.section("FIELDS BY HEADER")
	m.text(prose(`Bits are counted from the start of the header, most significant first. Checksums are those that are updated when the field is rewritten. A dot may replace the underscore: ip.ttl is ip_ttl.`))
	for _, p := range field.Protocols() {
		fields := fieldsOf(p)
		if len(fields) == 0 {
			continue
		}
		m.text(".Ss " + roff(headerTitle(p)))
		m.text(".Bl -tag -width 18n -compact")
		for _, f := range fields {
			m.text(".It " + term(f.Name) + "\n" + prose(fieldText(f)))
		}
		m.text(".El")
	}
	m.valueNames()
}

// fieldText is what the table of fields says of one, in a sentence.
func fieldText(f *field.Field) string {
	cells := fieldRow(f)
	parts := []string{fmt.Sprintf("%s: bit %s, width %s; %s", cells[4], cells[1], cells[2], cells[3])}
	for i, what := range map[int]string{5: "checksums ", 7: "also "} {
		if cells[i] != "" {
			parts = append(parts, what+strings.Join(strings.Fields(cells[i]), ", "))
		}
	}
	slices.Sort(parts[1:]) // also, checksums
	text := strings.Join(parts, "; ")
	if f.Structural {
		text += "; structural"
	}
	return text + " (" + f.RFC + ")"
}

// valueNames adds the names of values.
func (m *manual) valueNames() {
	m.text(".Ss Names of values")
	m.text(".Bl -tag -width 18n -compact")
	for _, f := range field.Fields() {
		if len(f.Names) > 0 && f.Kind != field.Port {
			m.text(".It " + term(f.Name) + "\n" + prose(strings.Join(valueNames(f.Names), " ")))
		}
	}
	m.text(".It ports\n" + prose(strings.Join(valueNames(field.PortNames), " ")))
	m.text(".El")
	m.text(".Ss Structural fields")
	m.text(prose("They determine how a packet is segmented. At tc, a rule that sets one of them skips packets of segmentation offload (GSO), and counts them."))
}

// commandManual is repacket(8).
func commandManual() string {
	env := System()
	env.Demo = func(context.Context, io.Writer) error { return nil }
	a := &app{env: env, takes: map[*cobra.Command][]string{}}
	a.flags = newFlags(&a.opt)
	root := a.commands()
	m := &manual{}
	m.head("REPACKET", 8, "repacket", "rewrite header fields of packets in the kernel")
	m.section("SYNOPSIS")
	commands := append([]*cobra.Command{root}, root.Commands()...)
	for _, c := range commands {
		m.text(synopsis(c))
	}
	m.text(".Nm\n.Ic completion\n.Cm bash | fish | powershell | zsh\n.Nm\n.Ic help\n.Op Ar COMMAND | TOPIC")
	m.text(strings.TrimSpace(commandDescription))
	m.section("COMMANDS")
	m.text("Without a command the rules act until the process ends.\nThe commands are:")
	m.text(".Bl -tag -width Ds")
	for _, c := range commands[1:] {
		m.command(a, c)
	}
	m.text(strings.TrimSpace(otherCommands))
	for _, t := range topics {
		m.text(".It Ic help " + t.name + "\n" + prose(sentence(t.short)))
	}
	m.text(".El")
	m.options(a)
	m.text(strings.TrimSpace(commandEnvironment))
	m.section("EXAMPLES")
	for i, c := range commands {
		if i > 0 {
			m.text(".Pp")
		}
		m.text(prose(sentence(c.Short)))
		m.commands(c.Example)
	}
	m.text(strings.TrimSpace(commandEnd))
	return m.String()
}

// synopsis is how a command is called.
func synopsis(c *cobra.Command) string {
	words := strings.Fields(c.Use)
	if words[0] == "repacket" {
		return ".Nm\n.Op Ar flags\n.Ar RULES"
	}
	lines := []string{".Nm", ".Ic " + words[0]}
	for _, w := range words[1:] {
		if inner, optional := strings.CutPrefix(w, "["); optional {
			lines = append(lines, ".Op Ar "+strings.TrimSuffix(inner, "]"))
		} else {
			lines = append(lines, ".Ar "+w)
		}
	}
	return strings.Join(lines, "\n")
}

// command adds what a command does, and the flags that it takes.
func (m *manual) command(a *app, c *cobra.Command) {
	m.text(".It Ic " + c.Name() + "\n" + prose(sentence(c.Short)))
	if _, more, ok := strings.Cut(c.Long, "\n\n"); ok { // what is before is Short
		for part := range strings.SplitSeq(more, "\n\n") {
			m.text(".Pp\n" + prose(part))
		}
	}
	var flags []string
	for _, name := range a.takes[c] {
		if slices.Contains(everyFlags, name) {
			continue
		}
		flags = append(flags, shortest(a.flags.Lookup(name)))
	}
	if len(flags) > 0 {
		m.text(".Pp\nFlags:\n" + strings.Join(flags, " ,\n") + " .")
	}
	for _, name := range a.takes[c] {
		if own, other := ownFlags[c.Name()][name]; other {
			flag := *a.flags.Lookup(name)
			flag.Usage = own
			value, text := pflag.UnquoteUsage(&flag)
			m.text(shortest(&flag) + " " + term(value) + " :\n" + prose(text+"."))
		}
	}
}

// shortest is the flag as it is typed most.
func shortest(f *pflag.Flag) string {
	if f.Shorthand != "" {
		return ".Fl " + f.Shorthand
	}
	return ".Fl -" + strings.ReplaceAll(f.Name, "-", `\-`)
}

// options adds the table of flags.
func (m *manual) options(a *app) {
	m.section("OPTIONS")
	m.text(prose("Flags may stand anywhere, also behind the rules. Each is for some commands; all take -q, -j, --color and -h."))
	m.text(".Bl -tag -width Ds")
	a.flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, text := pflag.UnquoteUsage(f)
		if f.Value.Type() == "bool" || f.NoOptDefVal != "" {
			value = ""
		}
		if value != "" {
			value = " Ar " + roff(value)
		}
		var forms []string
		if f.Shorthand != "" {
			forms = append(forms, "Fl "+f.Shorthand+value)
		}
		forms = append(forms, "Fl -"+strings.ReplaceAll(f.Name, "-", `\-`)+value)
		m.text(".It " + strings.Join(forms, " , ") + "\n" + prose(sentence(text)))
		if d := f.DefValue; value != "" && d != "" && d != "[]" {
			m.text("The default is\n.Cm " + roff(d) + " .")
		}
	})
	m.text(".El")
}

// sentence is a text that begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}

// placeholder is a word that stands for another one.
var placeholder = regexp.MustCompile(`^[\[(]*[A-Z@][A-Z,/:\-]*[\])]*$`)

// term is words as they are typed (Cm) and words that stand for others (Ar), for a macro that
// parses its arguments.
func term(text string) string {
	var b strings.Builder
	last := ""
	for _, word := range strings.Fields(text) {
		macro := "Cm"
		if placeholder.MatchString(word) {
			macro = "Ar"
		}
		if macro != last {
			b.WriteString(" " + macro)
			last = macro
		}
		b.WriteString(" " + argument(word))
	}
	return strings.TrimSpace(b.String())
}

// argument is a word that no macro takes for a macro or, by its end, for punctuation.
func argument(word string) string {
	word = roff(word)
	if len(word) <= 3 {
		word = `\&` + strings.TrimPrefix(word, `\&`)
	}
	if strings.HasSuffix(word, "]") {
		word += `\&`
	}
	return word
}

// prose is text of several sentences: each begins a line, as mdoc(7) wants it.
func prose(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = regexp.MustCompile(`([a-z0-9)])([.?]) ([A-Z])`).ReplaceAllString(text, "$1$2\n$3")
	var lines []string
	for sentence := range strings.SplitSeq(text, "\n") {
		line := ""
		for _, word := range strings.Fields(sentence) {
			if word = roff(word); line != "" && len(line)+1+len(word) > 78 {
				lines, line = append(lines, line), word
				continue
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// roff is a line of text in which roff(7) sees no request and no escape, and whose hyphens
// are those that are typed.
func roff(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", `\[u2026]`, "→", `\[u2192]`).Replace(line)
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		line = `\&` + line
	}
	return line
}
