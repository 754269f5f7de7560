package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"repacket/internal/field"
	"repacket/internal/rule"
	"repacket/internal/run"
	"repacket/internal/spelling"
	"repacket/internal/syntax"
	"repacket/internal/why"
)

// notExamined notes that --why looks at the first rules only, where there are more.
func (a *app) notExamined(p *rule.Program) {
	if n := len(p.Written); a.opt.why && n > why.MostRules {
		a.out.advise([]run.Advice{{
			Note: true, Message: fmt.Sprintf("--why looks at the first %d rules, and there are %s", why.MostRules, spelling.Thousands(n)),
		}})
	}
}

// withoutWhy adds to an error of rules that are too much for a program that they may not be without
// --why.
func (a *app) withoutWhy(err error) error {
	if status, hint := explain(err); a.opt.why && hint == run.TooLargeHint {
		return &Failure{Status: status, Err: err, Hint: "they may fit without --why, which asks their tests again; else " + hint}
	}
	return err
}

// reasons prints, for each rule that was examined, why it did not act.
func (r *report) reasons(counts []run.RuleCount) {
	for i, c := range counts {
		if c.Why == nil || c.Why.Packets == 0 {
			continue
		}
		label := ""
		if len(counts) > 1 {
			label = cmp.Or(c.Name, "rule "+strconv.Itoa(i+1)) + ": "
		}
		width := 0
		if r.out.live {
			width = r.width()
		}
		for _, line := range wrapped(whyParts(label, c.Why), width) {
			r.line(line, "\n")
		}
	}
}

// wrapped puts parts side by side in lines of at most so many columns; 0 is any number.
func wrapped(parts []string, width int) []string {
	const indent = "  "
	lines := []string{parts[0]}
	for _, p := range parts[1:] {
		last := &lines[len(lines)-1]
		if width > 0 && utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(p) > width {
			lines = append(lines, indent+p)
			continue
		}
		*last += " " + p
	}
	return lines
}

// whyParts are the pieces of the line that says why a rule did not act.
func whyParts(label string, w *run.Why) []string {
	parts := []string{fmt.Sprintf("%s%s of %s matched", label, count(w.Matched), count(w.Packets))}
	add := func(text string) {
		end := ","
		if len(parts) == 1 {
			end = ":"
		}
		parts[len(parts)-1] += end
		parts = append(parts, text)
	}
	switch {
	case w.TakenBy > 0:
		add(fmt.Sprintf("%s taken by rule %d before", count(w.Taken), w.TakenBy))
	case w.Taken > 0:
		add(count(w.Taken) + " taken by rules before")
	}
	for i, m := range w.Missed {
		text := count(m.Packets) + " " + missedText(m)
		seen := seenText(m)
		switch {
		case seen == "":
		case m.Miss == why.Failed && i == len(w.Missed)-1:
			text += ": " + seen
		default:
			text += " (" + seen + ")"
		}
		add(text)
	}
	return parts
}

func count(n uint64) string { return spelling.Thousands(int(n)) }

// missedText says how a test failed.
func missedText(m run.Missed) string {
	t := m.Test
	switch {
	case m.Miss == why.NoHeader:
		return "had no " + headersText(t.Headers)
	case m.Miss == why.NoField:
		return "had no " + t.Optional.Name
	case t.Whole != nil:
		return "were not whole, as " + t.Text + " needs"
	}
	if text := failedText(t); text != "" {
		return text
	}
	return "failed " + bracketed(syntax.Crop(t.Text))
}

// headersText lists headers of which one would do.
func headersText(list []field.Protocol) string {
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, " or ")
}

// bracketed is a text that is in brackets, in case it has more than one part.
func bracketed(text string) string {
	if strings.HasPrefix(text, "(") || !strings.Contains(text, " ") {
		return text
	}
	return "(" + text + ")"
}

// failedText says what a test found instead where that has words of its own, or "".
func failedText(t why.Test) string {
	switch e := t.Expr.(type) {
	case rule.Chance:
		return "were not drawn (" + t.Text + ")"
	case rule.Not:
		if h, is := e.X.(rule.Has); is {
			return "had " + h.Proto.String()
		}
		if x, is := fieldTest(e.X); is && len(x.Cells) == 0 {
			return "had " + t.Name + " " + printSet(x.Field, x.In)
		}
	default:
		x, is := fieldTest(e)
		switch {
		case is && len(x.Cells) > 0 && x.Not:
			return "had " + t.Name + " in " + columnsOf(t.Text)
		case is && len(x.Cells) > 0 && strings.HasPrefix(columnsOf(t.Text), "@"):
			return "had " + t.Name + " not in " + columnsOf(t.Text)
		case is && len(x.Cells) == 0:
			return "had " + t.Name + " " + outside(x)
		}
	}
	return ""
}

