package rule

import "repacket/internal/syntax"

// TooComplex is the error, a *syntax.Diagnostic, for a rule with which a program
// takes more to carry out than anyone waits for.
func (p *Program) TooComplex(r *Rule) error {
	return &syntax.Diagnostic{
		Msg:    "the rules are too complex: no more of their cases are followed than up to here",
		At:     r.Cond.Span(),
		Hint:   "split the condition into rules joined by else, and write ranges, prefixes or the rows of a file (from) for many values",
		Source: p.Source,
		File:   p.File,
	}
}
