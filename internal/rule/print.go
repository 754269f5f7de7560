package rule

import (
	"fmt"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// Print writes a condition in the language, with every and, and brackets
// wherever or meets and. What is printed means the same when it is read again.
func Print(e Expr) string { return (*Rows)(nil).write(e) }

// write is Print for a rule with rows.
func (rs *Rows) write(e Expr) string {
	switch e := e.(type) {
	case All:
		return "all"
	case Has:
		return e.Proto.String()
	case Test:
		return rs.printTest(e)
	case Chance:
		return e.print()
	case Not:
		return "not " + rs.printMember(e.X)
	case And:
		if xs := unguarded(e.X); len(xs) > 1 {
			return rs.printMembers(xs, " and ")
		}
		return rs.write(e.X[len(e.X)-1])
	case Or:
		return rs.printMembers(e.X, " or ")
	}
	panic("rule: unknown kind of condition")
}

// unguarded are the members of an and without those that reading puts there.
func unguarded(xs []Expr) []Expr {
	var out []Expr
	for i, x := range xs {
		if i+1 == len(xs) || !guards(x, xs[i+1]) {
			out = append(out, x)
		}
	}
	return out
}

func (rs *Rows) printMembers(xs []Expr, word string) string {
	texts := make([]string, 0, len(xs))
	for _, x := range xs {
		texts = append(texts, rs.printMember(x))
	}
	return strings.Join(texts, word)
}

// printMember writes a member of a condition, in brackets if it has members.
func (rs *Rows) printMember(e Expr) string {
	switch e := e.(type) {
	case And:
		if len(unguarded(e.X)) > 1 {
			return "(" + rs.write(e) + ")"
		}
	case Or:
		return "(" + rs.write(e) + ")"
	}
	return rs.write(e)
}

// column is the name of the column of a cell; of one that is not known it is
// its place.
func (rs *Rows) column(cell int) string {
	if rs == nil || cell >= len(rs.Cells) {
		return fmt.Sprintf("@%d", cell)
	}
	return "@" + rs.Cells[cell].Column
}

// printTest writes the columns behind the values.
func (rs *Rows) printTest(t Test) string {
	if len(t.Cells) == 0 {
		return printTest(t)
	}
	var items []string
	if len(t.In) > 0 {
		items = append(items, printSet(t.Field, t.In))
	}
	for _, c := range t.Cells {
		items = append(items, rs.column(c))
	}
	text := t.Field.Name + " "
	switch {
	case t.Not:
		text += "ne "
	case rs != nil && rs.Cells[t.Cells[0]].Compare != "":
		text += rs.Cells[t.Cells[0]].Compare + " "
	}
	return text + strings.Join(items, ",")
}

// printTest chooses the shortest of a list, its complement and a comparison.
func printTest(t Test) string {
	f, in, top := t.Field, t.In, t.Field.Max()
	outside := in.Complement(f.Width)
	_, single := in.Single()
	switch {
	case f.Width == 1 && in.Full(f.Width):
		return f.Name + " on,off"
	case single || in.Full(f.Width):
	case len(in) == 1 && in[0].Lo.IsZero() && f.PrefixLength(in[0]) < 0:
		return f.Name + " le " + printNumber(f, in[0].Hi)
	case len(in) == 1 && in[0].Hi == top && f.PrefixLength(in[0]) < 0:
		return f.Name + " ge " + printNumber(f, in[0].Lo)
	case len(outside) < len(in):
		return f.Name + " ne " + printSet(f, outside)
	}
	return f.Name + " " + printSet(f, in)
}

// printSet writes a set of values as a list.
func printSet(f *field.Field, s field.Set) string {
	items := make([]string, 0, len(s))
	for _, r := range s {
		items = append(items, printRange(f, r))
	}
	return strings.Join(items, ",")
}

func printRange(f *field.Field, r field.Range) string {
	switch n := f.PrefixLength(r); {
	case r.Lo == r.Hi:
		return PrintValue(f, r.Lo)
	case n >= 0:
		return PrintValue(f, r.Lo) + "/" + field.V(uint64(n)).String()
	}
	return printNumber(f, r.Lo) + "-" + printNumber(f, r.Hi)
}

// printNumber writes a value where names have no order: in ranges and
// comparisons.
func printNumber(f *field.Field, v field.Value) string {
	if f.Kind.IsAddress() {
		return printAddress(f, v)
	}
	if isType(f) {
		return fmt.Sprintf("0x%04x", v.Lo)
	}
	return v.String()
}

// isType reports whether people write the numbers of f in hexadecimal.
func isType(f *field.Field) bool { return strings.HasSuffix(f.Name, "_type") && f.Width == 16 }

// PrintValue writes a value of f in the language: its name, but for ports, which are clearer
// as numbers.
func PrintValue(f *field.Field, v field.Value) string {
	switch {
	case f.Kind == field.Flag && v.IsZero():
		return "off"
	case f.Kind == field.Flag:
		return "on"
	case f.Kind.IsAddress():
		return printAddress(f, v)
	case f.Kind == field.Checksum:
		return fmt.Sprintf("0x%04x", v.Lo)
	}
	if word := f.Names.Word(v.Lo); word != "" && f.Kind != field.Port {
		return word
	}
	return printNumber(f, v)
}

// Print writes the rule in the language, so that it means the same when it is
// read again. Its headers that are only implied are not written.
func (r *Rule) Print() string {
	text := "if " + r.Rows.write(r.asked())
	if r.Restores() {
		return text + ", of a flow that is tracked, then " + strings.Join(r.does(), ", ")
	}
	if does := r.does(); len(does) > 0 {
		text += " then " + strings.Join(does, ", ")
	}
	if r.Replies != NoReplies {
		text += " " + r.Replies.String()
	}
	if r.Rows != nil {
		text += " from " + r.Rows.File
	}
	return text
}

// does are the actions, swaps and the verdict in the language.
func (r *Rule) does() []string {
	var texts []string
	for _, a := range r.Actions {
		texts = append(texts, r.Rows.printAction(a))
	}
	for _, s := range r.Swaps {
		texts = append(texts, s.Print())
	}
	if r.Verdict != Pass {
		texts = append(texts, r.printVerdict())
	}
	return texts
}

func (r *Rule) printVerdict() string {
	if r.Verdict == ToInterface {
		return r.Verdict.String() + " " + r.Redirect
	}
	return r.Verdict.String()
}

// print writes a share of a hundred with its sign.
func (e Chance) print() string {
	if e.Den == 100 {
		return fmt.Sprintf("chance %d%%", e.Num)
	}
	return fmt.Sprintf("chance %d/%d", e.Num, e.Den)
}

// Print writes the action in the language.
func (a Action) Print() string { return (*Rows)(nil).printAction(a) }

// printAction is Action.Print for a rule with rows.
func (rs *Rows) printAction(a Action) string {
	if a.Cell == 0 {
		return a.Field.Name + " " + a.operand()
	}
	return a.Field.Name + " " + a.Op.Operand().Print(rs.column(a.Cell-1))
}

// operand is what stands behind the field.
func (a Action) operand() string {
	switch a.Op {
	case operand.Set:
		return PrintValue(a.Field, a.Value)
	case operand.Copy:
		return a.From.Name
	case operand.Restore:
		return a.Op.Operand().Usage
	case operand.Prefix:
		return fmt.Sprintf("%s/%d", printAddress(a.Field, a.Value), a.Bits)
	}
	o, argument := a.Op.Operand(), ""
	switch o.Argument {
	case operand.Value:
		argument = printNumber(a.Field, a.Value)
	case operand.Amount:
		argument = a.Value.String()
	case operand.Choice:
		argument = a.choice()
	}
	return o.Print(argument)
}

// choice is what the operand chooses from, nothing for all that it can.
func (a Action) choice() string {
	lo, hi := a.Range.Lo, a.Range.Hi
	switch {
	case a.Range == a.Op.Operand().Whole(a.Field):
		return ""
	case a.Field.PrefixLength(a.Range) >= 0 && lo != hi:
		return printRange(a.Field, a.Range)
	}
	return printNumber(a.Field, lo) + "-" + printNumber(a.Field, hi)
}
