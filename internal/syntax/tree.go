// Package syntax reads the text of rules: the lexer, the parser and the tree
// that they make, and the diagnostics that say what is wrong with a text and
// where. It knows the names of fields and nothing of what rules mean.
package syntax

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// The tree: what the parser understood, before anything is checked.
// Names are resolved to fields and protocols; values are still words.
type (
	// RuleNode is a rule as written.
	RuleNode struct {
		Name    string // as written, or ""
		NameAt  Span
		IfAt    Span
		Cond    Node
		Then    bool
		Actions []ActionNode
		Swaps   []Swap
		// Verdicts is one at most, unless the rule is wrong.
		Verdicts []VerdictNode
		// Replies says what becomes of the replies, and RepliesAt is where that stands.
		Replies   ReplyMode
		RepliesAt Span
		// File is what stands behind from, as a token, and Columns are all places
		// where a column of it stands, in order.
		File    Token
		Columns []ColumnNode
		Does    Span // all actions behind then
		At      Span // from name or if to the last word
		OrElse  bool // else stands between this rule and the next
		Closing bool // the actions behind the last else
	}
	// VerdictNode is what becomes of the packet, as written.
	VerdictNode struct {
		Verdict Verdict
		Iface   string // for redirect
		At      Span
	}
	// ActionNode is FIELD and its operand.
	ActionNode struct {
		Ref     FieldRef
		Operand OperandNode
		At      Span
	}
	// OperandNode is what becomes of a field, as written.
	OperandNode struct {
		Op operand.Op // a prefix is still Set
		// Word is the value, the number, the range or the field to copy; empty
		// for fix and bad, and for random over the whole field.
		Word Token
		From FieldRef // for Copy
		Draw int      // for Random
		At   Span
	}
	// FieldRef is a field as named in the source.
	FieldRef struct {
		// Fields is one field, or all that a generic one stands for.
		Fields []*field.Field
		Name   Token
	}
)

// Generic reports whether the name stands for several fields.
func (r FieldRef) Generic() bool { return len(r.Fields) > 1 }

// Refs are the fields that an action names: the one that it sets and the one
// that it reads, if it reads one.
func (a ActionNode) Refs() []FieldRef {
	if a.Operand.Op == operand.Copy {
		return []FieldRef{a.Ref, a.Operand.From}
	}
	return []FieldRef{a.Ref}
}

// DryRun reports whether a rule neither rewrites packets nor drops, reflects or
// redirects them.
func (r RuleNode) DryRun() bool { return len(r.Actions) == 0 && len(r.Swaps) == 0 && !r.Final() }

// Final reports whether a rule drops, reflects or redirects its packets.
func (r RuleNode) Final() bool {
	return slices.ContainsFunc(r.Verdicts, func(v VerdictNode) bool { return v.Verdict != Pass })
}

// Drops reports whether a rule drops its packets.
func (r RuleNode) Drops() bool {
	return slices.ContainsFunc(r.Verdicts, func(v VerdictNode) bool { return v.Verdict == Drop })
}

// ColumnNode is a place where a column stands.
type ColumnNode struct {
	Name string // as written, without its @
	Ref  FieldRef
	Use  string // item, set, a comparison, or the word or the sign of an operand
	At   Span   // of @ and the name, and of a sign before them
}

// Tests reports whether the column stands in the condition.
func (n ColumnNode) Tests() bool {
	return n.Use == "item" || n.Compare() != ""
}

// Compare is the comparison that the column stands behind, or "".
func (n ColumnNode) Compare() string {
	switch n.Use {
	case "lt", "le", "gt", "ge":
		return n.Use
	}
	return ""
}

// IsColumn reports whether a token is a column.
func IsColumn(t Token) bool { return t.word && t.Text[0] == '@' }

// Node is a condition: one of the types below.
type Node interface {
	// Span is where the condition stands in the source.
	Span() Span
}

type (
	// AllNode is all.
	AllNode struct{ At Span }
	// HasNode is the name of a header.
	HasNode struct {
		Proto field.Protocol
		At    Span
	}
	// TestNode is a field and what it is tested for.
	TestNode struct {
		Ref   FieldRef
		Op    string // eq, ne, lt, le, gt or ge
		opAt  Span   // empty where no operator is written
		Items []Token
		At    Span
	}
	// ChanceNode is chance and its share; Index is the place of its random number.
	ChanceNode struct {
		Share Token
		Index int
		At    Span
	}
	// NotNode is not and a condition.
	NotNode struct {
		X  Node
		At Span
	}
	// GroupNode is a condition in brackets.
	GroupNode struct {
		X  Node
		At Span
	}
	// AndNode are conditions that all have to hold.
	AndNode struct {
		X []Node
		// Beside: at least two of X stand side by side, without a word between.
		Beside bool
		At     Span
	}
	// OrNode are conditions of which one has to hold.
	OrNode struct {
		X  []Node
		At Span
	}
)

// Span is where the condition stands in the source.
func (n AllNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n HasNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n TestNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n ChanceNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n NotNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n GroupNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n AndNode) Span() Span { return n.At }

// Span is where the condition stands in the source.
func (n OrNode) Span() Span { return n.At }

// Span is a place in the source: byte offsets, End excluded.
type Span struct {
	Start, End int
}

// Verdict is what becomes of a packet.
type Verdict uint8

// The verdicts.
const (
	Pass        Verdict = iota // it continues on its path
	Drop                       // it ends here
	Reflect                    // it leaves by the interface that it came in by, as it is
	ToInterface                // it leaves by another interface
)

var verdictWords = [...]string{Pass: "pass", Drop: "drop", Reflect: "reflect", ToInterface: "redirect"}

// Verdicts lists the verdicts.
func Verdicts() []Verdict { return []Verdict{Pass, Drop, Reflect, ToInterface} }

// Usage is the verdict's word with what follows it.
func (v Verdict) Usage() string {
	if v == ToInterface {
		return v.String() + " INTERFACE"
	}
	return v.String()
}

// Meaning is one line for help.
func (v Verdict) Meaning() string { return verdictMeanings[v] }

var verdictMeanings = [...]string{
	Pass:        "the packet goes on its way, rewritten or not; the default",
	Drop:        "the packet ends here; takes no other actions",
	Reflect:     "the packet leaves by the interface it came in on; its addresses stay unless they are swapped",
	ToInterface: "the packet leaves by another interface, as it is or as rewritten",
}

// String is the verdict's word in the language.
func (v Verdict) String() string { return verdictWords[v] }

// Swap is the exchange of a header's source and destination.
type Swap struct {
	Proto field.Protocol
	At    Span
}

// Fields are the two fields that change places.
func (s Swap) Fields() (src, dest *field.Field) {
	prefix := s.Proto.Header().Prefix
	return field.MustByName(prefix + "_src"), field.MustByName(prefix + "_dest")
}

// Print writes the swap in the language.
func (s Swap) Print() string { return "swap " + s.Proto.String() }
