package rule

import (
	"strings"

	"repacket/internal/field"
)

// or reads and { "or" and }.
func (p *parser) or() node {
	start := p.peek().at.Start
	xs := []node{p.and()}
	for p.accept("or") {
		xs = append(xs, p.and())
	}
	if len(xs) == 1 {
		return xs[0]
	}
	return orNode{xs: xs, at: p.from(start)}
}

// and reads unary { [ "and" ] unary }.
func (p *parser) and() node {
	start := p.peek().at.Start
	xs := []node{p.unary()}
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
	return andNode{xs: xs, beside: beside, at: p.from(start)}
}

// conditionEnds tells whether the next token cannot begin a test. An unknown
// word can: test says what is wrong with it.
func (p *parser) conditionEnds() bool {
	t := p.peek()
	switch t.text {
	case "", "then", "else", "from", "or", ")", ",", ";":
		return true
	}
	return p.startsRule(t)
}

func (p *parser) unary() node {
	t := p.peek()
	if t.text != "not" && t.text != "(" {
		return p.test()
	}
	p.next()
	if p.depth++; p.depth > maxDepth {
		p.fail(t.at, "", "brackets and not are nested more than %d deep", maxDepth)
		return nil
	}
	defer func() { p.depth-- }()
	if t.text == "not" {
		x := p.unary()
		return notNode{x: x, at: p.from(t.at.Start)}
	}
	if p.peek().text == ")" {
		p.fail(p.peek().at, "", "the brackets are empty")
	}
	x := p.or()
	if !p.accept(")") {
		if !p.conditionEnds() || p.peek().text == "," {
			p.strayInCondition(p.peek())
		}
		p.fail(t.at, "", "( is never closed")
	}
	return groupNode{x: x, at: p.from(t.at.Start)}
}

func (p *parser) test() node {
	t := p.next()
	switch t.text {
	case "all":
		return allNode{at: t.at}
	case "chance":
		return p.chance(t)
	}
	if proto, ok := field.ProtocolByName(t.text); ok {
		return hasNode{proto: proto, at: t.at}
	}
	if ref, ok := resolveField(t); ok {
		return p.fieldTest(ref)
	}
	p.strayInCondition(t)
	return nil
}

// chance reads the share behind chance.
func (p *parser) chance(word token) node {
	t := p.peek()
	if !t.word || p.startsRule(t) || isLanguage(t) {
		p.fail(t.at, "chance 5% or chance 1/1000", "chance needs a share")
	}
	p.columnless(t, "a chance")
	p.next()
	if after := p.peek().text; after == "%" || after == "/" {
		p.fail(Span{t.at.Start, p.peek().at.End}, "chance 5% or chance 1/1000", "a share is one word")
	}
	return chanceNode{share: t, index: p.draw(1), at: p.from(word.at.Start)}
}

func (p *parser) fieldTest(ref fieldRef) node {
	n := testNode{ref: ref, op: "eq"}
	switch t := p.peek(); t.text {
	case "=":
		n.opAt = p.next().at
	case "eq", "ne", "lt", "le", "gt", "ge":
		n.op, n.opAt = t.text, t.at
		p.next()
	}
	n.items = append(n.items, p.item(n))
	for p.err == nil && p.accept(",") {
		if n.op != "eq" && n.op != "ne" {
			p.fail(p.peek().at, "", "%s takes one value, not a list", n.op)
		}
		n.items = append(n.items, p.item(n))
	}
	n.at = p.from(ref.name.at.Start)
	return n
}

// item reads one value, range or prefix of a test.
func (p *parser) item(n testNode) token {
	t := p.peek()
	if !p.isValue(n.ref, t) {
		p.noValue(n, t)
		return t
	}
	use := n.op
	if use == "eq" || use == "ne" {
		use = "item"
	}
	p.column(t, n.ref, use)
	return p.next()
}

