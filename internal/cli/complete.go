package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"repacket/internal/field"
)

// completions teaches the shells what can stand where.
func (a *app) completions(root *cobra.Command) {
	for _, c := range append(root.Commands(), root) {
		if c.Flags().Lookup("file") != nil {
			c.ValidArgsFunction = a.completeProgram
		}
		for name, values := range flagValues {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		if c.Flags().Lookup("interface") == nil {
			continue
		}
		_ = c.RegisterFlagCompletionFunc("interface", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			names, _ := a.env.Kernel.Interfaces()
			return names, cobra.ShellCompDirectiveNoFileComp
		})
	}
	if c, _, err := root.Find([]string{"fields"}); err == nil {
		c.ValidArgsFunction = cobra.FixedCompletions(fieldNames(), cobra.ShellCompDirectiveNoFileComp)
	}
}

// flagValues are the words that flags choose from.
var flagValues = map[string][]string{
	"direction": {"in", "out"},
	"hook":      {"auto", "xdp", "xdp-generic", "tc"},
	"backend":   {"builtin", "clang"},
	"emit":      {"asm", "c", "object"},
	"color":     {"auto", "always", "never"},
}

// completeProgram offers the words that may follow in a rule: behind a field
// the names of its values, behind swap and redirect what these take, elsewhere
// fields, protocols and the small words.
func (a *app) completeProgram(_ *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	if len(words) == 0 {
		return []string{"if"}, directive
	}
	switch strings.ToLower(words[len(words)-1]) {
	case "swap":
		return []string{"eth", "ip", "ip6", "tcp", "udp"}, directive
	case "from":
		return nil, cobra.ShellCompDirectiveDefault
	case "redirect":
		names, _ := a.env.Kernel.Interfaces()
		return names, directive
	}
	var offer []string
	if f, ok := field.ByName(strings.ToLower(words[len(words)-1])); ok {
		if f.Kind == field.Flag {
			offer = append(offer, "on", "off")
		}
		for _, n := range f.Names {
			offer = append(offer, n.Word)
		}
		if inActions(words) {
			return append(offer, operands(f)...), directive
		}
		if f.Kind == field.Flag {
			return offer, directive
		}
		return append(offer, "eq", "ne", "lt", "le", "gt", "ge"), directive
	}
	offer = []string{"then", "and", "or", "not", "all", "else", "chance", "swap", "pass", "drop", "reflect", "redirect", "from"}
	for _, p := range field.Protocols() {
		if name := p.Header().Name; name != "" {
			offer = append(offer, name)
		}
	}
	for _, s := range field.Shorts() {
		offer = append(offer, s.Name)
	}
	for _, f := range field.Fields() {
		offer = append(offer, f.Name)
	}
	return offer, directive
}

// inActions tells whether the words end behind a then or an else.
func inActions(words []string) bool {
	for _, w := range slices.Backward(words) {
		switch strings.ToLower(w) {
		case "then", "else":
			return true
		case "if":
			return false
		}
	}
	return false
}

// operands are the words that may follow a field in an action, but for the
// names of its values.
func operands(f *field.Field) []string {
	var offer []string
	switch f.Kind {
	case field.Checksum:
		return []string{"fix", "bad", f.Name}
	case field.Flag:
		offer = []string{"random"}
	default:
		offer = []string{"random", "atleast", "atmost"}
	}
	for _, g := range field.Fields() {
		if g != f && g.Kind == f.Kind && g.Width <= f.Width {
			offer = append(offer, g.Name)
		}
	}
	return offer
}
