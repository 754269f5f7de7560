package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/run"
	"repacket/internal/spelling"
	"repacket/internal/syntax"
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
			return a.completeInterface(), cobra.ShellCompDirectiveNoFileComp
		})
	}
	completeHelp(root)
	if c, _, err := root.Find([]string{"fields"}); err == nil {
		c.ValidArgsFunction = cobra.FixedCompletions(fieldNames(), cobra.ShellCompDirectiveNoFileComp)
	}
}

// completeInterface offers the interfaces, but those with names that a terminal or a
// shell would act on: the kernel allows escapes and $(…) in a name, and what is offered
// goes to both as it is.
func (a *app) completeInterface() []string {
	names, _ := a.env.Kernel.Interfaces()
	return slices.DeleteFunc(names, func(name string) bool { return spelling.InShell(name) != name })
}

// flagValues are the words that flags choose from.
var flagValues = map[string][]string{
	"direction": {"in", "out"},
	"hook":      run.Hooks(),
	"backend":   {"builtin", "clang"},
	"emit":      {"asm", "c", "object"},
	"color":     {"auto", "always", "never"},
	"protect":   nil, // addresses, and no files
	"metrics":   nil,
}

// completeProgram offers the words that may follow in a rule: behind a field
// the names of its values and what else may stand there, behind swap, redirect
// and chance what these take, elsewhere fields, protocols and the small words.
func (a *app) completeProgram(_ *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	if len(words) == 0 {
		return []string{"if"}, directive
	}
	last, acts := strings.ToLower(words[len(words)-1]), inActions(words)
	switch last {
	case "swap":
		return []string{"eth", "ip", "ip6", "tcp", "udp"}, directive
	case "from":
		return nil, cobra.ShellCompDirectiveDefault
	case "redirect":
		return a.completeInterface(), directive
	case "chance":
		return []string{"5%", "1/1000"}, directive
	}
	f, ok := fieldOrGeneric(last)
	switch {
	case ok && acts:
		return append(wordsFor(f), operands(f)...), directive
	case ok && f.Kind == field.Flag:
		return wordsFor(f), directive
	case ok:
		return append(wordsFor(f), keywordsOf(syntax.ComparisonWord)...), directive
	}
	return clauses(acts), directive
}

// fieldOrGeneric finds a field by its name, or one that a generic one can mean.
func fieldOrGeneric(name string) (*field.Field, bool) {
	for _, s := range field.Generics() {
		if s.Name == name {
			return field.MustByName(s.Fields[0]), true
		}
	}
	return field.ByName(name)
}

// wordsFor are the words that stand for values of a field.
func wordsFor(f *field.Field) []string {
	if f.Kind == field.Flag {
		return []string{"on", "off"}
	}
	var out []string
	for _, n := range f.Names {
		out = append(out, n.Word)
	}
	return out
}

// operands are the words that say what becomes of a field, apart from values.
func operands(f *field.Field) []string {
	out := operand.Words(f.Kind)
	if f.Kind == field.Checksum { // copied to itself only
		return append(out, f.Name)
	}
	for _, g := range field.Fields() {
		if g != f && g.Kind == f.Kind && g.Width <= f.Width {
			out = append(out, g.Name)
		}
	}
	return out
}

// clauses are the words that may begin a test or an action, or join two.
func clauses(acts bool) []string {
	offer := append([]string{"then"}, keywordsOf(syntax.ConditionWord)...)
	if acts {
		offer = append([]string{"and", "replies", "else", "if", "from"}, keywordsOf(syntax.ActionWord)...)
		for _, v := range syntax.Verdicts() {
			offer = append(offer, v.String())
		}
	}
	for _, p := range field.Protocols() {
		if name := p.Header().Name; name != "" && !acts {
			offer = append(offer, name)
		}
	}
	for _, s := range field.Generics() {
		offer = append(offer, s.Name)
	}
	for _, f := range field.Fields() {
		offer = append(offer, f.Name)
	}
	return offer
}

// keywordsOf are the keywords of a role.
func keywordsOf(r syntax.Role) (words []string) {
	for _, k := range syntax.Keywords(r) {
		words = append(words, k.Word)
	}
	return words
}

// inActions reports whether the words end behind a then or an else.
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
