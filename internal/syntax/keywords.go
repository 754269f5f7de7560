package syntax

import (
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// Role is what a keyword does in a rule.
type Role uint8

// The roles.
const (
	RuleWord       Role = iota // it begins a rule or a part of one
	ConditionWord              // it is a condition, or joins conditions
	ComparisonWord             // it compares a field with values
	ActionWord                 // it is an action, without a field before it
)

// Keyword is a line of the table of keywords: help and completion read it too.
type Keyword struct {
	Word string
	Role Role
	// Argument is what follows the word, or "".
	Argument string
	// Meaning is one line for help.
	Meaning string
}

// Usage is the keyword with what follows it.
func (k Keyword) Usage() string { return strings.TrimSpace(k.Word + " " + k.Argument) }

// keywordTable has the words of the language that are neither a protocol nor a field, an
// operand or a value.
var keywordTable = []Keyword{
	{"if", RuleWord, "CONDITION", "begins a rule: which packets it acts on"},
	{"then", RuleWord, "ACTIONS", "what becomes of them; a rule without it is a dry run, which counts packets and changes none"},
	{"else", RuleWord, "RULE | ACTIONS", "the next rule, or actions for all other packets at the end"},
	{"replies", RuleWord, "", "behind the actions: packets of the other direction that answer what the rule rewrites get the old values back"},
	{"from", RuleWord, "FILE", "a rule for each row of a CSV file: the first line names the columns, @NAME is the value of one"},
	{"all", ConditionWord, "", "every packet"},
	{"and", ConditionWord, "", "both hold; tests side by side mean the same"},
	{"or", ConditionWord, "", "one of both holds; it binds less tightly than and"},
	{"not", ConditionWord, "TEST", "the one test behind it does not hold"},
	{"chance", ConditionWord, "5% | 1/1000", "true at random for this share of packets"},
	{"eq", ComparisonWord, "V,V", "equal to one of them; the word may be left out"},
	{"ne", ComparisonWord, "V,V", "equal to none of them"},
	{"lt", ComparisonWord, "V", "less than"},
	{"le", ComparisonWord, "V", "less than or equal to"},
	{"gt", ComparisonWord, "V", "greater than"},
	{"ge", ComparisonWord, "V", "greater than or equal to"},
	{"swap", ActionWord, "HEADER", "exchange the source and the destination of eth, ip, ip6, tcp or udp"},
}

// Keywords lists the keywords of a role.
func Keywords(r Role) []Keyword {
	return slices.DeleteFunc(slices.Clone(keywordTable), func(k Keyword) bool { return k.Role != r })
}

// keywords are the words of the language that are neither a protocol nor a
// field nor a value.
var keywords = func() map[string]bool {
	words := append(operand.Words(), verdictWords[:]...)
	for _, k := range keywordTable {
		words = append(words, k.Word)
	}
	return wordSet(strings.Join(words, " "))
}()

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
