package rule

import (
	"strings"

	"repacket/internal/field"
)

// operand reads what becomes of the field.
func (p *parser) operand(ref fieldRef) operandNode {
	t := p.peek()
	_, copied := resolveField(t)
	switch {
	case t.text == "fix" || t.text == "bad":
		return p.sum(ref)
	case t.text == "atleast" || t.text == "atmost":
		return p.bound(ref)
	case t.text == "random":
		return p.random(ref)
	case t.word && (t.text[0] == '+' || t.text[0] == '-'):
		return p.amount(ref)
	case p.isValue(ref, t):
		p.column(t, ref, "set")
	case copied && p.copyFollows():
		return p.copied()
	default:
		p.noOperand(ref, t)
	}
	return operandNode{word: p.next()}
}

// sum reads fix or bad.
func (p *parser) sum(ref fieldRef) operandNode {
	t := p.next()
	if ref.fields[0].Kind != field.Checksum {
		p.fail(t.at, "", "%s is for checksums: %s is none", t.text, ref.name.text)
	}
	return operandNode{op: map[string]Op{"fix": Fix, "bad": Bad}[t.text]}
}

// bound reads atleast or atmost and its value.
func (p *parser) bound(ref fieldRef) operandNode {
	word := p.next()
	p.noArithmetic(ref, word)
	t := p.peek()
	if !p.isValue(ref, t) {
		name := ref.name.text + " " + word.text
		p.fail(t.at, name+" "+example(ref.fields[0]), "%s needs a value", name)
	}
	p.column(t, ref, word.text)
	return operandNode{op: map[string]Op{"atleast": AtLeast, "atmost": AtMost}[word.text], word: p.next()}
}

// random reads random and what to choose from, if that is not all.
func (p *parser) random(ref fieldRef) operandNode {
	word := p.next()
	f := ref.fields[0]
	if f.Kind == field.Checksum {
		p.fail(word.at, "for a wrong sum: "+ref.name.text+" bad", "%s is a checksum: it takes a value, fix, bad or itself", ref.name.text)
	}
	out := operandNode{op: Random}
	if t := p.peek(); t.word && !p.startsRule(t) && !isLanguage(t) && meantAsRange(f, t.text) {
		p.columnless(t, "random")
		out.word = p.next()
	}
	out.draw = p.draw((f.Width + 31) / 32)
	return out
}

// meantAsRange tells whether a word behind random is its operand, if a wrong
// one, or the beginning of another action.
func meantAsRange(f *field.Field, word string) bool {
	_, named := f.Names.Lookup(word)
	return named || looksLikeValue(word) || strings.ContainsAny(word, "-/@")
}

// amount reads + or - and the number that is attached to it.
func (p *parser) amount(ref fieldRef) operandNode {
	t := p.next()
	sign, number := t.text[:1], t.text[1:]
	p.noArithmetic(ref, t)
	if number == "" {
		n := "1"
		for _, near := range []token{p.peek(), p.second()} {
			if near.text != "" && isDigit(near.text[0]) {
				n = near.text
				break
			}
		}
		p.fail(t.at, "one word: "+ref.name.text+" "+sign+crop(n), "%s needs a number", sign)
		number = n
	}
	if number[0] == '@' {
		p.columnAt(t.at.Start+1, t.at, ref, sign)
	} else {
		p.noPart(t)
	}
	t.text = number
	return operandNode{op: map[string]Op{"+": Add, "-": Sub}[sign], word: t}
}

// noArithmetic refuses to count in flags and checksums; t is what asks for it.
func (p *parser) noArithmetic(ref fieldRef, t token) {
	name := ref.name.text
	switch ref.fields[0].Kind {
	case field.Flag:
		p.fail(t.at, name+" on, or "+name+" off", "%s is a flag: flags take no arithmetic", name)
	case field.Checksum:
		p.fail(t.at, "for a sum that is wrong by one: "+name+" bad", "%s is a checksum: it takes a value, fix, bad or itself", name)
	}
}

// copied reads the field that is copied.
func (p *parser) copied() operandNode {
	t := p.next()
	from, _ := resolveField(t)
	return operandNode{op: Copy, word: t, from: from}
}

// noOperand is the error for an action without an operand; t is what stands
// there.
func (p *parser) noOperand(ref fieldRef, t token) {
	name := ref.name.text
	switch {
	case t.text == "eq" || t.text == "ne" || t.text == "lt" || t.text == "le" || t.text == "gt" || t.text == "ge":
		p.fail(t.at, "the field and its new value: "+name+" "+p.words(p.second().at),
			"an action sets a field, %s compares", p.words(t.at))
	case fillers[t.text]:
		p.fail(t.at, p.leaveOut(ref, t), "%s needs a value", name)
	default:
		p.fail(t.at, "", "%s needs a value", name)
	}
}

// copyFollows tells whether the field that comes next is an operand, and not
// an action with an operand of its own.
func (p *parser) copyFollows() bool {
	after := p.second()
	switch after.text {
	case "fix", "bad", "=", "random", "atleast", "atmost":
		return false
	}
	return !after.word || p.startsRule(after) || isLanguage(after)
}
