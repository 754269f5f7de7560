package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// line is a command line taken apart: flags may stand anywhere among the
// words of a program, which are numbers with a minus sign among others, so
// this is done before a flag library sees them.
type line struct {
	command string      // the command's name, "" for a run
	flags   []givenFlag // in the order given
	words   []string    // the program, or a command's own arguments
}

type givenFlag struct {
	flag  *pflag.Flag
	value string
	typed string // as the user spelled it, such as "-i"
	at    int    // how many words of the program stand before it
}

// sorter sorts words into flags and the rest.
type sorter struct {
	line
	known     *pflag.FlagSet
	isCommand func(word string) bool
	rest      []string
	err       error // the first error; sorting goes on behind it
}

// sortWords takes a command line apart. A word that begins with - and a
// letter, or with --, is a flag, wherever it stands; everything behind a lone
// -- is not. What it returns is complete even beside an error, so that --json
// holds for the error too.
func sortWords(args []string, known *pflag.FlagSet, isCommand func(string) bool) (line, error) {
	s := sorter{known: known, isCommand: isCommand, rest: args}
	for len(s.rest) > 0 {
		word := s.rest[0]
		s.rest = s.rest[1:]
		switch {
		case word == "--":
			s.words = append(s.words, s.rest...)
			s.rest = nil
		case strings.HasPrefix(word, "--"):
			s.long(word)
		case isFlag(word):
			s.short(word[1:])
		case s.command == "" && len(s.words) == 0 && isCommand(word):
			s.command = word
		default:
			s.words = append(s.words, word)
		}
	}
	return s.line, s.err
}

// isFlag tells flags from program words: -1 and -@n are numbers.
func isFlag(word string) bool {
	return len(word) > 2 && word[:2] == "--" ||
		len(word) > 1 && word[0] == '-' && (word[1]|0x20 >= 'a' && word[1]|0x20 <= 'z')
}

// long sorts in a --name, a --name=value, or a --name and the word behind it.
func (s *sorter) long(word string) {
	name, value, given := strings.Cut(word[2:], "=")
	typed := "--" + name
	f := s.known.Lookup(name)
	if f == nil {
		s.fail(unknownFlag(typed, s.known))
		return
	}
	switch {
	case given && value != "":
	case f.NoOptDefVal != "":
		value = f.NoOptDefVal
	default:
		value = s.value(f, typed)
	}
	s.flags = append(s.flags, givenFlag{f, value, typed, len(s.words)})
}

// short sorts in a cluster of one-letter flags; the first that takes a value
// ends it: the rest of the word is its value, or else the next word.
func (s *sorter) short(letters string) {
	for letters != "" {
		typed := "-" + letters[:1]
		var f *pflag.Flag
		if letters[0] < 0x80 {
			f = s.known.ShorthandLookup(letters[:1])
		}
		letters = letters[1:]
		if f == nil {
			s.fail(unknownFlag(typed, s.known))
			return
		}
		value := f.NoOptDefVal
		if value == "" {
			value, letters = strings.TrimPrefix(letters, "="), ""
			if value == "" {
				value = s.value(f, typed)
			}
		}
		s.flags = append(s.flags, givenFlag{f, value, typed, len(s.words)})
	}
}

// value takes the next word for the value of f. A flag or the beginning of a
// rule is none.
func (s *sorter) value(f *pflag.Flag, typed string) string {
	if len(s.rest) == 0 || isFlag(s.rest[0]) || strings.EqualFold(firstWord(s.rest[0]), "if") {
		what, _ := pflag.UnquoteUsage(f)
		s.fail(usage(fmt.Sprintf("%s %s", typed, what), "%s needs a value", typed))
		return ""
	}
	value := s.rest[0]
	s.rest = s.rest[1:]
	if value == "" { // "$IFACE" with nothing in it must not mean the default
		s.fail(usage("is a shell variable empty?", "%s needs a value", typed))
	}
	return value
}

func (s *sorter) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return word
}

func unknownFlag(typed string, known *pflag.FlagSet) *Failure {
	var names []string
	known.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	hint := "repacket --help lists the flags"
	if near := nearest(typed, names); near != "" && len(typed) > 2 {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return usage(hint, "unknown flag %s", typed)
}
