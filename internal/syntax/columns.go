package syntax

import "strings"

// rows reads from and its file, and checks that there is one if, and only if, a
// column stands in the rule. Behind the last else there is none: only the first
// row could ever act.
func (p *parser) rows(r *RuleNode) {
	from := p.peek()
	switch {
	case p.err != nil:
	case from.Text == "from" && r.Closing:
		p.fail(from.At, "put if and a condition behind else", "from belongs to a rule that begins with if")
	case p.accept("from"):
		if t := p.peek(); !t.word || p.startsRule(t) || keywords[t.Text] {
			p.fail(from.At, "from FILE", "from needs a file")
		} else if r.File, r.Columns = p.next(), p.columns; len(r.Columns) == 0 {
			p.fail(from.At, "a column, @NAME, stands where a value does",
				"nothing is taken from %s: no column stands in the rule", p.words(r.File.At))
		}
	case len(p.columns) > 0:
		at := p.columns[0].At
		p.fail(at, "name it at the end of the rule: from FILE", "%s is a column, and no from names its file", p.words(at))
	}
}

// column notes the column that t is, if it is one, at the place of a value; behind
// the sign of an operand there is the value.
func (p *parser) column(t Token, ref FieldRef, use string) {
	sign := strings.IndexByte(t.Text, '@')
	if sign < 0 || !t.word {
		return
	}
	name := p.source[t.At.Start+sign+1 : t.At.End]
	word := p.words(Span{t.At.Start + sign, t.At.End})
	switch {
	case sign > 0 && t.Text[:sign] != use:
		p.fail(t.At, "the column holds the whole value, range or prefix", "%s: a column is no part of a value", p.words(t.At))
	case name == "":
		p.fail(t.At, "@NAME, for the column NAME", "@ needs the name of a column")
	case strings.Contains(name, "/"):
		p.fail(t.At, "the column holds whole prefixes, their lengths included", "%s: a column has no length of a prefix behind it", word)
	case strings.Contains(name, "@"):
		p.fail(t.At, "the column holds whole ranges, both ends included", "%s: a column is no part of a range", word)
	}
	p.columns = append(p.columns, ColumnNode{name, ref, use, t.At})
}

// columnless rejects a column where none can stand.
func (p *parser) columnless(t Token, what string) {
	if t.word && strings.Contains(t.Text, "@") {
		p.fail(t.At, "a column stands where a value does", "%s takes no column", what)
	}
}
