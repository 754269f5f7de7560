package csource

import "strings"

// columns is where lines are broken, a tab being eight columns wide.
const columns = 90

// expr is a condition in C: text, or parts with && or || between them.
type expr struct {
	text  string
	op    string
	parts []expr
}

func atom(text string) expr    { return expr{text: text} }
func all(parts []expr) expr    { return join("&&", parts) }
func either(parts []expr) expr { return join("||", parts) }

// join joins conditions: of none, "and" is always true and "or" never.
func join(op string, parts []expr) expr {
	switch len(parts) {
	case 0:
		return atom(map[string]string{"&&": "1", "||": "0"}[op])
	case 1:
		return parts[0]
	}
	e := expr{op: op}
	for _, p := range parts {
		if p.op == op {
			e.parts = append(e.parts, p.parts...)
		} else {
			e.parts = append(e.parts, p)
		}
	}
	return e
}

// line writes the condition on one line.
func (e expr) line() string {
	if e.op == "" {
		return e.text
	}
	parts := make([]string, len(e.parts))
	for i, p := range e.parts {
		if parts[i] = p.line(); p.op != "" {
			parts[i] = "(" + parts[i] + ")"
		}
	}
	return strings.Join(parts, " "+e.op+" ")
}

// layout writes the condition, which begins in column col, on one line if it
// fits there, else one line a part.
func (e expr) layout(col int) string {
	if one := e.line(); e.op == "" || col+len(one) <= columns {
		return one
	}
	parts := make([]string, len(e.parts))
	for i, p := range e.parts {
		if p.op == "" {
			parts[i] = p.text
			continue
		}
		parts[i] = "(" + p.layout(col+1) + ")"
	}
	return strings.Join(parts, " "+e.op+"\n"+margin(col))
}

// margin is the blanks before column col.
func margin(col int) string {
	return strings.Repeat("\t", col/8) + strings.Repeat(" ", col%8)
}

// width is the number of columns that a text without newlines takes.
func width(text string) int { return len(text) + 7*strings.Count(text, "\t") }

// flow writes words behind head, with sep between them, and breaks lines so
// that they begin below the first word.
func flow(head string, words []string, sep string) string {
	var b strings.Builder
	b.WriteString(head)
	col, start := width(head), width(head)
	for i, word := range words {
		if i < len(words)-1 {
			word += sep
		}
		switch {
		case i == 0:
		case col+1+len(word) > columns:
			b.WriteString("\n" + margin(start))
			col = start
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}

// indented puts tabs before every line that is not empty.
func indented(text string, tabs int) string {
	before := strings.Repeat("\t", tabs)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = before + l
		}
	}
	return strings.Join(lines, "\n")
}

// comment writes a text as a comment.
func comment(text string) string {
	text = harmless(text)
	if len(text)+14 <= columns { // with one tab before it
		return "/* " + text + " */"
	}
	return "/*\n" + starred(text) + " */"
}

// starred writes a text as lines of a comment.
func starred(text string) string {
	const before = " * "
	lines := flow(before, strings.Fields(harmless(text)), "")
	return strings.ReplaceAll(lines, "\n"+margin(width(before)), "\n"+before) + "\n"
}

// crop shortens a text that is written in full elsewhere.
func crop(text string) string {
	const longest = 240
	if len(text) <= longest {
		return text
	}
	return text[:strings.LastIndexAny(text[:longest], " ,")+1] + " ..."
}

// harmless makes sure that a text neither ends nor begins a comment. No rule
// has such characters.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '*' || r == '\\' {
			return '?'
		}
		return r
	}, text)
}
