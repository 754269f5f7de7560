// Package rule is the language: text in, checked rules out. Every error has a
// position and, where one is known, a hint.
//
// It knows nothing of packets in memory or of the kernel. What the checked
// rules mean is written in part 3 of the design and in the reference.
package rule

import "repacket/internal/field"

// Span is a place in the source: byte offsets, End excluded.
type Span struct {
	Start, End int
}

// Program is a checked program: rules of which the first that matches acts.
type Program struct {
	// Source is the text as it was given; spans point into it.
	Source string
	// Rules are in order, short names expanded: a rule as written stands here
	// once for each protocol that its short names can mean.
	Rules []*Rule
	// Written are the rules as the user wrote them; Rule.Index points here.
	Written []Written
	// Warnings do not keep the program from running.
	Warnings []*Diagnostic
}

// Written is one rule in the user's words.
type Written struct {
	// Name is the rule's name, or "".
	Name string
	// Text is the rule in the user's words, name excluded, every run of blanks one space.
	Text string
	Span Span
	// Look: the rule has no actions, or only pass; packets that match are
	// counted, not changed.
	Look bool
}

// Rule is one checked rule: when Cond holds on a packet as it arrived, and
// the headers of all fields that Actions name are there, the rule acts.
type Rule struct {
	// Index is the rule's place in Program.Written; copies of one rule share it.
	Index   int
	Cond    Expr
	Actions []Action // empty: look, don't touch, unless there are swaps or a verdict
	// Swaps are the headers whose source and destination change places: eth,
	// ip, ip6, tcp or udp. No action sets one of these fields.
	Swaps []Swap
	// Verdict is what becomes of the packet behind the actions.
	Verdict Verdict
	// Redirect is the interface for ToInterface, else "".
	Redirect string
}

// Touches tells whether the rule changes the packet or its way.
func (r *Rule) Touches() bool {
	return len(r.Actions) > 0 || len(r.Swaps) > 0 || r.Verdict != Pass
}

// Verdict is what becomes of a packet.
type Verdict uint8

// The verdicts.
const (
	Pass        Verdict = iota // it goes on its way
	Drop                       // it ends here
	Reflect                    // it leaves by the interface that it came in by, as it is
	ToInterface                // it leaves by another interface
)

var verdictWords = [...]string{Pass: "pass", Drop: "drop", Reflect: "reflect", ToInterface: "redirect"}

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

// Expr is a checked condition: All, Has, Test, Not, And or Or.
type Expr interface {
	// Span is where the condition stands in the source.
	Span() Span
	expr()
}

type (
	// All holds on every packet.
	All struct{ At Span }
	// Has holds when the header is there.
	Has struct {
		Proto field.Protocol
		At    Span
	}
	// Test holds when the field's header is there and the value is in In.
	Test struct {
		Field *field.Field
		In    field.Set // never empty; may be full ("ip_ttl ge 0")
		At    Span
	}
	// Not holds when X does not.
	Not struct {
		X  Expr
		At Span
	}
	// And holds when all of X do.
	And struct {
		X  []Expr // two or more
		At Span
	}
	// Or holds when one of X does.
	Or struct {
		X  []Expr // two or more
		At Span
	}
)

// Span is where the condition stands in the source.
func (e All) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e Has) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e Test) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e Not) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e And) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e Or) Span() Span { return e.At }

func (All) expr()  {}
func (Has) expr()  {}
func (Test) expr() {}
func (Not) expr()  {}
func (And) expr()  {}
func (Or) expr()   {}

// Op is what an action does with its field.
type Op uint8

// The operations.
const (
	Set Op = iota // the field becomes Value
	Fix           // checksums: the right sum of the packet as it leaves
	Bad           // checksums: the right sum plus one, in one's complement, never 0
)

// Action is one rewrite. No two actions of a rule touch the same bit.
type Action struct {
	Field *field.Field
	Op    Op
	Value field.Value // for Set
	At    Span
}

// Severity tells errors from warnings and notes.
type Severity uint8

// The severities.
const (
	Error Severity = iota
	Warning
	Note
)

// Diagnostic is what is wrong with a program, where, and what to do about it.
// It is an error.
type Diagnostic struct {
	Severity Severity
	// Msg says what is wrong: lower case, no position, no full stop.
	Msg string
	// At is the place in the source that the caret marks.
	At Span
	// Hint says what to do, or is "".
	Hint string
	// Source is the whole text, for the caret.
	Source string
}

// Error is the message without position and hint.
func (d *Diagnostic) Error() string { return d.Msg }
