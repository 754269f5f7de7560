package rule

import (
	"io"
	"slices"
	"strings"

	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

const (
	// maxMended is the longest source, in bytes, that suggestions are tried on as a
	// whole; of longer ones it is the rule at fault.
	maxMended = 1024
	// maxTries is how many sources are checked for one diagnostic, and maxSteps how
	// many suggestions may follow from each other.
	maxTries, maxSteps = 24, 5
	// maxShown is the longest text, in bytes, that is shown as a hint.
	maxShown = 200
	// maxHinted is how many warnings of a program are given such hints.
	maxHinted = 100
)

// settle makes the hint of a diagnostic from its suggestions: each is applied by
// machine, and what comes of it is checked as any rules are. The first that passes is
// shown, with those that belong beside it. If none does, the hint is the prose that
// stands there already.
func settle(d *syntax.Diagnostic) {
	m := mender{written: fault(d), tries: maxTries}
	list := d.Suggestions
	d.Suggestions = nil
	if m.written.at.End-m.written.at.Start > maxMended {
		return // a line can hold many rules: to check it for each of them takes too long
	}
	if d.Severity == syntax.Error {
		list = withPhrases(m.written, d.At, list)
	}
	if len(list) == 0 {
		return
	}
	if c, err := m.check(m.text()); err == nil {
		m.accepted = c
	}
	hint, whole := "", false
	for _, s := range list {
		if hint != "" && !s.Also {
			break
		}
		if text, fixed, ok := m.try(s); ok && !slices.Contains(d.Fixed, fixed) && (hint == "" || m.whole == whole) {
			whole = m.whole
			hint += m.lead(list, s, hint == "") + text
			d.Fixed = append(d.Fixed, fixed)
		}
	}
	if strings.HasPrefix(hint, didYouMean) {
		hint += "?"
	}
	if hint != "" {
		d.Hint = hint
	}
}

const didYouMean = "did you mean "

// lead is the lead of a suggestion, the one that was tried last. The first that is
// shown, where it stands beside others that failed, has theirs; and no rule is called
// a word.
func (m *mender) lead(list []syntax.Suggestion, s syntax.Suggestion, first bool) string {
	lead := s.Lead
	switch {
	case !first:
	case strings.HasPrefix(lead, "; "):
		lead = strings.TrimPrefix(lead, "; ")
	case s.Also:
		lead = list[0].Lead
	}
	if m.whole && lead == didYouMean {
		return ""
	}
	return lead
}

// mender tries suggestions on a source.
type mender struct {
	written  piece
	accepted *checker // of the source as written, nil if that is rejected
	whole    bool     // what the last suggestion shows is all of the rules
	tries    int
}

// piece is a part of a source.
type piece struct {
	source string
	at     Span
}

func (m *mender) text() string { return m.written.source[m.written.at.Start:m.written.at.End] }

// fault is what suggestions for a diagnostic are tried on.
func fault(d *syntax.Diagnostic) piece {
	all := piece{d.Source, Span{Start: 0, End: len(d.Source)}}
	if len(d.Source) > maxMended {
		all.at = syntax.RuleAround(d.Source, d.At)
	}
	return all
}

// withPhrases are the suggestions for what is wrong at a place and, before and behind them,
// what the words there mean in other tools.
func withPhrases(p piece, at Span, list []syntax.Suggestion) []syntax.Suggestion {
	rows, single := syntax.Phrases(p.source, p.at, at)
	return slices.Concat(rows, list, single)
}

// try applies a suggestion and what follows from it until the source is accepted,
// and gives what is to be shown and that source.
func (m *mender) try(s syntax.Suggestion) (shown, fixed string, ok bool) {
	text := s.Alone
	if text == "" {
		if text, ok = syntax.Apply(m.written.source, m.written.at, s.Edits); !ok {
			return "", "", false
		}
	}
	fixed, direct, ok := m.mend(text, maxSteps)
	if !ok {
		return "", "", false
	}
	shown = syntax.Flatten(fixed, Span{Start: 0, End: len(fixed)})
	m.whole = !direct || s.Alone == "" && s.Shows == Span{}
	switch {
	case m.whole:
	case s.Alone != "":
		shown = s.AloneShows
	default:
		piece, _ := syntax.Apply(m.written.source, s.Shows, s.Edits)
		shown = syntax.Flatten(piece, Span{Start: 0, End: len(piece)})
	}
	if !m.whole {
		shown += s.Tail
	}
	return shown, fixed, shown != "" && len(shown) <= maxShown
}

// mend gives a source that is accepted, which is the text itself, direct, or what
// suggestions for it lead to.
func (m *mender) mend(text string, steps int) (fixed string, direct, ok bool) {
	if m.tries--; m.tries < 0 || steps == 0 {
		return "", false, false
	}
	c, err := m.check(text)
	if err == nil {
		return text, true, m.keeps(c)
	}
	at := Span{Start: 0, End: len(text)}
	for _, s := range withPhrases(piece{text, at}, err.At, err.Suggestions) {
		next, ok := syntax.Apply(text, at, s.Edits)
		if !ok || s.Alone != "" {
			continue
		}
		if fixed, _, ok := m.mend(next, steps-1); ok {
			return fixed, false, true
		}
	}
	return "", false, false
}

// keeps reports whether changed rules give no verdict that was not asked for, and none
// to packets that it was not asked for. Where the rules as written are accepted it is
// known which these are; else it goes by the words.
func (m *mender) keeps(c *checker) bool {
	if m.accepted == nil {
		return !syntax.Widens(m.text(), c.source)
	}
	return !slices.ContainsFunc(c.program.Rules, func(r *Rule) bool {
		return r.Verdict != Pass && c.sets.Meets(c.where[r], m.accepted.unsent(r))
	})
}

// unsent are the packets to which no rule gives the verdict of r.
func (c *checker) unsent(r *Rule) packetset.Set {
	out := packetset.All()
	for _, o := range c.program.Rules {
		if o.Verdict == r.Verdict && o.Redirect == r.Redirect {
			out = c.sets.Intersect(out, c.outside(&reach{rules: []*Rule{o}}))
		}
	}
	return out
}

// check is check without hints, on files of one row.
func (m *mender) check(text string) (*checker, *syntax.Diagnostic) {
	rules, draws, err := syntax.Parse(text)
	if err != nil {
		return nil, err
	}
	c := newChecker(text, draws, func(name string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(exampleRows(rules, name))), nil
	})
	c.sets = &evaluator{Budget: packetset.NewBudget(sharedSteps / maxTries)}
	_, err = c.check(rules)
	return c, err
}

// exampleRows is a CSV file of one row for the columns that rules take from a file:
// whether rules are accepted is told without reading it.
func exampleRows(rules []syntax.RuleNode, file string) string {
	var names, values []string
	for _, r := range rules {
		for _, n := range r.Columns {
			if !strings.EqualFold(r.File.Text, file) || slices.Contains(names, n.Name) {
				continue
			}
			names = append(names, n.Name)
			values = append(values, syntax.Example(n.Ref.Fields[0]))
		}
	}
	return strings.Join(names, ",") + "\n" + strings.Join(values, ",") + "\n"
}
