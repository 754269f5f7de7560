// Package operand is the one table of operands: what a rule can do with a field.
// Parser, checker, printer, completion and the tests' generator read it. It says how
// an operand is written; what it means stands in the reference, in the instructions
// and in the C, each written by itself.
package operand

import (
	"slices"

	"repacket/internal/field"
)

// Op is what an action does with its field.
type Op uint8

// The operations. But for Fix and Bad, what an action writes follows from the
// packet as it arrived and from the numbers drawn for it.
const (
	Set     Op = iota // the field becomes the value
	Fix               // checksums: the right sum of the packet as it leaves
	Bad               // checksums: the right sum plus one, in one's complement, never 0
	Add               // so much more; at the highest value it stops, or wraps if Field.Wraps
	Sub               // so much less; at 0 it stops, or wraps if Field.Wraps
	AtLeast           // the value if it was below that
	AtMost            // the value if it was above that
	Copy              // what another field holds
	Random            // a value of a range, drawn for each packet
	Prefix            // the upper bits become those of the prefix, the rest stays
	Hash              // a value of a range, the same for all packets of a flow
	Restore           // what it held in the flow that the packet answers; no rule says it, see rule.Program.Replies
)

// Argument is what follows the word or the sign of an operand.
type Argument uint8

// The arguments.
const (
	NoArgument Argument = iota
	Value               // one value of the field
	Amount              // a number, attached to the sign
	Choice              // what to choose from: a range, a prefix, or nothing for the whole field
)

// Operand is a line of the table.
type Operand struct {
	Op Op
	// Word or Sign is how the operand begins. Those that consist of a value (Set), a
	// field (Copy) or a prefix (Prefix) have neither.
	Word, Sign string
	// Elsewhere are the words that other tools have for it, which get a hint.
	Elsewhere []string
	// Argument is what follows. A column of a file can stand for Value and Amount.
	Argument Argument
	// Kinds are those of the fields that take the operand.
	Kinds []field.Kind
	// Test is the comparison that means in a test what the word does in an action.
	Test string
	// Neutral, if it is not nil, is the argument that changes nothing, whatever the
	// field holds.
	Neutral func(*field.Field) field.Value
	// Over, if there are any, are headers of which the packet must have one: the operand
	// reads it.
	Over []field.Protocol
	// Draws: the values that are chosen are random numbers.
	Draws bool
	// Explain says of a Choice where the value comes from.
	Explain string
	// Usage is how the operand is written, and Meaning one line for help.
	Usage, Meaning string
}

// Sums reports whether the operation computes a whole checksum: Fix and Bad.
func (o Op) Sums() bool { return o == Fix || o == Bad }

// Chooses reports whether the operation takes a value of a range.
func (o Op) Chooses() bool { return o.Operand().Argument == Choice }

// Operand is the operation's line of the table.
func (o Op) Operand() *Operand { return &table[o] }

// Takes reports whether fields of a kind take the operand.
func (o *Operand) Takes(k field.Kind) bool { return slices.Contains(o.Kinds, k) }

// Print writes the operand with its argument.
func (o *Operand) Print(argument string) string {
	if o.Word == "" || argument == "" {
		return o.Word + o.Sign + argument
	}
	return o.Word + " " + argument
}

// Whole is all that a Choice can choose from for a field, which it does without an
// argument. A flow label of 0 stands for none, so no flow has it (RFC 6437 section 3).
func (o *Operand) Whole(f *field.Field) field.Range {
	whole := field.Range{Hi: f.Max()}
	if o.Op == Hash && f.Name == "ip6_flow" {
		whole.Lo = field.V(1)
	}
	return whole
}

// All lists the operands of the language.
func All() []*Operand {
	var out []*Operand
	for i := range table {
		if len(table[i].Kinds) > 0 {
			out = append(out, &table[i])
		}
	}
	return out
}

// ByWord finds the operand that begins with a word.
func ByWord(word string) (*Operand, bool) {
	return find(func(o Operand) bool { return o.Word != "" && o.Word == word })
}

// Elsewhere finds the operand that other tools write with a word.
func Elsewhere(word string) (*Operand, bool) {
	return find(func(o Operand) bool { return slices.Contains(o.Elsewhere, word) })
}

// BySign finds the operand that begins with a sign.
func BySign(sign string) (*Operand, bool) {
	return find(func(o Operand) bool { return o.Sign != "" && o.Sign == sign })
}

func find(is func(Operand) bool) (*Operand, bool) {
	if i := slices.IndexFunc(table, is); i >= 0 {
		return &table[i], true
	}
	return nil, false
}

// For lists the operands that fields of a kind take.
func For(k field.Kind) []*Operand {
	var out []*Operand
	for i := range table {
		if table[i].Takes(k) {
			out = append(out, &table[i])
		}
	}
	return out
}

// Words lists the words that operands begin with: of one kind of field, or all.
func Words(kinds ...field.Kind) []string {
	var out []string
	for _, o := range table {
		if o.Word != "" && (len(kinds) == 0 || slices.ContainsFunc(kinds, o.Takes)) {
			out = append(out, o.Word)
		}
	}
	return out
}
