package syntax

import (
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// keywords are the words of the language that are neither a protocol nor a
// field nor a value.
var keywords = wordSet(`if then else and or not all eq ne lt le gt ge from
	chance swap pass drop reflect redirect ` + strings.Join(operand.Words(), " "))

// IsKeyword reports whether a word in any case is a keyword.
func IsKeyword(word string) bool { return keywords[strings.ToLower(word)] }

// fillers are words that people put between a field and its value.
var fillers = wordSet("is are equals equal in to than as contains")

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(list) {
		set[w] = true
	}
	return set
}

// ResolveField finds the field, or the generic one, that a word means. A dot
// reads as _ when the result is a field. tcp.ack is no field: Wireshark has a
// number under that name.
func ResolveField(t Token) (FieldRef, bool) {
	if t.Text == "tcp.ack" {
		return FieldRef{}, false
	}
	name := strings.ReplaceAll(t.Text, ".", "_")
	if f, ok := field.ByName(name); ok {
		return FieldRef{Fields: []*field.Field{f}, Name: t}, true
	}
	if fs, ok := field.GenericByName(t.Text); ok {
		return FieldRef{Fields: fs, Name: t}, true
	}
	return FieldRef{}, false
}

// isLanguage reports whether a word has a meaning of its own in the language.
func isLanguage(t Token) bool {
	_, proto := field.ProtocolByName(t.Text)
	_, ref := ResolveField(t)
	return proto || ref || keywords[t.Text]
}

// ruleName is the name in a word such as web: that begins a rule.
func ruleName(source string, t Token) (string, bool) {
	name, ok := strings.CutSuffix(source[t.At.Start:t.At.End], ":")
	if !ok || name == "" || !IsLetter(name[0]) {
		return "", false
	}
	for i := range len(name) {
		if c := name[i]; !IsLetter(c) && !IsDigit(c) && c != '_' && c != '-' {
			return "", false
		}
	}
	return name, true
}
