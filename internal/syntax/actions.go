package syntax

import (
	"regexp"
	"slices"
	"strings"

	"repacket/internal/field"
	"repacket/internal/operand"
)

// actions reads action { [ "," | "and" ] action } into a rule.
func (p *parser) actions(r *RuleNode) {
	switch {
	case p.peek().Text == repliesWord:
		p.fail(p.peek().At, putBehind, "replies has no action before it")
	case p.ends():
		p.fail(p.peek().At, "to look without a change, leave out then", "then needs an action")
	}
	start := p.peek().At.Start
	for p.err == nil {
		p.action(r)
		r.Does = p.from(start)
		if t := p.peek(); p.accept(",") || p.accept("and") {
			if p.peek().Text == repliesWord {
				break
			}
			if p.ends() {
				p.fail(p.peek().At, "", "an action is missing after %s", p.words(t.At))
			}
			continue
		}
		if p.ends() {
			break
		}
	}
}

// startsAction reports whether t begins an action.
func startsAction(t Token) bool {
	_, set := ResolveField(t)
	_, verdict := verdictByWord(t.Text)
	return set || verdict || t.Text == "swap" || t.Text == "tcp.ack"
}

// sets reports whether a token is set before the field of an action, as in other tools.
func (x text) sets(t Token) bool {
	_, ok := ResolveField(x.after(t))
	return t.Text == "set" && ok
}

func (p *parser) action(r *RuleNode) {
	t := p.next()
	if p.sets(t) {
		t = p.next()
	}
	verdict, isVerdict := verdictByWord(t.Text)
	ref, isField := ResolveField(t)
	switch {
	case t.Text == "swap":
		proto := p.swapped()
		r.Swaps = append(r.Swaps, Swap{proto, p.from(t.At.Start)})
	case isVerdict:
		v := VerdictNode{Verdict: verdict}
		if verdict == ToInterface {
			v.Iface = p.iface(t)
		}
		v.At = p.from(t.At.Start)
		r.Verdicts = append(r.Verdicts, v)
	case isField:
		a := ActionNode{Ref: ref}
		if !p.accept("=") {
			p.accept("set")
		}
		start := p.peek().At.Start
		a.Operand = p.operand(ref)
		a.Operand.At = p.from(start)
		a.At = p.from(t.At.Start)
		r.Actions = append(r.Actions, a)
	default:
		p.strayInActions(t)
	}
}

func verdictByWord(word string) (Verdict, bool) {
	i := slices.Index(verdictWords[:], word)
	return Verdict(max(i, 0)), i >= 0
}

// swapped reads the header behind swap.
func (p *parser) swapped() field.Protocol {
	const can = "swap takes eth, ip, ip6, tcp or udp"
	t := p.peek()
	proto, ok := field.ProtocolByName(t.Text)
	switch {
	case ok && hasEnds(proto):
		p.next()
	case ok:
		p.fail(t.At, can, "%s has no source and destination to swap", p.words(t.At))
	case t.Text == "" || !t.word || p.ends():
		p.fail(t.At, can, "swap needs a header")
	default:
		p.fail(t.At, can, "swap needs a header, not %s", p.words(t.At))
	}
	return proto
}

// hasEnds reports whether a header has a source and a destination.
func hasEnds(p field.Protocol) bool {
	_, src := field.ByName(p.Header().Prefix + "_src")
	return src && p.Header().Name != ""
}

// maxIface is the longest name of an interface, in bytes (Linux, IFNAMSIZ).
const maxIface = 15

// iface reads the interface behind redirect as it is written.
func (p *parser) iface(redirect Token) string {
	t := p.peek()
	name := p.source[t.At.Start:t.At.End]
	_, rule := ruleName(p.source, t)
	switch {
	case t.Text == "" || !t.word || rule:
		p.fail(redirect.At, "the name of an interface stands behind it", "redirect needs an interface")
	case name[0] == '@':
		p.columnless(t, "redirect")
	case t.Text == "to" && p.second().word && !isLanguage(p.second()) && !p.startsRule(p.second()):
		p.fail(t.At, "leave out to", "redirect takes the interface alone").
			Propose(p.without(t).Showing(Span{redirect.At.Start, p.second().At.End}))
	case redirectedPort.MatchString(name), t.Text == "port" || t.Text == "to":
		p.fail(t.At, "a port is a field, and redirect takes the name of an interface", "redirect takes an interface, not %s", name).
			Propose(p.portSet(redirect)...)
	case len(name) > maxIface:
		p.fail(t.At, "", "the name of an interface has %d bytes at most, %s has %d", maxIface, Crop(name), len(name))
	case strings.ContainsAny(name, "/:") || name == "." || name == "..":
		p.fail(t.At, "", "%s is no name of an interface", name)
	}
	p.next()
	return name
}

// redirectedPort is what people write behind redirect who mean a port.
var redirectedPort = regexp.MustCompile(`^:?[0-9]+$`)

// portSet suggests the action that sets a port in the place of redirect [ to ] [ port ] N.
func (x text) portSet(redirect Token) []Suggestion {
	t := x.after(redirect)
	for t.Text == "to" || t.Text == "port" {
		t = x.after(t)
	}
	if !redirectedPort.MatchString(t.Text) {
		return nil
	}
	return list(Replace(didYouMean, Span{redirect.At.Start, t.At.End}, "dport "+strings.TrimPrefix(t.Text, ":"), ""))
}

// strayInActions is the error for a token that stands where an action, or the
// next rule, should.
func (p *parser) strayInActions(t Token) {
	word := p.words(t.At)
	_, isProto := field.ProtocolByName(t.Text)
	switch {
	case t.Text == "tcp.ack":
		p.tcpAck(t)
	case t.Text == trackedWord:
		p.strayReplies(t, RuleNode{})
	case t.Text == "then":
		p.fail(t.At, "actions stand side by side", "then stands twice in one rule").
			Propose(p.without(t).Whole())
	case t.Text == "or" || t.Text == "not":
		p.fail(t.At, "all actions of a rule are carried out; for another condition begin another rule: else if ...",
			"%s has no meaning among actions", word)
	case isProto:
		p.fail(t.At, "", "%s is a header, an action names a field", word).Propose(behindHeader(t, p.after(t))...)
	case t.Text == "chance":
		p.fail(t.At, "chance is a test", "chance stands before then").Propose(p.chanceMoved(t)...)
	case looksLikeValue(t.Text):
		p.valueWord(t, operand.Words(field.Number))
		p.fail(t.At, "an action sets one field to one value", "%s is a value, and no field stands before it", word)
	case keywords[t.Text] || !t.word:
		p.fail(t.At, "", "an action is missing before %s", word)
	default:
		hint, meant := Meant(t.At, t.Text, actionWords())
		if t.Text == "set" {
			meant = list(p.without(t).Whole())
		}
		p.fail(t.At, hint, "unknown word %s", word).Propose(meant...)
	}
}

// valueWord rejects what was read as the value of a field, if it is none by its looks and a
// value behind it shows that it was meant as another word.
func (p *parser) valueWord(behind Token, words []string) {
	t := p.before(behind)
	if !t.word || !IsLetter(t.Text[0]) || classOf(t.Text) != "unknown" || isLanguage(t) {
		return
	}
	hint, meant := Meant(t.At, t.Text, words)
	if Nearest(t.Text, []string{"port", "host", "address", "value", "equals"}) != "" {
		meant = append(meant, p.without(t).Showing(Span{p.before(t).At.Start, behind.At.End}))
	}
	p.fail(t.At, hint, "unknown word %s", p.words(t.At)).Propose(meant...)
}
