package syntax

import (
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// or reads and { "or" and }.
func (p *parser) or() Node {
	start := p.peek().At.Start
	xs := []Node{p.and()}
	for p.accept("or") {
		xs = append(xs, p.and())
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return OrNode{X: xs, At: p.from(start)}
}

// and reads unary { [ "and" ] unary }.
func (p *parser) and() Node {
	start := p.peek().At.Start
	xs := []Node{p.unary()}
	beside := false
	for p.err == nil {
		if !p.accept("and") {
			if p.conditionEnds() {
				break
			}
			beside = true
		}
		xs = append(xs, p.unary())
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return AndNode{X: xs, Beside: beside, At: p.from(start)}
}

func (p *parser) unary() Node {
	t := p.peek()
	if t.Text != "not" && t.Text != "(" {
		return p.test()
	}
	p.next()
	if p.depth++; p.depth > maxDepth {
		p.fail(t.At, "", "brackets and not are nested more than %d deep", maxDepth)
		return nil
	}
	defer func() { p.depth-- }()
	if t.Text == "not" {
		p.behindNot(t)
		x := p.unary()
		return NotNode{X: x, At: p.from(t.At.Start)}
	}
	if p.peek().Text == ")" {
		p.fail(p.peek().At, "", "the brackets are empty")
	}
	x := p.or()
	if !p.accept(")") {
		if !p.conditionEnds() || p.peek().Text == "," {
			p.strayInCondition(p.peek())
		}
		p.fail(t.At, "", "( is never closed")
	}
	return GroupNode{X: x, At: p.from(t.At.Start)}
}

func (p *parser) test() Node {
	t := p.next()
	switch t.Text {
	case "all":
		return AllNode{At: t.At}
	case "chance":
		return p.chance(t)
	}
	if proto, ok := field.ProtocolByName(t.Text); ok {
		return HasNode{Proto: proto, At: t.At}
	}
	if ref, ok := ResolveField(t); ok {
		return p.fieldTest(ref)
	}
	p.strayInCondition(t)
	return nil
}

// chance reads the share behind chance.
func (p *parser) chance(word Token) Node {
	t := p.peek()
	if !t.word || p.startsRule(t) || isLanguage(t) {
		p.fail(t.At, shareForm, "chance needs a share")
	}
	p.columnless(t, "a chance")
	p.next()
	if after := p.peek().Text; after == "%" || after == "/" {
		p.fail(Span{t.At.Start, p.peek().At.End}, shareForm, "a share is one word").Propose(p.joinedShare(word, t)...)
	}
	return ChanceNode{Share: t, Index: p.draw(1), At: p.from(word.At.Start)}
}

func (p *parser) fieldTest(ref FieldRef) Node {
	n := TestNode{Ref: ref, Op: "eq"}
	switch t := p.peek(); t.Text {
	case "=":
		n.opAt = p.next().At
	case "eq", "ne", "lt", "le", "gt", "ge":
		n.Op, n.opAt = t.Text, t.At
		p.next()
	}
	n.Items = append(n.Items, p.item(n))
	for p.err == nil && p.accept(",") {
		if n.Op != "eq" && n.Op != "ne" {
			p.fail(p.peek().At, "", "%s takes one value, not a list", n.Op)
		}
		n.Items = append(n.Items, p.item(n))
	}
	n.At = p.from(ref.Name.At.Start)
	return n
}

// item reads one value, range or prefix of a test.
func (p *parser) item(n TestNode) Token {
	t := p.peek()
	if !p.isValue(n.Ref, t) {
		p.noValue(n, t)
		return t
	}
	use := n.Op
	if use == "eq" || use == "ne" {
		use = "item"
	}
	p.column(t, n.Ref, use)
	return p.next()
}

// isValue reports whether t can be a value of the field: a word that is no part
// of the language, unless the field has a value of that name.
func (p *parser) isValue(ref FieldRef, t Token) bool {
	if !t.word || p.startsRule(t) || fillers[t.Text] {
		return false
	}
	_, named := ref.Fields[0].Names.Lookup(t.Text)
	return named || !isLanguage(t)
}

// noValue is the error for a test without a value; t is what stands there.
func (p *parser) noValue(n TestNode, t Token) {
	name := n.Ref.Name.Text
	if n.opAt.End > 0 {
		name = p.words(Span{n.Ref.Name.At.Start, n.opAt.End})
	}
	hint := ""
	o, worded := operand.ByWord(t.Text)
	var meant []Suggestion
	switch {
	case fillers[t.Text]:
		hint, meant = p.leaveOut(n.Ref, t)
	case len(n.Items) > 0:
		p.fail(t.At, "commas join the values of one test; between tests write and, or nothing", "%s needs another value after the comma", name).
			Propose(Replace("", p.before(t).At, "", "").Whole())
		return
	case n.Ref.Fields[0].Kind == field.Flag:
		hint, meant = "a flag is on or off", p.flagOn(n)
	case namedAfter(n.Ref.Fields[0], t) != "":
		meant = list(Replace(didYouMean, t.At, namedAfter(n.Ref.Fields[0], t), "").Showing(Span{n.Ref.Name.At.Start, t.At.End}))
	case t.Text == "not":
		hint = "for another value write ne"
		meant = list(Replace(hint+": ", t.At, "ne", "").Showing(Span{n.Ref.Name.At.Start, p.second().At.End}))
	case worded && o.Argument == operand.Value:
		hint = "in a test: ge for at least, le for at most"
		meant = list(Replace("in a test: ", t.At, o.Test, "").Showing(Span{n.Ref.Name.At.Start, p.second().At.End}))
	case worded:
		hint = t.Text + " is an action: is `then` missing?"
		meant = list(insert(hint+"  ", n.Ref.Name.At.Start, "then "))
	case n.opAt.End == 0 && t.Text != ",":
		hint = "an unquoted < or > is taken by the shell (and may have made a file): write lt, le, gt, ge"
	}
	p.fail(t.At, hint, "%s needs a value", name).Propose(meant...)
}

// flagOn suggests that a flag without a value is to be on.
func (p *parser) flagOn(n TestNode) []Suggestion {
	end := n.Ref.Name.At
	if n.opAt.End > 0 {
		end = n.opAt
	}
	return list(insert("a flag is on or off: ", end.End, " on").Showing(Span{n.Ref.Name.At.Start, end.End}))
}

// leaveOut is the hint for a word that people put between a field and its
// value.
func (p *parser) leaveOut(ref FieldRef, filler Token) (hint string, meant []Suggestion) {
	hint = "leave out " + filler.Text
	value := p.second()
	switch {
	case strings.HasSuffix(value.Text, ".csv"):
		return "a column of a file is @NAME, and from FILE stands at the rule's end", nil
	case !p.isValue(ref, value):
		return hint, nil
	}
	f := p.without(filler).Showing(Span{ref.Name.At.Start, value.At.End})
	f.Lead = hint + ": "
	return hint, list(f)
}

// strayInCondition is the error for a token that stands where a test, or then,
// should.
func (p *parser) strayInCondition(t Token) {
	word := p.words(t.At)
	switch {
	case t.Text == "":
		p.fail(t.At, "", "a test is missing at the end")
	case t.Text == "tcp.ack":
		p.tcpAck(t)
	case t.Text == ",":
		p.fail(t.At, "between tests write and, or nothing", "a comma stands only between the values of one test").
			Propose(Replace("", t.At, " and ", "").Whole())
	case t.Text == "-" || t.Text == "/":
		p.fail(t.At, "a range and a prefix are one word, without blanks", "%s stands alone", word).Propose(p.joinedRange(t)...)
	case looksLikeValue(t.Text):
		hint, meant := p.fieldless(t)
		p.valueWord(t, []string{"eq", "ne", "lt", "le", "gt", "ge"})
		p.fail(t.At, hint, "%s is a value, and no field stands before it", word).Propose(meant...)
	case startsAction(t), p.sets(t):
		p.fail(t.At, "is `then` missing?", "%s is an action", word).Propose(p.thenBefore(t))
	case keywords[t.Text] || !t.word:
		p.fail(t.At, "", "a test is missing before %s", word)
	default:
		if before := p.before(t); before.At != t.At {
			p.valueWord(t, nil)
		}
		hint, meant := p.unknown(t, testWords())
		p.fail(t.At, hint, "unknown word %s", word).Propose(append(p.becomes(t), meant...)...)
	}
}

func (p *parser) tcpAck(t Token) {
	p.fail(t.At, "one is for the number, the other for the flag: repacket fields tcp",
		"tcp.ack means two things: a number in Wireshark, a flag here").
		Propose(Replace("the number is ", t.At, "tcp_ack_seq", ""), Replace("the flag is ", t.At, "tcp_ack", ""))
}

// looksLikeValue reports whether a word was meant as a number, an address, a
// sign with a number, a flag's value or a column.
func looksLikeValue(word string) bool {
	if word == "on" || word == "off" {
		return true
	}
	if word[0] == '-' || word[0] == '+' {
		word = word[1:]
	}
	return word != "" && (IsDigit(word[0]) || word[0] == '@') || AddressKind(word) != field.Number
}