// isValue tells whether t can be a value of the field: a word that is no part
// of the language, unless the field has a value of that name.
func (p *parser) isValue(ref fieldRef, t token) bool {
	if !t.word || p.startsRule(t) || fillers[t.text] {
		return false
	}
	_, named := ref.fields[0].Names.Lookup(t.text)
	return named || !isLanguage(t)
}

// noValue is the error for a test without a value; t is what stands there.
func (p *parser) noValue(n testNode, t token) {
	name := n.ref.name.text
	if n.opAt.End > 0 {
		name = p.words(Span{n.ref.name.at.Start, n.opAt.End})
	}
	hint := ""
	switch {
	case fillers[t.text]:
		hint = p.leaveOut(n.ref, t)
	case len(n.items) > 0:
		p.fail(t.at, "commas join the values of one test; between tests write and, or nothing", "%s needs another value after the comma", name)
		return
	case n.ref.fields[0].Kind == field.Flag:
		hint = "a flag is on or off: " + n.ref.name.text + " on"
	case namedAfter(n.ref.fields[0], t) != "":
		hint = "did you mean " + n.ref.name.text + " " + namedAfter(n.ref.fields[0], t) + "?"
	case t.text == "not":
		hint = "for another value write ne: " + n.ref.name.text + " ne " + p.valueBehind(n.ref)
	case t.text == "fix" || t.text == "bad":
		hint = t.text + " is an action: is `then` missing?"
	case t.text == "atleast" || t.text == "atmost":
		hint = "in a test: ge for at least, le for at most"
	case n.opAt.End == 0 && t.text != ",":
		hint = "an unquoted < or > is taken by the shell (and may have made a file): write lt, le, gt, ge"
	}
	p.fail(t.at, hint, "%s needs a value", name)
}

// leaveOut is the hint for a word that people put between a field and its
// value.
func (p *parser) leaveOut(ref fieldRef, filler token) string {
	value := p.valueBehind(ref)
	if strings.HasSuffix(value, ".csv") {
		return "a column of a file: " + ref.name.text + " @column, and at the rule's end: from " + value
	}
	return "leave out " + filler.text + ": " + ref.name.text + " " + value
}

// valueBehind is the value that stands behind the next word, or an example.
func (p *parser) valueBehind(ref fieldRef) string {
	if next := p.second(); p.isValue(ref, next) {
		return p.words(next.at)
	}
	return example(ref.fields[0])
}

// strayInCondition is the error for a token that stands where a test, or then,
// should.
func (p *parser) strayInCondition(t token) {
	word := p.words(t.at)
	switch {
	case t.text == "":
		p.fail(t.at, "", "a test is missing at the end")
	case t.text == "tcp.ack":
		p.tcpAck(t)
	case t.text == ",":
		p.fail(t.at, "between tests write and, or nothing", "a comma stands only between the values of one test")
	case t.text == "-" || t.text == "/":
		p.fail(t.at, "a range and a prefix are one word: 1-5, 10.0.0.0/8", "%s stands alone", word)
	case looksLikeValue(t.text):
		p.fail(t.at, p.fieldless(t), "%s is a value, and no field stands before it", word)
	case p.startsAction(t):
		p.fail(t.at, "is `then` missing?", "%s is an action", word)
	case keywords[t.text] || !t.word:
		p.fail(t.at, "", "a test is missing before %s", word)
	default:
		p.fail(t.at, p.unknown(t, testWords()), "unknown word %s", word)
	}
}

func (p *parser) tcpAck(t token) {
	p.fail(t.at, "the number is tcp_ack_seq, the flag is tcp_ack",
		"tcp.ack means two things: a number in Wireshark, a flag here")
}

// looksLikeValue tells whether a word was meant as a number, an address, a
// sign with a number, a flag's value or a column.
func looksLikeValue(word string) bool {
	if word == "on" || word == "off" {
		return true
	}
	if word[0] == '-' || word[0] == '+' {
		word = word[1:]
	}
	return word != "" && (isDigit(word[0]) || word[0] == '@') || kindOfAddress(word) != field.Number
}
