package syntax

import (
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// operand reads what becomes of the field.
func (p *parser) operand(ref FieldRef) OperandNode {
	t := p.peek()
	from, copied := ResolveField(t)
	o, worded := operand.ByWord(t.Text)
	switch {
	case worded && o.Argument == operand.NoArgument:
		return p.sum(ref, o)
	case worded && o.Argument == operand.Value:
		return p.bound(ref, o)
	case worded && o.Argument == operand.Choice:
		return p.choice(ref, o)
	case t.word && (t.Text[0] == '+' || t.Text[0] == '-'):
		return p.amount(ref)
	case p.isValue(ref, t):
		if o, known := operand.Elsewhere(t.Text); known {
			p.fail(t.At, "", "unknown word %s", p.words(t.At)).Propose(Replace(didYouMean, t.At, o.Word, ""))
		}
		p.column(t, ref, "set")
	case copied && p.copyFollows():
		return OperandNode{Op: operand.Copy, Word: p.next(), From: from}
	default:
		p.noOperand(ref, t)
	}
	return OperandNode{Word: p.next()}
}

// sum reads fix or bad.
func (p *parser) sum(ref FieldRef, o *operand.Operand) OperandNode {
	t := p.next()
	if !o.Takes(ref.Fields[0].Kind) {
		p.fail(t.At, "", "%s is for checksums: %s is none", t.Text, ref.Name.Text)
	}
	return OperandNode{Op: o.Op}
}

// bound reads an operand with one value behind its word, such as atleast.
func (p *parser) bound(ref FieldRef, o *operand.Operand) OperandNode {
	word := p.next()
	p.noArithmetic(ref, word, o)
	t := p.peek()
	if !p.isValue(ref, t) {
		name := ref.Name.Text + " " + word.Text
		p.fail(t.At, "", "%s needs a value", name)
	}
	p.column(t, ref, word.Text)
	return OperandNode{Op: o.Op, Word: p.next()}
}

// choice reads an operand such as random and what to choose from, if that is not
// all.
func (p *parser) choice(ref FieldRef, o *operand.Operand) OperandNode {
	word := p.next()
	f := ref.Fields[0]
	if !o.Takes(f.Kind) {
		p.fail(word.At, "", "%s is a checksum: it takes a value, fix, bad or itself", ref.Name.Text).
			Propose(Replace("for a wrong sum: ", word.At, "bad", "").Showing(Span{ref.Name.At.Start, word.At.End}))
	}
	out := OperandNode{Op: o.Op}
	if t := p.peek(); t.word && !p.startsRule(t) && !isLanguage(t) && meantAsRange(f, t.Text) {
		p.columnless(t, o.Word)
		out.Word = p.next()
	}
	if o.Draws {
		out.Draw = p.draw((f.Width + 31) / 32)
	}
	return out
}

// meantAsRange reports whether a word behind one such as random is its argument, if
// a wrong one, or the beginning of another action.
func meantAsRange(f *field.Field, word string) bool {
	_, named := f.Names.Lookup(word)
	return named || looksLikeValue(word) || strings.ContainsAny(word, "-/@")
}

// amount reads + or - and the number that is attached to it.
func (p *parser) amount(ref FieldRef) OperandNode {
	t := p.next()
	sign, number := t.Text[:1], t.Text[1:]
	o, _ := operand.BySign(sign)
	p.noArithmetic(ref, t, o)
	if number == "" {
		near := p.peek()
		p.fail(t.At, "the sign and the number are one word", "%s needs a number", sign).
			Propose(Replace("one word: ", Span{t.At.End, near.At.Start}, "", "").Showing(Span{ref.Name.At.Start, near.At.End}))
		number = "1"
	}
	p.column(t, ref, sign)
	t.Text = number
	return OperandNode{Op: o.Op, Word: t}
}

// noArithmetic rejects to count in flags and checksums; t is what asks for it.
func (p *parser) noArithmetic(ref FieldRef, t Token, o *operand.Operand) {
	name, kind := ref.Name.Text, ref.Fields[0].Kind
	switch {
	case o.Takes(kind):
	case kind == field.Flag:
		p.fail(t.At, "it is set to on or off", "%s is a flag: flags take no arithmetic", name)
	default:
		p.fail(t.At, "", "%s is a checksum: it takes a value, fix, bad or itself", name).
			Propose(Replace("for a sum that is wrong by one: ", t.At, "bad", "").Showing(Span{ref.Name.At.Start, t.At.End}))
	}
}

// noOperand is the error for an action without an operand; t is what stands
// there.
func (p *parser) noOperand(ref FieldRef, t Token) {
	name := ref.Name.Text
	switch {
	case t.Text == "eq" || t.Text == "ne" || t.Text == "lt" || t.Text == "le" || t.Text == "gt" || t.Text == "ge":
		f := p.without(t).Showing(Span{ref.Name.At.Start, p.second().At.End})
		f.Lead = "the field and its new value: "
		p.fail(t.At, "an action is a field and its new value", "an action sets a field, %s compares", p.words(t.At)).Propose(f)
	case fillers[t.Text]:
		hint, meant := p.leaveOut(ref, t)
		p.fail(t.At, hint, "%s needs a value", name).Propose(meant...)
	default:
		p.fail(t.At, "", "%s needs a value", name)
	}
}

// copyFollows reports whether the field that comes next is an operand, and not
// an action with an operand of its own.
func (p *parser) copyFollows() bool {
	after := p.second()
	if _, worded := operand.ByWord(after.Text); worded || after.Text == "=" {
		return false
	}
	return !after.word || p.startsRule(after) || isLanguage(after)
}
