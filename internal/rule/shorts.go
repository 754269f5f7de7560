package rule

import (
	"slices"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// choice says which protocols the short names of a rule mean, where one of
// them is among its actions. An empty choice leaves a short name open.
type choice []field.Protocol

// pick is the field that a name means under the choice, or all that it can
// mean.
func (ch choice) pick(ref syntax.FieldRef) []*field.Field {
	for _, f := range ref.Fields {
		if slices.Contains(ch, f.Proto) {
			return []*field.Field{f}
		}
	}
	return ref.Fields
}

// choices lists what the short names among a rule's actions can mean: the rule
// is copied for each. Without any there is one choice, the open one.
func choices(actions []syntax.ActionNode) []choice {
	all := []choice{nil}
	for _, a := range actions {
		for _, ref := range a.Refs() {
			if ref.Generic() {
				all = chosen(all, ref)
			}
		}
	}
	return all
}

// chosen are the choices, each for every protocol that a name can still mean.
func chosen(all []choice, ref syntax.FieldRef) []choice {
	var next []choice
	for _, ch := range all {
		if len(ch.pick(ref)) == 1 { // an earlier name has chosen
			next = append(next, ch)
			continue
		}
		for _, f := range ref.Fields {
			next = append(next, append(slices.Clone(ch), f.Proto))
		}
	}
	return next
}
