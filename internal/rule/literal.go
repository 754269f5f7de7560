package rule

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// literal is a word, or a part of one, that stands for a value of a field. What
// is wrong with it goes to the report.
type literal struct {
	*report
	f    *field.Field
	name string // the field's name as written
	// nameAt is where that stands, empty for a cell of a file.
	nameAt Span
	text   string // in lower case
	word   string // the whole word, of which text may be a part
	at     Span
}

// becomes suggests another text in the literal's place, shown behind its field.
func (l literal) becomes(lead, text string) syntax.Suggestion {
	return syntax.Replace(lead, l.at, text, "").Showing(l.place())
}

// renamed suggests the literal for another field.
func (l literal) renamed(lead, name string) syntax.Suggestion {
	return syntax.Replace(lead, l.nameAt, name, "").Showing(l.place())
}

// place is where the field and the literal stand.
func (l literal) place() Span {
	if l.nameAt == (Span{}) {
		return l.at
	}
	word := syntax.FirstWord(l.source, Span{Start: l.at.Start, End: len(l.source)})
	return Span{Start: l.nameAt.Start, End: max(l.at.End, word.End)}
}

// value is the value that a word stands for.
func (l literal) value() field.Value {
	if n, ok := l.f.Names.Lookup(l.text); ok {
		return field.V(n)
	}
	if l.f.Kind.IsAddress() {
		return l.address()
	}
	if l.f.Kind == field.Flag && (l.text == "on" || l.text == "off") {
		return field.V(uint64(len("off") - len(l.text)))
	}
	return l.number()
}

// rangeDash is the place of the hyphen that makes a range of a word, or
// negative: an Ethernet address may have hyphens of its own.
func (l literal) rangeDash() int {
	dash := strings.IndexByte(l.text, '-')
	if dash > 0 && l.f.Kind == field.MAC {
		if _, ok := syntax.ParseMAC(l.text); ok {
			return -1
		}
	}
	return dash
}

// number reads a decimal or hexadecimal number and checks that it fits.
func (l literal) number() field.Value {
	n, wrong := l.count()
	switch {
	case wrong == noNumber:
		l.noNumber()
	case wrong == tooLarge || field.V(n).Cmp(l.f.Max()) > 0:
		l.tooBig(n)
	}
	return field.V(n)
}

// What keeps a word from being a plain number.
const (
	noNumber = "is not a number"
	tooLarge = "is too large"
)

