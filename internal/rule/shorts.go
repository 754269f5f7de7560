package rule

import (
	"slices"

	"repacket/internal/field"
)

// choice says which protocols the short names of a rule mean, where one of
// them is among its actions. An empty choice leaves a short name open.
type choice []field.Protocol

// pick is the field that a name means under the choice, or all that it can
// mean.
func (ch choice) pick(ref fieldRef) []*field.Field {
	for _, f := range ref.fields {
		if slices.Contains(ch, f.Proto) {
			return []*field.Field{f}
		}
	}
	return ref.fields
}

// choices lists what the short names among a rule's actions can mean: the rule
// is copied for each. Without any there is one choice, the open one.
func choices(actions []actionNode) []choice {
	all := []choice{nil}
	for _, a := range actions {
		for _, ref := range a.refs() {
			if ref.short() {
				all = chosen(all, ref)
			}
		}
	}
	return all
}

// chosen are the choices, each for every protocol that a name can still mean.
func chosen(all []choice, ref fieldRef) []choice {
	var next []choice
	for _, ch := range all {
		if len(ch.pick(ref)) == 1 { // an earlier name has chosen
			next = append(next, ch)
			continue
		}
		for _, f := range ref.fields {
			next = append(next, append(slices.Clone(ch), f.Proto))
		}
	}
	return next
}
