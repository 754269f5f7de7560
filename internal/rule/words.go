package rule

import (
	"strings"

	"repacket/internal/field"
)

// keywords are the words of the language that are neither a protocol nor a
// field nor a value.
var keywords = wordSet(`if then else and or not all eq ne lt le gt ge from
	chance swap pass drop reflect redirect random fix bad atleast atmost`)

// fillers are words that people put between a field and its value.
var fillers = wordSet("is are equals equal in to than as contains")

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(list) {
		set[w] = true
	}
	return set
}

// resolveField finds the field or the short name that a word means. A dot
// reads as _ when the result is a field. tcp.ack is no field: Wireshark has a
// number under that name.
func resolveField(t token) (fieldRef, bool) {
	if t.text == "tcp.ack" {
		return fieldRef{}, false
	}
	name := strings.ReplaceAll(t.text, ".", "_")
	if f, ok := field.ByName(name); ok {
		return fieldRef{fields: []*field.Field{f}, name: t}, true
	}
	if fs, ok := field.ShortByName(t.text); ok {
		return fieldRef{fields: fs, name: t}, true
	}
	return fieldRef{}, false
}

// isLanguage tells whether a word has a meaning of its own in the language.
func isLanguage(t token) bool {
	_, proto := field.ProtocolByName(t.text)
	_, ref := resolveField(t)
	return proto || ref || keywords[t.text]
}

// ruleName is the name in a word such as web: that begins a rule.
func ruleName(source string, t token) (string, bool) {
	name, ok := strings.CutSuffix(source[t.at.Start:t.at.End], ":")
	if !ok || name == "" || !isLetter(name[0]) {
		return "", false
	}
	for i := range len(name) {
		if c := name[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '-' {
			return "", false
		}
	}
	return name, true
}