// columnsOf is what stands behind the field of a test, from the first column on.
func columnsOf(text string) string {
	_, items, _ := strings.Cut(text, " ")
	items = strings.TrimPrefix(items, "eq ")
	if at := strings.IndexByte(items, '@'); at >= 0 && strings.HasPrefix(items, "ne ") {
		return strings.TrimPrefix(items, "ne ")
	}
	return items
}

// fieldTest is the test of a condition that is one of a field, which may be generic.
func fieldTest(e rule.Expr) (rule.Test, bool) {
	switch e := e.(type) {
	case rule.Test:
		return e, true
	case rule.And: // behind its guard
		if list := rule.Conjuncts(e); len(list) == 1 {
			return fieldTest(e.X[1])
		}
	case rule.Or:
		first, is := fieldTest(e.X[0])
		return first, is && first.At == e.At
	}
	return rule.Test{}, false
}

// outside says which values a test does not hold for.
func outside(t rule.Test) string {
	f, in := t.Field, t.In
	rest := in.Complement(f.Width)
	if len(rest) < len(in) || f.Width == 1 {
		return printSet(f, rest)
	}
	if len(in) != 1 || in[0].Lo == in[0].Hi {
		return "other than " + syntax.Crop(strings.ReplaceAll(printSet(f, in), ",", ", "))
	}
	switch one := printSet(f, in); {
	case f.PrefixLength(in[0]) >= 0:
		return "outside " + one
	case in[0].Lo.IsZero():
		return "above " + rule.PrintValue(f, in[0].Hi)
	case in[0].Hi == f.Max():
		return "below " + rule.PrintValue(f, in[0].Lo)
	default:
		return "outside " + one
	}
}

// printSet is a set of values of a field as rules spell it.
func printSet(f *field.Field, s field.Set) string {
	text := rule.Print(rule.Test{Field: f, In: s})
	if _, set, ok := strings.Cut(text, " "); ok {
		return set
	}
	return text
}

// mostNamed is how many values of a field are named, and mostHeaders how many headers.
const (
	mostNamed   = 3
	mostHeaders = 5
)

// seenText says what was seen instead, or "".
func seenText(m run.Missed) string {
	seen := m.Seen
	if len(seen) == 0 {
		return ""
	}
	f := seen[0].Field
	switch {
	case f == nil:
		return headersSeen(m)
	case f.Width == 1:
		return ""
	}
	prefix := ""
	if m.Miss == why.NoField { // it is the value of another field
		prefix = f.Name + " "
	}
	if seen[0].Packets == m.Packets {
		if m.Miss == why.Failed && names(m.Test, seen[0]) {
			return ""
		}
		return prefix + "all " + seen[0].String()
	}
	const often = 20 // one in so many is often
	var values []string
	for _, s := range seen[:min(len(seen), mostNamed)] {
		if s.Packets*often >= m.Packets {
			values = append(values, s.String())
		}
	}
	word := "most often "
	if values == nil {
		word = "such as "
		for _, s := range seen[:min(len(seen), mostNamed)] {
			values = append(values, s.String())
		}
	}
	return prefix + word + strings.Join(values, ", ")
}

// names reports whether the text of a failed test has named the only value already.
func names(t why.Test, s run.Seen) bool {
	return strings.HasSuffix(failedText(t), " "+s.String()) && !strings.Contains(failedText(t), "other than")
}

// headersSeen lists what was there in place of a header, and for how many packets.
func headersSeen(m run.Missed) string {
	var words []string
	rest := m.Packets
	shown := m.Seen
	if len(shown) > mostHeaders+1 { // one more takes no more room than to say that there is one
		shown = shown[:mostHeaders]
	}
	for _, s := range shown {
		words = append(words, count(s.Packets)+" "+s.String())
		rest -= min(rest, s.Packets)
	}
	switch rest {
	case 0:
	case 1:
		words = append(words, "1 other")
	default:
		words = append(words, count(rest)+" others")
	}
	return strings.Join(words, ", ")
}
