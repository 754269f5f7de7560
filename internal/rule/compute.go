package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
	"repacket/internal/packetset"
	"repacket/internal/syntax"
)

// action resolves the operand of an action; of generic fields it takes the first.
func (c *checker) action(a syntax.ActionNode) Action {
	o := a.Operand
	f := a.Ref.Fields[0]
	out := Action{Field: f, Op: o.Op, At: a.At}
	l := literal{&c.report, f, a.Ref.Name.Text, a.Ref.Name.At, o.Word.Text, o.Word.Text, o.Word.At}
	if o.Word.Text != "" && syntax.IsColumn(o.Word) {
		cell := c.sheet.cell(o.Word)
		out.Cell = 1 + cell
		if out.Op == operand.Set && c.sheet != nil && c.sheet.rows.Cells[cell].Hi != nil { // of one prefix all are
			out.Op = operand.Prefix
		}
		return out
	}
	switch is := o.Op.Operand(); {
	case o.Op == operand.Set:
		l.newValue(&out)
	case o.Op == operand.Copy:
		out.From = o.From.Fields[0]
		c.copies(out, a)
	case is.Argument == operand.Choice:
		out.Range, out.Draw = l.chooses(is), o.Draw
	case is.Argument != operand.NoArgument:
		out.Value = l.argument(is)
	}
	return out
}

// newValue is what a plain operand gives to the field: a value or a prefix.
func (l literal) newValue(a *Action) {
	_, named := l.f.Names.Lookup(l.text)
	switch {
	case named:
	case l.f.Kind.IsAddress() && strings.Contains(l.text, "/"):
		r := l.prefix()
		a.Value = r.Lo
		if bits := l.f.PrefixLength(r); bits < l.f.Width { // all of them are an address
			a.Op, a.Bits = operand.Prefix, max(bits, 0)
		}
		return
	case l.rangeDash() > 0 && (syntax.IsDigit(l.text[0]) || l.f.Kind.IsAddress()):
		l.fail(l.at, "", "an action sets one value, not a range").Propose(l.becomes("any of them: ", "random "+l.text))
		return
	}
	a.Value = l.value()
}

// amount is the number behind + or -, which sign is.
func (l literal) amount(sign string) field.Value {
	n, wrong := l.count()
	switch {
	case wrong == noNumber:
		l.fail(l.at, "a number stands behind "+sign, "%s %s", syntax.Crop(l.text), wrong)
	case wrong == tooLarge || field.V(n).Cmp(l.f.Max()) > 0:
		l.fail(l.at, "", "%s has %d bits: %s is more than it can hold", l.name, l.f.Width, syntax.Crop(l.text))
	}
	return field.V(n)
}

// argument is the number behind a sign or the value behind a word.
func (l literal) argument(o *operand.Operand) field.Value {
	if o.Argument == operand.Amount {
		return l.amount(o.Sign)
	}
	r := l.item()
	if r.Lo != r.Hi || l.f.Kind.IsAddress() && strings.Contains(l.text, "/") {
		l.fail(l.at, "", "%s takes one value, not a range", o.Word)
	}
	return r.Lo
}

// chooses is the range behind an operand, or all that it can choose from.
func (l literal) chooses(o *operand.Operand) field.Range {
	_, named := l.f.Names.Lookup(l.text)
	prefix := strings.Contains(l.text, "/")
	switch {
	case l.text == "":
		return o.Whole(l.f)
	case l.f.Kind == field.Flag && l.rangeDash() <= 0:
		l.fail(l.at, "on or off "+o.Explain, "%s takes no value for a flag", o.Word)
	case named || l.rangeDash() <= 0 && !prefix:
		takes, hint := "a range", "a range is LOW-HIGH"
		if l.f.Kind.IsAddress() {
			takes, hint = "a range or a prefix", "a range is LOW-HIGH, a prefix ADDRESS/LENGTH"
		}
		l.fail(l.at, hint, "%s takes %s, not %s", o.Word, takes, syntax.Crop(l.text))
	case strings.HasSuffix(l.text, "-"):
		l.fail(l.at, "", "the range %s has no end", syntax.Crop(l.text)).
			Propose(l.becomes("up to the end: ", l.text+printNumber(l.f, l.f.Max())))
	default:
		r := l.item()
		if l.f.Kind.IsAddress() && l.f.PrefixLength(r) < 0 && spread(r) > 32 { // a prefix takes the bits of as many numbers as it needs
			l.fail(l.at, "a prefix may be of any size", "a range to choose from has at most 2^32 values")
		}
		if o.Whole(l.f).Lo.Cmp(r.Lo) > 0 {
			l.fail(l.at, "", "%s %s is never 0, which stands for none", l.name, o.Word).
				Propose(l.becomes("", "1-"+printNumber(l.f, field.V(max(1, r.Hi.Lo)))))
		}
		return r
	}
	return field.Range{}
}

