package syntax

import "strings"

// rows reads from and its file, and checks that there is one if, and only if,
// a column stands in the rule.
func (p *parser) rows(r *RuleNode) {
	from := p.peek()
	if from.Text != "from" {
		p.noFile()
		return
	}
	p.next()
	t := p.peek()
	if !t.word || p.startsRule(t) || keywords[t.Text] {
		p.fail(from.At, "from FILE", "from needs a file")
		return
	}
	r.File, r.Columns = p.next(), p.columns
	if len(r.Columns) == 0 {
		p.fail(from.At, "a column, @NAME, stands where a value does",
			"nothing is taken from %s: no column stands in the rule", p.words(r.File.At))
	}
}

// noFile refuses columns in a rule without from.
func (p *parser) noFile() {
	if p.err == nil && len(p.columns) > 0 {
		at := p.columns[0].At
		p.fail(at, "name it at the end of the rule: from FILE", "%s is a column, and no from names its file", p.words(at))
	}
}

// noRows refuses from and columns behind the last else: only the first row
// could ever act.
func (p *parser) noRows() {
	if t := p.peek(); p.err == nil && t.Text == "from" {
		p.fail(t.At, "put if and a condition behind else", "from belongs to a rule that begins with if")
	}
	p.noFile()
}

// column notes the column that t is, if it is one, at the place of a value.
func (p *parser) column(t Token, ref FieldRef, use string) {
	if IsColumn(t) {
		p.columnAt(t.At.Start, t.At, ref, use)
		return
	}
	p.noPart(t)
}

// columnAt notes the column whose @ is at sign.
func (p *parser) columnAt(sign int, at Span, ref FieldRef, use string) {
	name := p.source[sign+1 : at.End]
	word := p.words(Span{sign, at.End})
	switch {
	case name == "":
		p.fail(at, "@NAME, for the column NAME", "@ needs the name of a column")
	case strings.Contains(name, "/"):
		p.fail(at, "the column holds whole prefixes, their lengths included", "%s: a column has no length of a prefix behind it", word)
	case strings.Contains(name, "@"):
		p.fail(at, "the column holds whole ranges, both ends included", "%s: a column is no part of a range", word)
	}
	p.columns = append(p.columns, ColumnNode{name, ref, use, at})
}

// noPart refuses a column as a part of a value.
func (p *parser) noPart(t Token) {
	if t.word && strings.Contains(t.Text, "@") {
		p.fail(t.At, "the column holds the whole value, range or prefix", "%s: a column is no part of a value", p.words(t.At))
	}
}

// columnless refuses a column where none can stand.
func (p *parser) columnless(t Token, what string) {
	if t.word && strings.Contains(t.Text, "@") {
		p.fail(t.At, "a column stands where a value does", "%s takes no column", what)
	}
}
