package rule

import (
	"repacket/internal/field"
	"repacket/internal/syntax"
)

// values is a test of f for the values, and the columns, that stand behind it.
func (c *checker) values(n syntax.TestNode, f *field.Field) Test {
	t := Test{Field: f, At: n.At}
	l := literal{f: f, name: n.Ref.Name.Text}
	var words []syntax.Token
	for _, w := range n.Items {
		if syntax.IsColumn(w) {
			t.Cells = append(t.Cells, c.sheet.cell(w))
		} else {
			words = append(words, w)
		}
	}
	switch {
	case n.Op == "eq":
		t.In = c.items(l, words)
	case n.Op == "ne":
		t.In = c.items(l, words)
		if t.In.Full(f.Width) {
			c.fail(n.At, "", "nothing can match: no other value of %s is left", l.name)
		}
		t.Not = len(t.Cells) > 0
		if !t.Not {
			t.In = t.In.Complement(f.Width)
		}
	case len(words) > 0:
		l.text, l.word, l.at = words[0].Text, words[0].Text, words[0].At
		t.In = field.NewSet(c.compare(n.Op, n.At, l))
	}
	return t
}

// compare is the range of a comparison with lt, le, gt or ge that stands at at.
func (c *checker) compare(op string, at Span, l literal) field.Range {
	r := c.item(l)
	if r.Lo != r.Hi {
		c.fail(l.at, "", "%s takes one value, not a range", op)
	}
	top := l.f.Max()
	switch {
	case op == "lt" && r.Lo.IsZero():
		c.fail(at, "", "nothing can match: no value is below %s", printNumber(l.f, r.Lo))
	case op == "gt" && r.Lo == top && l.f.Kind.IsAddress():
		c.fail(at, "", "nothing can match: no value is above %s", printNumber(l.f, r.Lo))
	case op == "gt" && r.Lo == top:
		c.fail(at, "", "nothing can match: %s takes %s", l.name, takes(l.f))
	case op == "lt":
		return field.Range{Hi: r.Lo.Dec()}
	case op == "le":
		return field.Range{Hi: r.Lo}
	case op == "gt":
		return field.Range{Lo: r.Lo.Inc(), Hi: top}
	}
	return field.Range{Lo: r.Lo, Hi: top}
}
