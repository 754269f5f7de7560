package syntax

import (
	"strings"

	"repacket/internal/field"
)

// operand reads what becomes of the field.
func (p *parser) operand(ref FieldRef) OperandNode {
	t := p.peek()
	_, copied := ResolveField(t)
	switch {
	case t.Text == "fix" || t.Text == "bad":
		return p.sum(ref)
	case t.Text == "atleast" || t.Text == "atmost":
		return p.bound(ref)
	case t.Text == "random":
		return p.random(ref)
	case t.word && (t.Text[0] == '+' || t.Text[0] == '-'):
		return p.amount(ref)
	case p.isValue(ref, t):
		p.column(t, ref, "set")
	case copied && p.copyFollows():
		return p.copied()
	default:
		p.noOperand(ref, t)
	}
	return OperandNode{Word: p.next()}
}

// sum reads fix or bad.
func (p *parser) sum(ref FieldRef) OperandNode {
	t := p.next()
	if ref.Fields[0].Kind != field.Checksum {
		p.fail(t.At, "", "%s is for checksums: %s is none", t.Text, ref.Name.Text)
	}
	return OperandNode{Op: map[string]Op{"fix": Fix, "bad": Bad}[t.Text]}
}

// bound reads atleast or atmost and its value.
func (p *parser) bound(ref FieldRef) OperandNode {
	word := p.next()
	p.noArithmetic(ref, word)
	t := p.peek()
	if !p.isValue(ref, t) {
		name := ref.Name.Text + " " + word.Text
		p.fail(t.At, name+" "+Example(ref.Fields[0]), "%s needs a value", name)
	}
	p.column(t, ref, word.Text)
	return OperandNode{Op: map[string]Op{"atleast": AtLeast, "atmost": AtMost}[word.Text], Word: p.next()}
}

// random reads random and what to choose from, if that is not all.
func (p *parser) random(ref FieldRef) OperandNode {
	word := p.next()
	f := ref.Fields[0]
	if f.Kind == field.Checksum {
		p.fail(word.At, "for a wrong sum: "+ref.Name.Text+" bad", "%s is a checksum: it takes a value, fix, bad or itself", ref.Name.Text)
	}
	out := OperandNode{Op: Random}
	if t := p.peek(); t.word && !p.startsRule(t) && !isLanguage(t) && meantAsRange(f, t.Text) {
		p.columnless(t, "random")
		out.Word = p.next()
	}
	out.Draw = p.draw((f.Width + 31) / 32)
	return out
}

// meantAsRange reports whether a word behind random is its operand, if a wrong
// one, or the beginning of another action.
func meantAsRange(f *field.Field, word string) bool {
	_, named := f.Names.Lookup(word)
	return named || looksLikeValue(word) || strings.ContainsAny(word, "-/@")
}

// amount reads + or - and the number that is attached to it.
func (p *parser) amount(ref FieldRef) OperandNode {
	t := p.next()
	sign, number := t.Text[:1], t.Text[1:]
	p.noArithmetic(ref, t)
	if number == "" {
		n := "1"
		for _, near := range []Token{p.peek(), p.second()} {
			if near.Text != "" && IsDigit(near.Text[0]) {
				n = near.Text
				break
			}
		}
		p.fail(t.At, "one word: "+ref.Name.Text+" "+sign+Crop(n), "%s needs a number", sign)
		number = n
	}
	if number[0] == '@' {
		p.columnAt(t.At.Start+1, t.At, ref, sign)
	} else {
		p.noPart(t)
	}
	t.Text = number
	return OperandNode{Op: map[string]Op{"+": Add, "-": Sub}[sign], Word: t}
}

// noArithmetic refuses to count in flags and checksums; t is what asks for it.
func (p *parser) noArithmetic(ref FieldRef, t Token) {
	name := ref.Name.Text
	switch ref.Fields[0].Kind {
	case field.Flag:
		p.fail(t.At, name+" on, or "+name+" off", "%s is a flag: flags take no arithmetic", name)
	case field.Checksum:
		p.fail(t.At, "for a sum that is wrong by one: "+name+" bad", "%s is a checksum: it takes a value, fix, bad or itself", name)
	}
}

// copied reads the field that is copied.
func (p *parser) copied() OperandNode {
	t := p.next()
	from, _ := ResolveField(t)
	return OperandNode{Op: Copy, Word: t, From: from}
}

// noOperand is the error for an action without an operand; t is what stands
// there.
func (p *parser) noOperand(ref FieldRef, t Token) {
	name := ref.Name.Text
	switch {
	case t.Text == "eq" || t.Text == "ne" || t.Text == "lt" || t.Text == "le" || t.Text == "gt" || t.Text == "ge":
		p.fail(t.At, "the field and its new value: "+name+" "+p.words(p.second().At),
			"an action sets a field, %s compares", p.words(t.At))
	case fillers[t.Text]:
		p.fail(t.At, p.leaveOut(ref, t), "%s needs a value", name)
	default:
		p.fail(t.At, "", "%s needs a value", name)
	}
}

// copyFollows reports whether the field that comes next is an operand, and not
// an action with an operand of its own.
func (p *parser) copyFollows() bool {
	after := p.second()
	switch after.Text {
	case "fix", "bad", "=", "random", "atleast", "atmost":
		return false
	}
	return !after.word || p.startsRule(after) || isLanguage(after)
}
