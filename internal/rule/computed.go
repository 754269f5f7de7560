package rule

import (
	"fmt"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// computed says of each chance and of each operand that is not a plain value
// what becomes of a packet by it.
func computed(r *Rule) []string {
	var lines []string
	for _, e := range find[Chance](r.Cond) {
		lines = append(lines, e.print()+" is drawn for each packet")
	}
	for _, a := range r.Actions {
		if line := a.computed(r.Rows); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// computed says how what the action writes comes about, if that is not plain.
func (a Action) computed(rows *Rows) string {
	name := a.Field.Name
	switch o := a.Op.Operand(); {
	case o.Argument == operand.Amount:
		end := map[operand.Op]field.Value{operand.Add: a.Field.Max()}[a.Op]
		if a.Field.Wraps {
			return rows.printAction(a) + " wraps around"
		}
		return fmt.Sprintf("%s stops at %s", rows.printAction(a), printNumber(a.Field, end))
	case a.Op == operand.Copy:
		if a.From == a.Field {
			return name + " stays as it arrives"
		}
		return fmt.Sprintf("%s takes what %s holds when the packet arrives", name, a.From.Name)
	case o.Argument == operand.Choice:
		choice := a.choice()
		if choice == "" {
			choice = "any value"
			if !a.Range.Lo.IsZero() {
				choice += " but 0"
			}
		}
		return fmt.Sprintf("%s %s: %s", name, o.Explain, choice)
	case a.Op == operand.Prefix:
		if a.Cell > 0 {
			return name + " keeps its bits behind the prefix of the row"
		}
		return fmt.Sprintf("%s keeps its last %d bits", name, a.Field.Width-a.Bits)
	}
	return ""
}
