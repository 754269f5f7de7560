package rule

import (
	"repacket/internal/field"
	"repacket/internal/syntax"
)

// values is the test of a field, of a generic one the first, for the values, and
// the columns, that stand behind it.
func (c *checker) values(n syntax.TestNode) Test {
	f := n.Ref.Fields[0]
	t := Test{Field: f, At: n.At}
	l := literal{report: &c.report, f: f, name: n.Ref.Name.Text, nameAt: n.Ref.Name.At}
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
		t.In = l.items(words)
	case n.Op == "ne":
		t.In = l.items(words)
		if t.In.Full(f.Width) {
			c.fail(n.At, "", "nothing can match: no other value of %s is left", l.name)
		}
		t.Not = len(t.Cells) > 0
		if !t.Not {
			t.In = t.In.Complement(f.Width)
		}
	case len(words) > 0:
		l.text, l.word, l.at = words[0].Text, words[0].Text, words[0].At
		t.In = field.NewSet(l.compare(n.Op, n.At))
	}
	return t
}

// compare is the range of a comparison with lt, le, gt or ge that stands at at.
func (l literal) compare(op string, at Span) field.Range {
	r := l.item()
	if r.Lo != r.Hi {
		l.fail(l.at, "", "%s takes one value, not a range", op)
	}
	top := l.f.Max()
	switch {
	case op == "lt" && r.Lo.IsZero():
		l.fail(at, "", "nothing can match: no value is below %s", printNumber(l.f, r.Lo))
	case op == "gt" && r.Lo == top && l.f.Kind.IsAddress():
		l.fail(at, "", "nothing can match: no value is above %s", printNumber(l.f, r.Lo))
	case op == "gt" && r.Lo == top:
		l.fail(at, "", "nothing can match: %s takes %s", l.name, takes(l.f))
	case op == "lt":
		return field.Range{Hi: r.Lo.Dec()}
	case op == "le":
		return field.Range{Hi: r.Lo}
	case op == "gt":
		return field.Range{Lo: r.Lo.Inc(), Hi: top}
	}
	return field.Range{Lo: r.Lo, Hi: top}
}
