package rule

import "repacket/internal/field"

// The syntax tree: what the parser understood, before anything is checked.
// Names are resolved to fields and protocols; values are still words.
type (
	// ruleNode is a rule as written.
	ruleNode struct {
		name    string // as written, or ""
		nameAt  Span
		ifAt    Span
		cond    node
		then    bool
		actions []actionNode
		swaps   []Swap
		// verdicts is one at most, unless the rule is wrong.
		verdicts []verdictNode
		// file is what stands behind from, as a token, and columns are all places
		// where a column of it stands, in order.
		file    token
		columns []columnNode
		does    Span // all that stands behind then
		at      Span // from name or if to the last word
		orElse  bool // else stands between this rule and the next
		closing bool // the actions behind the last else
	}
	// verdictNode is what becomes of the packet, as written.
	verdictNode struct {
		verdict Verdict
		iface   string // for redirect
		at      Span
	}
	// actionNode is FIELD and its operand.
	actionNode struct {
		ref     fieldRef
		operand operandNode
		at      Span
	}
	// operandNode is what becomes of a field, as written.
	operandNode struct {
		op Op // a prefix is still Set
		// word is the value, the number, the range or the field to copy; empty
		// for fix and bad, and for random over the whole field.
		word token
		from fieldRef // for Copy
		draw int      // for Random
		at   Span
	}
	// fieldRef is a field as named in the source.
	fieldRef struct {
		// fields is one field, or all that a short name stands for.
		fields []*field.Field
		name   token
	}
)

// short tells whether the name stands for several fields.
func (r fieldRef) short() bool { return len(r.fields) > 1 }

// refs are the fields that an action names: the one that it sets and the one
// that it reads, if it reads one.
func (a actionNode) refs() []fieldRef {
	if a.operand.op == Copy {
		return []fieldRef{a.ref, a.operand.from}
	}
	return []fieldRef{a.ref}
}

// columnNode is a place where a column stands.
type columnNode struct {
	name string // as written, without its @
	ref  fieldRef
	use  string // item, set, +, -, atleast, atmost, lt, le, gt or ge
	at   Span   // of @ and the name, and of a sign before them
}

// tests tells whether the column stands in the condition.
func (n columnNode) tests() bool {
	return n.use == "item" || n.compare() != ""
}

// compare is the comparison that the column stands behind, or "".
func (n columnNode) compare() string {
	switch n.use {
	case "lt", "le", "gt", "ge":
		return n.use
	}
	return ""
}

// isColumn tells whether a token is a column.
func isColumn(t token) bool { return t.word && t.text[0] == '@' }

// node is a condition: one of the types below.
type node interface{ span() Span }

type (
	allNode struct{ at Span }
	hasNode struct {
		proto field.Protocol
		at    Span
	}
	testNode struct {
		ref   fieldRef
		op    string // eq, ne, lt, le, gt or ge
		opAt  Span   // empty where no operator is written
		items []token
		at    Span
	}
	// chanceNode is chance and its share.
	chanceNode struct {
		share token
		index int
		at    Span
	}
	notNode struct {
		x  node
		at Span
	}
	// groupNode is a condition in brackets.
	groupNode struct {
		x  node
		at Span
	}
	andNode struct {
		xs []node
		// beside: at least two of xs stand side by side, without a word between.
		beside bool
		at     Span
	}
	orNode struct {
		xs []node
		at Span
	}
)

func (n allNode) span() Span    { return n.at }
func (n hasNode) span() Span    { return n.at }
func (n testNode) span() Span   { return n.at }
func (n chanceNode) span() Span { return n.at }
func (n notNode) span() Span    { return n.at }
func (n groupNode) span() Span  { return n.at }
func (n andNode) span() Span    { return n.at }
func (n orNode) span() Span     { return n.at }
