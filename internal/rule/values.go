package rule

import (
	"fmt"
	"strconv"
	"strings"

	"repacket/internal/field"
)

// literal is a word, or a part of one, that stands for a value of a field.
type literal struct {
	f    *field.Field
	name string // the field's name as written
	text string // in lower case
	at   Span
}

// value is the value that a word stands for.
func (c *checker) value(l literal) field.Value {
	if n, ok := l.f.Names.Lookup(l.text); ok {
		return field.V(n)
	}
	if l.f.Kind == field.Address4 {
		return c.address(l)
	}
	if l.f.Kind == field.Flag && (l.text == "on" || l.text == "off") {
		return field.V(uint64(len("off") - len(l.text)))
	}
	return c.number(l)
}

// newValue is the value that an action gives to its field.
func (c *checker) newValue(l literal) field.Value {
	_, named := l.f.Names.Lookup(l.text)
	dash := strings.IndexByte(l.text, '-')
	switch {
	case named:
	case l.f.Kind == field.Address4 && strings.Contains(l.text, "/"):
		c.fail(l.at, "a whole address works: "+l.name+" 10.0.0.1", "not yet: putting in a prefix (%s)", crop(l.text))
		return field.Value{}
	case dash > 0 && isDigit(l.text[0]):
		c.fail(l.at, "", "an action sets one value, not a range")
		return field.Value{}
	}
	return c.value(l)
}

