// Package rule is the language: text in, checked rules out. Every error has a
// position and, where one is known, a hint.
//
// It knows nothing of packets in memory or of the kernel. What the checked
// rules mean is written in semantics.md 3 and in the reference.
package rule

import (
	"math/bits"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/syntax"
)

// What the checked program has as it was written.
type (
	// Span is a place in the source.
	Span = syntax.Span
	// Swap is the exchange of a header's source and destination.
	Swap = syntax.Swap
	// Verdict is what becomes of a packet.
	Verdict = syntax.Verdict
	// ReplyMode is what becomes of the replies to the packets that a rule rewrites.
	ReplyMode = syntax.ReplyMode
)

// The verdicts.
const (
	Pass        = syntax.Pass
	Drop        = syntax.Drop
	Reflect     = syntax.Reflect
	ToInterface = syntax.ToInterface
)

// The modes in which replies are served.
const (
	NoReplies = syntax.NoReplies
	Stateless = syntax.Stateless
	Tracked   = syntax.Tracked
)

// Program is a checked program: rules of which the first that matches acts.
type Program struct {
	// Source is the text as it was given; spans point into it.
	Source string
	// File is the file that the text is from, for messages, or "".
	File string
	// Rules are in order, generic fields expanded: a rule as written stands here
	// once for each protocol that its generic fields can mean.
	Rules []*Rule
	// Written are the rules as the user wrote them; Rule.Index points here.
	Written []Written
	// Replies is the program for packets of the other direction of the same interface, which
	// gives replies their old values (semantics.md 5), or nil where no rule says replies. Its
	// rules have the Index of the rule whose replies they serve: its Written is that of this program.
	Replies *Program
	// Warnings do not keep the program from running.
	Warnings []*syntax.Diagnostic
	// OneWay is a warning of rules that change a port or an address of TCP in one direction
	// only, or nil. The other direction may have rules of its own, which are not known here.
	OneWay *syntax.Diagnostic
	// RepliesAdvice are warnings of what replies without memory cannot tell apart or see.
	RepliesAdvice []*syntax.Diagnostic
	// Draws is how many random numbers a packet may need: every Chance.Index
	// and all of Action.Draws lie below it.
	Draws int
}

// Written is one rule in the user's words.
type Written struct {
	// Name is the rule's name, or "".
	Name string
	// Text is the rule in the user's words, name excluded, every run of blanks one space.
	Text string
	Span Span
	// DryRun: the rule has no actions, or only pass; packets that match are
	// counted, not changed.
	DryRun bool
	// Verdict is what becomes of the packets on which the rule acts.
	Verdict Verdict
	// Replies is what becomes of the replies.
	Replies ReplyMode
	// Cond is the condition as written, where a generic field means any of its fields. It
	// has no guards for what the actions need.
	Cond Expr
}

// Rule is one checked rule: when Cond holds on a packet as it arrived, and
// the headers of all fields that Actions set or read are there, the rule acts.
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
	// Replies is what becomes of the replies to the packets on which the rule acts.
	Replies ReplyMode
	// Quote: the rule is for ICMP errors that quote packets of the rule as written, or replies to
	// them. It has fields that are no words of the language.
	Quote bool
	// Reply, of a rule that Restores: what is quoted is a reply whose old values have been given back.
	Reply bool
	// Rows are the rows of its file, or nil. The rule stands for one rule a
	// row, in the file's order: see Row.
	Rows *Rows
}

// Touches reports whether the rule rewrites, drops, reflects or redirects packets.
func (r *Rule) Touches() bool {
	return len(r.Actions) > 0 || len(r.Swaps) > 0 || r.Verdict != Pass
}

// Expr is a checked condition: All, Has, Test, Chance, Not, And or Or.
type Expr interface {
	// Span is where the condition stands in the source.
	Span() Span
}

type (
	// All holds on every packet.
	All struct{ At Span }
	// Has holds when the header is there.
	Has struct {
		Proto field.Protocol
		At    Span
	}
	// Test holds when the field's header is there and the value is in In. In a
	// rule with rows it may have cells: then it holds when the value is in In or
	// in a cell of the row; with Not, when it is in none of them.
	Test struct {
		Field *field.Field
		In    field.Set // not empty without cells; may be full ("ip_ttl ge 0")
		// Cells are places in Rows.Cells. Without any, Not is false.
		Cells []int
		Not   bool
		At    Span
	}
	// Chance holds by chance, Num times in Den: when the random number of 32
	// bits that is drawn for it is below Threshold. Each packet has one number
	// for each Index, however often, and in whatever order, tests are looked at.
	Chance struct {
		Num, Den uint64 // 0 < Num < Den, Num/Den is 1/2^32 or more
		// Index is the place of its number among those of the program. Copies of
		// one rule share it: no packet has to do with two of them.
		Index int
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
func (e Chance) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e Not) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e And) Span() Span { return e.At }

// Span is where the condition stands in the source.
func (e Or) Span() Span { return e.At }

// Leaves are the parts of a condition that are no Not, And or Or, in order.
func Leaves(e Expr) []Expr {
	xs := parts(e)
	if xs == nil {
		return []Expr{e}
	}
	var out []Expr
	for _, x := range xs {
		out = append(out, Leaves(x)...)
	}
	return out
}

// Map is a condition with other leaves, which f makes in the order of Leaves.
func Map(e Expr, f func(Expr) Expr) Expr {
	list := func(in []Expr) []Expr {
		out := make([]Expr, len(in))
		for i, x := range in {
			out[i] = Map(x, f)
		}
		return out
	}
	switch e := e.(type) {
	case Not:
		return Not{Map(e.X, f), e.At}
	case And:
		return And{list(e.X), e.At}
	case Or:
		return Or{list(e.X), e.At}
	}
	return f(e)
}