// count reads a plain number, decimal or hexadecimal, of at most 64 bits;
// wrong says what is wrong with it, or nothing.
func (l literal) count() (n uint64, wrong string) {
	digits, base := l.text, 10
	if rest, ok := strings.CutPrefix(l.text, "0x"); ok {
		digits, base = rest, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	switch {
	case !onlyDigits(digits, base):
		return 0, noNumber
	case base == 10 && len(digits) > 1 && digits[0] == '0':
		l.leadingZero()
	case err != nil:
		return n, tooLarge
	}
	return n, ""
}

func onlyDigits(s string, base int) bool {
	for i := range len(s) {
		if !syntax.IsDigit(s[i]) && (base == 10 || s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return s != ""
}

// takes says what a field takes: "0 to 63 (6 bits)".
func takes(f *field.Field) string {
	if f.Kind == field.Flag {
		return "on or off"
	}
	plural := "s"
	if f.Width == 1 {
		plural = ""
	}
	return fmt.Sprintf("0 to %s (%d bit%s)", f.Max(), f.Width, plural)
}

// tooBig is the error for a number that does not fit; n is that number, or
// something huge.
func (l literal) tooBig(n uint64) {
	hint := ""
	var meant []syntax.Suggestion
	units := func(size uint64, unit string) {
		hint = fmt.Sprintf("%s counts %s", l.name, unit)
		meant = append(meant, l.becomes(fmt.Sprintf("%s: %d bytes are ", hint, n), fmt.Sprint(n/size)))
	}
	switch {
	case l.f.Name == "ip_dscp" && n <= 255:
		hint = l.text + " is a whole ToS byte"
		meant = append(meant, l.renamed(hint+": ", "ip_tos"))
		if word := l.f.Names.Word(n >> 2); word != "" && n&3 == 0 {
			meant = append(meant, l.becomes(", or ", word).Beside())
		}
	case l.f.Name == "ip6_dscp" && n <= 255 && n&3 == 0:
		hint = l.text + " is a whole traffic class"
		meant = append(meant, l.becomes(hint+": ", fmt.Sprint(n>>2)))
	case l.f.Unit == "32-bit words" && n <= 60 && n%4 == 0:
		units(4, l.f.Unit)
	case l.f.Unit == "8-byte units" && n <= 65535 && n%8 == 0:
		units(8, l.f.Unit)
	}
	l.fail(l.at, hint, "%s takes %s, not %s", l.name, takes(l.f), syntax.Crop(l.text)).Propose(meant...)
}

func (l literal) leadingZero() {
	d := l.fail(l.at, "", "%s begins with 0, which some read as octal", syntax.Crop(l.text)).
		Propose(syntax.Replace("decimal: ", l.at, cmp.Or(strings.TrimLeft(l.text, "0"), "0"), ""))
	if n, err := strconv.ParseUint(l.text, 8, 64); err == nil {
		d.Propose(syntax.Replace("; if octal was meant: ", l.at, fmt.Sprint(n), "").Beside())
	}
}

// noNumber is the error for a word that is no value of a field of numbers.
func (l literal) noNumber() {
	word, kind := syntax.Crop(l.text), syntax.AddressKind(l.text)
	hex, noHex := strconv.ParseUint(l.text, 16, 64)
	hint, meant := syntax.MeantValue(l.at, l.text, l.f)
	if l.f.Kind == field.Flag {
		l.fail(l.at, hint, "%s is a flag: on or off, not %s", l.name, word).Propose(meant...)
		return
	}
	switch {
	case l.text == "on" || l.text == "off":
		l.fail(l.at, "", "%s takes %s: only flags are %s", l.name, takes(l.f), word)
		return
	case len(l.text) > 1 && l.text[0] == '-' && onlyDigits(l.text[1:], 10):
		l.fail(l.at, "", "%s takes %s, not %s", l.name, takes(l.f), word)
		return
	case strings.Contains(l.text, "/"):
		is := map[bool]string{true: "number", false: l.f.Kind.String()}[l.f.Kind == field.Checksum]
		l.fail(l.at, "", "%s is no %s: only addresses have prefixes", word, is)
		return
	case kind != field.Number:
		l.fail(l.at, "", "%s is %s: %s takes %s", word, article(kind), l.name, takes(l.f)).Propose(l.addressField(kind)...)
		return
	case isColonRange(l.text):
		hint = "a range has a hyphen"
		meant = []syntax.Suggestion{syntax.Replace(hint+": ", l.at, strings.Replace(strings.Replace(l.text, ":", "-", 1), "..", "-", 1), "")}
	case meant == nil && noHex == nil && field.V(hex).Cmp(l.f.Max()) <= 0:
		hint = "hexadecimal begins with 0x"
		meant = []syntax.Suggestion{syntax.Replace(hint+": ", l.at, "0x"+l.text, "")}
	case meant == nil && hint == "" && syntax.IsLetter(l.text[0]) && len(l.f.Names) > 0:
		hint = "names of values: repacket fields " + l.f.Name
	}
	l.fail(l.at, hint, "%s is not a number: %s takes %s", word, l.name, takes(l.f)).Propose(meant...)
}

// isColonRange reports whether a word is a range as iptables has it, or with two dots.
func isColonRange(word string) bool {
	lo, hi, ok := strings.Cut(strings.Replace(word, "..", ":", 1), ":")
	return ok && onlyDigits(lo, 10) && onlyDigits(hi, 10)
}

// items is the set of values that a list of words stands for.
func (l literal) items(words []syntax.Token) field.Set {
	ranges := make([]field.Range, 0, len(words))
	for _, w := range words {
		l.text, l.word, l.at = w.Text, w.Text, w.At
		ranges = append(ranges, l.item())
	}
	return field.NewSet(ranges...)
}

// item is the range of values that one value, range or prefix stands for.
func (l literal) item() field.Range {
	if _, named := l.f.Names.Lookup(l.text); !named {
		if l.f.Kind.IsAddress() && strings.Contains(l.text, "/") {
			return l.prefix()
		}
		if dash := l.rangeDash(); dash > 0 {
			return l.bounds(dash)
		}
	}
	v := l.value()
	return field.Range{Lo: v, Hi: v}
}

// part is the piece of l's word from start to end.
func (l literal) part(start, end int) literal {
	l.text, l.at = l.text[start:end], Span{Start: l.at.Start + start, End: l.at.Start + end}
	return l
}

// bounds reads LOW-HIGH.
func (l literal) bounds(dash int) field.Range {
	low, high := l.part(0, dash), l.part(dash+1, len(l.text))
	if high.text == "" {
		l.fail(l.at, "", "the range %s has no end", syntax.Crop(l.text)).Propose(l.becomes("up to the end: ", "ge "+low.text))
		return field.Range{}
	}
	for _, end := range []literal{low, high} {
		if _, named := l.f.Names.Lookup(end.text); named {
			l.fail(l.at, "", "a range takes numbers, not names: %s", syntax.Crop(end.text)).
				Propose(syntax.Replace("write ", l.at, inNumbers(low, high), ""))
			return field.Range{}
		}
	}
	if syntax.IsLetter(low.text[0]) && !l.f.Kind.IsAddress() {
		l.noNumber() // a mistyped name with a hyphen in it
		return field.Range{}
	}
	r := field.Range{Lo: low.value(), Hi: high.value()}
	if r.Lo.Cmp(r.Hi) > 0 {
		l.fail(l.at, "", "the range %s runs backwards", syntax.Crop(l.text)).
			Propose(syntax.Replace("write ", l.at, high.text+"-"+low.text, ""))
	}
	return r
}

// inNumbers is a range of names in numbers.
func inNumbers(low, high literal) string {
	var ends []string
	for _, end := range []literal{low, high} {
		if n, ok := low.f.Names.Lookup(end.text); ok {
			end.text = strconv.FormatUint(n, 10)
		}
		ends = append(ends, end.text)
	}
	return strings.Join(ends, "-")
}
