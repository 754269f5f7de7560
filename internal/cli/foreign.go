package cli

import (
	"errors"
	"slices"
	"strings"

	"repacket/internal/foreign"
	"repacket/internal/rule"
	"repacket/internal/syntax"
)

// foreignLine answers a line of another tool that was pasted whole, or gives nil. It is asked
// before flags are sorted, since those tools have some that mean something else here.
func (a *app) foreignLine(args []string) *Failure {
	command := ""
	if len(args) > 0 && a.isCommand(args[0]) {
		if command = args[0]; command == "help" || command == "fields" {
			return nil
		}
		args = args[1:]
	}
	if slices.ContainsFunc(args, func(word string) bool { return strings.EqualFold(firstWord(word), "if") }) {
		return nil // rules of ours, with a flag that others have too, such as -s
	}
	iface, words := leadingInterface(args)
	line, ok := foreign.Recognise(words)
	if !ok {
		return nil
	}
	if line.Interface == "" {
		line.Interface = iface
	}
	f := usage("repacket help rules tells how to say it", "this is a line of %s", line.Tool)
	rules, accepted := acceptedRules(line.Rules)
	if both, ok := acceptedRules(line.Rules + " replies"); line.Mapped && ok && both.Replies != nil {
		rules, line.Note = both, ""
	}
	switch {
	case accepted:
		if line.Interface == "" && rules.Verdicts() {
			line.Interface = "IFACE"
		}
		f.leadTo(commandLine(command, line.Interface, line.Out, "", rules.Source))
		if line.Note != "" {
			f.Hint += " (" + line.Note + ")"
		}
	case line.Note != "":
		f.Hint = line.Note
	}
	return f
}

// leadingInterface takes -i and its value from the beginning of a line.
func leadingInterface(args []string) (iface string, rest []string) {
	if len(args) > 2 && args[0] == "-i" {
		return args[1], args[2:]
	}
	return "", args
}

// acceptedRules checks rules, or what the hint for them leads to.
func acceptedRules(text string) (*rule.Program, bool) {
	if text == "" {
		return nil, false
	}
	p, err := rule.Check(text)
	var d *syntax.Diagnostic
	if errors.As(err, &d) && len(d.Fixed) > 0 {
		p, err = rule.Check(d.Fixed[0])
	}
	return p, err == nil
}

// commandLine is a command as it is typed: what is not empty stands in it.
func commandLine(command, iface string, out bool, file, rules string) string {
	words := []string{"repacket"}
	for _, w := range []struct{ flag, value string }{{"", command}, {"-i", iface}} {
		if w.value == "" {
			continue
		}
		if w.flag != "" {
			words = append(words, w.flag)
		}
		words = append(words, shellWord(w.value))
	}
	if out {
		words = append(words, "-Q", "out")
	}
	if file != "" {
		words = append(words, "-f", shellWord(file))
	}
	if rules != "" {
		words = append(words, inQuotes(rules))
	}
	return strings.Join(words, " ")
}

// shellWord is a name of an interface or a file as a shell takes it.
func shellWord(name string) string {
	if strings.ContainsAny(name, " \t\n'\"`$&|;<>()*?[]#~!\\{}") {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

// inQuotes is the text of rules as a shell passes it on.
func inQuotes(rules string) string {
	if strings.ContainsAny(rules, "'\"`$&|;<>()*?[]#~!\\\n") {
		return "'" + strings.ReplaceAll(rules, "'", `'\''`) + "'"
	}
	return rules
}

// leadTo gives a failure the command lines that do what was meant as its hint.
func (f *Failure) leadTo(lines ...string) *Failure {
	f.Fixed = lines
	f.Hint = strings.Join(lines, " & ")
	return f
}