// parts are the conditions of which a Not, an And or an Or is made.
func parts(e Expr) []Expr {
	switch e := e.(type) {
	case Not:
		return []Expr{e.X}
	case And:
		return e.X
	case Or:
		return e.X
	}
	return nil
}

// anyOf is the condition that one of xs holds.
func anyOf(xs []Expr, at Span) Expr {
	if len(xs) == 1 {
		return xs[0]
	}
	return Or{xs, at}
}

// conjuncts are the conditions that all have to hold for e to hold.
func conjuncts(e Expr) []Expr {
	if and, ok := e.(And); ok {
		return and.X
	}
	return []Expr{e}
}

// Conjuncts are the conditions that all have to hold for e to hold, in order. What guards a
// test stands in an And with it.
func Conjuncts(e Expr) []Expr {
	var out []Expr
	xs := conjuncts(e)
	if len(xs) == 2 && guards(xs[0], xs[1]) {
		return []Expr{e}
	}
	for i := 0; i < len(xs); i++ {
		if i+1 < len(xs) && guards(xs[i], xs[i+1]) {
			out = append(out, And{xs[i : i+2 : i+2], xs[i+1].Span()})
			i++
			continue
		}
		out = append(out, xs[i])
	}
	return out
}

// find are the conditions of a type in a condition, in order.
func find[T Expr](e Expr) (out []T) {
	if x, ok := e.(T); ok {
		out = append(out, x)
	}
	for _, x := range parts(e) {
		out = append(out, find[T](x)...)
	}
	return out
}

// Threshold is Num/Den of 2^32, rounded up: the chance holds on numbers below
// it. It is from 1 to 2^32; 2^32 would be always.
func (e Chance) Threshold() uint64 {
	hi, lo := bits.Mul64(e.Num, 1<<32)
	n, rest := bits.Div64(hi, lo, e.Den)
	if rest > 0 {
		n++
	}
	return n
}

// Action is one rewrite. No two actions of a rule touch the same bit.
type Action struct {
	Field *field.Field
	Op    operand.Op
	// Value is the operand's argument, if that is a value or an amount, and for Prefix
	// the upper bits, in their place, with no others set. It fits in the field.
	Value field.Value
	// From is the field that Copy reads. It is of the kind of Field, not wider,
	// and may be Field itself; a checksum is copied only to itself, so that it
	// stays as it was.
	From *field.Field
	// Bits is the length of the prefix for Prefix: at least 0, less than the
	// field's width.
	Bits int
	// Range is what the operand chooses from, if it does; it is the whole field, a
	// range or a prefix.
	Range field.Range
	// Draw is the place of Random's first number among those of the program,
	// see Words.
	Draw int
	// Cell is 1 + the place in Rows.Cells of what takes the place of Value, of Prefix
	// of Value and Bits, or 0.
	Cell int
	At   Span
}

// Words is how many numbers of 32 bits an operand that chooses takes: of Random they
// are random, from Draw on. They are as many as Hi-Lo of its range has words of 32 bits, but one at least. Read as
// one number r of 32*Words bits, the first one most significant, they give
//
//	Lo + r * (Hi-Lo+1) / 2^(32*Words), rounded down.
//
// So where the range is a prefix or the whole field the upper bits of r are
// taken. Other operations take none.
func (a Action) Words() int {
	if !a.Op.Chooses() {
		return 0
	}
	return max(1, (spread(a.Range)+31)/32)
}

// Idle reports whether the action leaves its field as it is, whatever that holds. A
// checksum that is copied to itself is none of these: it does not follow what changes.
func (a Action) Idle() bool {
	switch neutral := a.Op.Operand().Neutral; {
	case a.Cell > 0:
		return false
	case a.Op == operand.Prefix:
		return a.Bits == 0
	case a.Op == operand.Copy:
		return a.From == a.Field && a.Field.Kind != field.Checksum
	default:
		return neutral != nil && a.Value == neutral(a.Field)
	}
}

// spread is how many bits Hi-Lo of a range has.
func spread(r field.Range) int {
	lo, borrow := bits.Sub64(r.Hi.Lo, r.Lo.Lo, 0)
	if hi, _ := bits.Sub64(r.Hi.Hi, r.Lo.Hi, borrow); hi > 0 {
		return 64 + bits.Len64(hi)
	}
	return bits.Len64(lo)
}

// Needs are the fields that have to be there for the action: the one that it
// sets and, for Copy, the one that it reads.
func (a Action) Needs() []*field.Field {
	if a.Op == operand.Copy {
		return []*field.Field{a.Field, a.From}
	}
	return []*field.Field{a.Field}
}

// Rows are what a rule with from takes from the rows of a CSV file, row by row.
type Rows struct {
	File string
	// Len is the number of rows; row 0 is the one behind the names of the columns.
	Len int
	// Cells are one for each place in the rule where a column stands.
	Cells []Cells
}

// Cells are the values of a column at one place of a rule, by row: those from
// Lo to Hi, both included. In a test that is what holds, whatever the
// comparison; as an operand it is one value, or the values of a prefix.
type Cells struct {
	Column string
	// Compare is lt, le, gt or ge where the column stands behind one, else "".
	Compare string
	Lo      []field.Value
	Hi      []field.Value // nil: every row has a single value, Lo
}

// Range is the cell of a row.
func (c Cells) Range(row int) field.Range {
	if c.Hi == nil {
		return field.Range{Lo: c.Lo[row], Hi: c.Lo[row]}
	}
	return field.Range{Lo: c.Lo[row], Hi: c.Hi[row]}
}
