package cli

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"repacket/internal/rule"
)

// usualName is how interfaces are usually named. It is compiled when it is first asked for: most lines do
// not need it.
var usualName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(lo|(eth|en[opsx]|wlan|wlp|wl|ww|veth|br|br-|bond|team|tun|tap|wg|docker|virbr|vmbr|vlan|dummy|ens|enp|eno|usb|ppp)[0-9a-z]*[0-9][0-9a-z.@-]*)$`)
})

// wordsBefore are words that people put before the name of an interface, and the direction
// that they mean.
var wordsBefore = map[string]string{
	"on": "", "dev": "", "iif": "", "iifname": "", "interface": "", "iface": "", "via": "", "if": "", "in": "", "from": "", "ingress": "",
	"oif": "out", "oifname": "out", "egress": "out", "out": "out",
}

// misplaced answers rules that are rejected because the name of an interface, or of a file, is a
// word among them, or gives nil.
func (a *app) misplaced(words []string) error {
	words = strings.Fields(strings.Join(words, " "))
	if len(words) == 1 && a.isFile(words[0]) {
		return usage("", "%s is no rule", words[0]).leadTo(commandLine(a.given, a.opt.iface, a.opt.direction == "out", words[0], ""))
	}
	for i, w := range words {
		if !a.isInterface(words, i) {
			continue
		}
		rest, out := slices.Delete(slices.Clone(words), i, i+1), a.opt.direction == "out"
		if i > 0 {
			direction, before := wordsBefore[strings.ToLower(words[i-1])]
			if before && (i > 1 || words[i-1] != "if") && words[i-1] != "if" {
				rest = slices.Delete(rest, i-1, i)
				out = out || direction == "out"
			}
		}
		if p, ok := acceptedRules(strings.Join(rest, " ")); ok {
			return usage("", "%s is the name of an interface, and none belongs among rules", w).
				leadTo(commandLine(a.given, w, out, "", p.Source))
		}
	}
	return nil
}

// isInterface reports whether a word among rules is likely the name of an interface: it is named
// as one, or stands alone before if and there is one of this name.
func (a *app) isInterface(words []string, i int) bool {
	if i > 0 && (words[i-1] == "redirect" || words[i-1] == "to" && i > 1 && words[i-2] == "redirect") {
		return false
	}
	if usualName().MatchString(words[i]) {
		return true
	}
	if i > 0 || len(words) < 2 || !strings.EqualFold(words[1], "if") {
		return false
	}
	names, err := a.env.Kernel.Interfaces()
	return err == nil && slices.Contains(names, words[i])
}

// isFile reports whether the one word that was given is meant as a file of rules.
func (a *app) isFile(word string) bool {
	if strings.ContainsAny(word, "/") || regexp.MustCompile(`\.(txt|rules|conf|rp|cfg|list)$`).MatchString(word) {
		return true
	}
	f, err := a.openOnce(word, 1)
	if err == nil {
		f.Close()
	}
	return err == nil
}

// severalInterfaces answers -i with more than one interface by a command for each.
func (a *app) severalInterfaces(l *line, names []string) error {
	var lines []string
	rules := splitAt(l)
	for i, name := range names {
		lines = append(lines, commandLine(l.command, name, a.opt.direction == "out", a.opt.file, strings.Join(rules[min(i, len(rules)-1)], " ")))
	}
	return usage("", "rules are attached to one interface at a time").leadTo(lines...)
}

// splitAt are the rules of a line, in two where a flag for the whole line stands between two of
// them.
func splitAt(l *line) [][]string {
	for _, g := range l.flags {
		if g.between(l) {
			return [][]string{l.words[:g.at], l.words[g.at:]}
		}
	}
	return [][]string{l.words}
}

// between reports whether a flag stands between two rules.
func (g givenFlag) between(l *line) bool {
	if g.at == 0 || g.at >= len(l.words) || g.flag.Name != "direction" && g.flag.Name != "interface" && g.flag.Name != "hook" {
		return false
	}
	if !slices.ContainsFunc(l.words[:g.at], func(w string) bool { return strings.EqualFold(firstWord(w), "if") }) {
		return false
	}
	next := strings.ToLower(firstWord(l.words[g.at]))
	return next == "if" || next == "else" || strings.HasSuffix(next, ":")
}

// wholeLine rejects flags for the whole line that stand between two of its rules, and more than
// one interface.
func (a *app) wholeLine(l *line) error {
	var names []string
	for _, g := range l.flags {
		if g.flag.Name == "interface" {
			names = append(names, strings.Split(g.value, ",")...)
		}
	}
	names = slices.Compact(names)
	if len(names) > 1 && !slices.Contains(names, "") {
		return a.severalInterfaces(l, names)
	}
	for _, g := range l.flags {
		if !g.between(l) {
			continue
		}
		first, second := l.words[:g.at], l.words[g.at:]
		if strings.EqualFold(second[0], "else") {
			second = second[1:]
		}
		f := usage("give it before the first rule", "%s %s stands between two rules: it is for the whole line", g.typed, g.value)
		_, one := acceptedRules(strings.Join(first, " "))
		_, two := acceptedRules(strings.Join(second, " "))
		if g.flag.Name == "direction" && one && two {
			f.leadTo(commandLine(l.command, a.opt.iface, g.value != "out", "", strings.Join(first, " ")),
				commandLine(l.command, a.opt.iface, g.value == "out", "", strings.Join(second, " ")))
		}
		return f
	}
	return nil
}

// dryRun answers --dry-run: a rule without then is one.
func (a *app) dryRun(l *line) error {
	for _, g := range l.flags {
		switch g.typed {
		case "-n":
			return usage("", "names are never looked up: leave out -n")
		case "--dry-run":
			f := usage("leave out then and what follows: such a rule counts packets and changes none", "there is no --dry-run: rules without then are one")
			p, err := rule.Check(strings.Join(l.words, " "))
			if err == nil && len(p.Written) == 1 {
				condition, _, _ := strings.Cut(strings.Join(l.words, " "), " then ")
				f.leadTo(commandLine(l.command, a.opt.iface, a.opt.direction == "out", "", condition))
			}
			return f
		}
	}
	return nil
}