// copies checks that the source of a copy is of the kind of the target, and
// fits.
func (c *checker) copies(out Action, a syntax.ActionNode) {
	to, from, name, source := out.Field, out.From, a.Ref.Name.Text, a.Operand.From.Name.Text
	at := a.Operand.At
	switch {
	case to == from:
	case to.Kind == field.Checksum:
		c.fail(at, "", "%s is a checksum: it takes a value, fix, bad or itself, not %s", name, source).Propose(
			syntax.Replace("the right sum: ", at, "fix", "").Showing(a.At),
			syntax.Replace("; the old bytes: ", at, name, "").Showing(a.At).Beside())
	case to.Kind != from.Kind:
		c.fail(at, sourceHint(to), "%s takes %s, %s is %s", name, article(to.Kind), source, article(from.Kind))
	case from.Width > to.Width:
		c.fail(at, sourceHint(to), "%s has %d bits, %s has %d: it may not fit", name, to.Width, source, from.Width)
	}
}

// sourceHint names a field that can be copied into f: as wide as f or of its
// header, if there is one.
func sourceHint(f *field.Field) string {
	best, most := "", -1
	for _, g := range field.Fields() {
		if g.Kind != f.Kind || g.Width > f.Width || f.Overlaps(g) || packetset.Exclusive(f.Proto, g.Proto) {
			continue
		}
		rank := 0
		if g.Width == f.Width {
			rank += 2
		}
		if g.Proto == f.Proto {
			rank++
		}
		if rank > most {
			best, most = "such as "+g.Name, rank
		}
	}
	return best
}

// chance is the checked form of a chance.
func (c *checker) chance(n syntax.ChanceNode) Expr {
	num, den := c.share(n)
	out := Chance{num, den, n.Index, n.At}
	words := c.words(n.At)
	const hint = "a chance is more than 0 and not more than 100%"
	switch {
	case c.err != nil:
	case den == 0:
		c.fail(n.Share.At, hint, "%s has nothing to divide by", words)
	case num == 0:
		c.fail(n.Share.At, hint, "%s never holds", words)
	case num > den:
		c.fail(n.Share.At, hint, "%s is more than always", words)
	case num == den:
		c.warn(syntax.Warning, n.At, "leave it out", "%s always holds", words)
		return All{n.At}
	case num < 1<<32 && num<<32 < den:
		c.fail(n.Share.At, "", "%s is less than 1/4294967296, the least that is drawn", words)
	}
	return out
}

// share reads N% or N/N.
func (c *checker) share(n syntax.ChanceNode) (num, den uint64) {
	const hint = "a share is N% or N/N, such as 5% or 1/1000"
	l := literal{report: &c.report, name: "chance", nameAt: n.At, text: n.Share.Text, word: n.Share.Text, at: n.Share.At}
	top, bottom, fraction := strings.Cut(l.text, "/")
	percent := strings.HasSuffix(l.text, "%")
	if percent == fraction || top == "" || top == "%" || fraction && bottom == "" {
		_, wrong := l.count()
		d := c.fail(l.at, hint, "a chance is N%% or N/N, not %s", syntax.Crop(l.text))
		if wrong == "" {
			d.Propose(l.becomes("", l.text+"%"), l.becomes(" or ", "1/"+l.text).Beside())
		} else if f, err := strconv.ParseFloat(l.text, 64); err == nil && f > 0 && f < 1 {
			d.Propose(l.becomes("", strconv.FormatFloat(100*f, 'f', -1, 64)+"%"))
		}
		return 0, 0
	}
	parts := []literal{l.part(0, len(l.text)-1)}
	if fraction {
		parts = []literal{l.part(0, len(top)), l.part(len(top)+1, len(top)+1+len(bottom))}
	}
	counts := []uint64{0, 100}
	for i, part := range parts {
		var wrong string
		if counts[i], wrong = part.count(); wrong == "" {
			continue
		}
		help := hint
		if wrong == tooLarge {
			help = ""
		}
		var meant []syntax.Suggestion
		if exact := inFractions(part.text); percent && exact != "" {
			wrong, meant = "is not a whole number", append(meant, l.becomes("", exact))
		}
		c.fail(l.at, help, "%s %s", syntax.Crop(part.text), wrong).Propose(meant...)
	}
	return counts[0], counts[1]
}

// inFractions is a percentage with a decimal point as N/N, or "".
func inFractions(text string) string {
	whole, decimals, point := strings.Cut(text, ".")
	const most = 6
	if !point || !onlyDigits(whole+decimals, 10) || len(decimals) > most || len(whole) > 3 {
		return ""
	}
	num, err := strconv.ParseUint(whole+decimals, 10, 64)
	if err != nil || num == 0 {
		return ""
	}
	den := uint64(100)
	for range decimals {
		den *= 10
	}
	for _, prime := range []uint64{2, 5} {
		for num%prime == 0 && den%prime == 0 {
			num, den = num/prime, den/prime
		}
	}
	return fmt.Sprintf("%d/%d", num, den)
}

// idle warns of actions that leave the field as it is, whatever it holds.
func (c *checker) idle(copies []*Rule) {
	for i, a := range copies[0].Actions {
		if !slices.ContainsFunc(copies, func(r *Rule) bool { return !r.Actions[i].Idle() }) {
			c.warn(syntax.Warning, a.At, "", "%s changes nothing", c.words(a.At))
		}
	}
}