// number reads a decimal or hexadecimal number and checks that it fits.
func (c *checker) number(l literal) field.Value {
	digits, base := l.text, 10
	if rest, ok := strings.CutPrefix(l.text, "0x"); ok {
		digits, base = rest, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	tooLong := err != nil && onlyDigits(digits, base)
	switch {
	case err != nil && !tooLong || strings.HasPrefix(digits, "+"):
		c.noNumber(l)
	case base == 10 && len(digits) > 1 && digits[0] == '0':
		c.leadingZero(l)
	case tooLong || field.V(n).Cmp(l.f.Max()) > 0:
		c.tooBig(l, n)
	}
	return field.V(n)
}

func onlyDigits(s string, base int) bool {
	for i := range len(s) {
		if !isDigit(s[i]) && (base == 10 || s[i] < 'a' || s[i] > 'f') {
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
func (c *checker) tooBig(l literal, n uint64) {
	hint := ""
	switch {
	case l.f.Name == "ip_dscp" && n <= 255:
		hint = l.text + " is a whole ToS byte: ip_tos " + l.text
		if word := l.f.Names.Word(n >> 2); word != "" && n&3 == 0 {
			hint += ", or " + l.name + " " + word
		}
	case l.f.Unit == "32-bit words" && n <= 60 && n%4 == 0:
		hint = fmt.Sprintf("%s counts 32-bit words: %d bytes are %s %d", l.name, n, l.name, n/4)
	case l.f.Unit == "8-byte units" && n <= 65535 && n%8 == 0:
		hint = fmt.Sprintf("%s counts 8-byte units: %d bytes are %s %d", l.name, n, l.name, n/8)
	}
	c.fail(l.at, hint, "%s takes %s, not %s", l.name, takes(l.f), crop(l.text))
}

func (c *checker) leadingZero(l literal) {
	hint := "decimal: " + orZero(strings.TrimLeft(l.text, "0"))
	if n, err := strconv.ParseUint(l.text, 8, 64); err == nil {
		hint += fmt.Sprintf("; if octal was meant: %d", n)
	}
	c.fail(l.at, hint, "%s begins with 0, which some read as octal", crop(l.text))
}

func orZero(digits string) string {
	if digits == "" {
		return "0"
	}
	return digits
}

// noNumber is the error for a word that is no value of a field of numbers.
func (c *checker) noNumber(l literal) {
	word := crop(l.text)
	if l.f.Kind == field.Flag {
		c.fail(l.at, suggest(l.text, valueWords(l.f)), "%s is a flag: on or off, not %s", l.name, word)
		return
	}
	hint := suggest(l.text, valueWords(l.f))
	switch {
	case l.text == "on" || l.text == "off":
		c.fail(l.at, "", "%s takes %s: only flags are %s", l.name, takes(l.f), word)
		return
	case len(l.text) > 1 && l.text[0] == '-' && onlyDigits(l.text[1:], 10):
		c.fail(l.at, "", "%s takes %s, not %s", l.name, takes(l.f), word)
		return
	case strings.Contains(l.text, "/"):
		c.fail(l.at, "", "%s is no %s: only addresses have prefixes", word, kindOf(l.f))
		return
	case hint == "" && isHex(l):
		hint = "hexadecimal begins with 0x: 0x" + word
	case hint == "" && isLetter(l.text[0]) && len(l.f.Names) > 0:
		hint = "names of values: repacket fields " + l.f.Name
	}
	c.fail(l.at, hint, "%s is not a number: %s takes %s", word, l.name, takes(l.f))
}

// isHex tells whether a word is a hexadecimal number, without its 0x, that fits.
func isHex(l literal) bool {
	n, err := strconv.ParseUint(l.text, 16, 64)
	return err == nil && field.V(n).Cmp(l.f.Max()) <= 0
}

// kindOf names the kind of a field's value for messages.
func kindOf(f *field.Field) string {
	if f.Kind == field.Checksum {
		return "number"
	}
	return f.Kind.String()
}

// address reads an IPv4 address.
func (c *checker) address(l literal) field.Value {
	var n uint64
	parts := strings.Split(l.text, ".")
	for _, part := range parts {
		octet, err := strconv.ParseUint(part, 10, 64)
		switch {
		case strings.Contains(l.text, ":"):
			c.fail(l.at, "", "%s takes an IPv4 address, not %s", l.name, crop(l.text))
		case !onlyDigits(part, 10) || len(parts) != 4:
			c.fail(l.at, "four numbers from 0 to 255: 10.0.0.1", "%s is not an IPv4 address", crop(l.text))
		case err != nil || octet > 255:
			c.fail(l.at, "", "%s is not an IPv4 address: %s is above 255", crop(l.text), crop(part))
		case len(part) > 1 && part[0] == '0':
			c.fail(l.at, "", "%s is not an IPv4 address: %s begins with 0, which some read as octal", crop(l.text), crop(part))
		}
		n = n<<8 | octet&255
	}
	return field.V(n)
}

// items is the set of values that a list of words stands for.
func (c *checker) items(l literal, words []token) field.Set {
	ranges := make([]field.Range, 0, len(words))
	for _, w := range words {
		l.text, l.at = w.text, w.at
		ranges = append(ranges, c.item(l))
	}
	return field.NewSet(ranges...)
}

// item is the range of values that one value, range or prefix stands for.
func (c *checker) item(l literal) field.Range {
	if _, named := l.f.Names.Lookup(l.text); !named {
		if l.f.Kind == field.Address4 && strings.Contains(l.text, "/") {
			return c.prefix(l)
		}
		if dash := strings.IndexByte(l.text, '-'); dash > 0 {
			return c.bounds(l, dash)
		}
	}
	v := c.value(l)
	return field.Range{Lo: v, Hi: v}
}

// part is the piece of l's word from start to end.
func (l literal) part(start, end int) literal {
	l.text, l.at = l.text[start:end], Span{l.at.Start + start, l.at.Start + end}
	return l
}

// bounds reads LOW-HIGH.
func (c *checker) bounds(l literal, dash int) field.Range {
	low, high := l.part(0, dash), l.part(dash+1, len(l.text))
	if high.text == "" {
		c.fail(l.at, "up to the end: "+l.name+" ge "+crop(low.text), "the range %s has no end", crop(l.text))
		return field.Range{}
	}
	for _, end := range []literal{low, high} {
		if _, named := l.f.Names.Lookup(end.text); named {
			c.fail(l.at, c.inNumbers(low, high), "a range takes numbers, not names: %s", crop(end.text))
			return field.Range{}
		}
	}
	if isLetter(low.text[0]) {
		c.noNumber(l) // a mistyped name with a hyphen in it
		return field.Range{}
	}
	r := field.Range{Lo: c.value(low), Hi: c.value(high)}
	if r.Lo.Cmp(r.Hi) > 0 {
		c.fail(l.at, "write "+high.text+"-"+low.text, "the range %s runs backwards", crop(l.text))
	}
	return r
}

// inNumbers is the hint for a range of names: the same in numbers.
func (c *checker) inNumbers(low, high literal) string {
	if _, err := strconv.ParseUint(high.text, 0, 16); err != nil {
		if _, named := low.f.Names.Lookup(high.text); !named {
			return ""
		}
	}
	var ends []string
	for _, end := range []literal{low, high} {
		if n, ok := low.f.Names.Lookup(end.text); ok {
			end.text = strconv.FormatUint(n, 10)
		}
		ends = append(ends, end.text)
	}
	return "write " + strings.Join(ends, "-")
}

// prefix reads ADDRESS/LENGTH.
func (c *checker) prefix(l literal) field.Range {
	slash := strings.IndexByte(l.text, '/')
	length := l.part(slash+1, len(l.text))
	v := c.value(l.part(0, slash))
	n, err := strconv.Atoi(length.text)
	if err != nil || !onlyDigits(length.text, 10) || n > l.f.Width {
		c.fail(length.at, "", "a prefix of an IPv4 address has a length from 0 to %d, not %s", l.f.Width, orNothing(length.text))
		return field.Range{}
	}
	host := field.Ones(l.f.Width - n)
	lo := v.AndNot(host)
	if lo != v {
		c.fail(l.at, fmt.Sprintf("the prefix is %s/%d, the address alone is %s", dotted(lo), n, dotted(v)),
			"%s has bits behind the prefix", l.text)
	}
	return field.Range{Lo: lo, Hi: lo.Or(host)}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return crop(text)
}

// dotted writes an IPv4 address.
func dotted(v field.Value) string {
	return fmt.Sprintf("%d.%d.%d.%d", byte(v.Lo>>24), byte(v.Lo>>16), byte(v.Lo>>8), byte(v.Lo))
}
