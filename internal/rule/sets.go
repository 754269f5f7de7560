package rule

import "repacket/internal/field"

// set is the set of values that a test on f lets through.
func (c *checker) set(n testNode, f *field.Field) field.Set {
	l := literal{f: f, name: n.ref.name.text}
	switch n.op {
	case "eq":
		return c.items(l, n.items)
	case "ne":
		in := c.items(l, n.items).Complement(f.Width)
		if in.Empty() {
			c.fail(n.at, "", "nothing can match: no other value of %s is left", l.name)
		}
		return in
	}
	return c.compare(n, l)
}

// compare is the set of a comparison with lt, le, gt or ge.
func (c *checker) compare(n testNode, l literal) field.Set {
	l.text, l.word, l.at = n.items[0].text, n.items[0].text, n.items[0].at
	r := c.item(l)
	if r.Lo != r.Hi {
		c.fail(l.at, "", "%s takes one value, not a range", n.op)
	}
	top := l.f.Max()
	switch {
	case n.op == "lt" && r.Lo.IsZero():
		c.fail(n.at, "", "nothing can match: no value is below %s", printNumber(l.f, r.Lo))
	case n.op == "gt" && r.Lo == top && isAddress(l.f):
		c.fail(n.at, "", "nothing can match: no value is above %s", printNumber(l.f, r.Lo))
	case n.op == "gt" && r.Lo == top:
		c.fail(n.at, "", "nothing can match: %s takes %s", l.name, takes(l.f))
	case n.op == "lt":
		return field.NewSet(field.Range{Hi: r.Lo.Dec()})
	case n.op == "le":
		return field.NewSet(field.Range{Hi: r.Lo})
	case n.op == "gt":
		return field.NewSet(field.Range{Lo: r.Lo.Inc(), Hi: top})
	}
	return field.NewSet(field.Range{Lo: r.Lo, Hi: top})
}
