package rule

import (
	"slices"
	"strings"

	"repacket/internal/field"
)

// actions reads action { [ "," | "and" ] action } into a rule.
func (p *parser) actions(r *ruleNode) {
	if p.actionsEnd() {
		p.fail(p.peek().at, "to look without a change, leave out then", "then needs an action")
	}
	start := p.peek().at.Start
	for p.err == nil {
		p.action(r)
		r.does = p.from(start)
		if t := p.peek(); p.accept(",") || p.accept("and") {
			if p.actionsEnd() {
				p.fail(p.peek().at, "", "an action is missing after %s", p.words(t.at))
			}
			continue
		}
		if p.actionsEnd() {
			break
		}
	}
}

func (p *parser) actionsEnd() bool {
	t := p.peek()
	switch t.text {
	case "", "else", "from", ")", ";":
		return true
	}
	return p.startsRule(t)
}

// startsAction tells whether t begins an action.
func (p *parser) startsAction(t token) bool {
	_, set := resolveField(t)
	_, verdict := verdictByWord(t.text)
	return set || verdict || t.text == "swap" || t.text == "tcp.ack"
}

func (p *parser) action(r *ruleNode) {
	t := p.next()
	verdict, isVerdict := verdictByWord(t.text)
	ref, isField := resolveField(t)
	switch {
	case t.text == "swap":
		proto := p.swapped()
		r.swaps = append(r.swaps, Swap{proto, p.from(t.at.Start)})
	case isVerdict:
		v := verdictNode{verdict: verdict}
		if verdict == ToInterface {
			v.iface = p.iface(t)
		}
		v.at = p.from(t.at.Start)
		r.verdicts = append(r.verdicts, v)
	case isField:
		a := actionNode{ref: ref}
		p.accept("=")
		start := p.peek().at.Start
		a.operand = p.operand(ref)
		a.operand.at = p.from(start)
		a.at = p.from(t.at.Start)
		r.actions = append(r.actions, a)
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
	proto, ok := field.ProtocolByName(t.text)
	switch {
	case ok && hasEnds(proto):
		p.next()
	case ok:
		p.fail(t.at, can, "%s has no source and destination to swap", p.words(t.at))
	case t.text == "" || !t.word || p.actionsEnd():
		p.fail(t.at, can, "swap needs a header")
	default:
		p.fail(t.at, can, "swap needs a header, not %s", p.words(t.at))
	}
	return proto
}

// hasEnds tells whether a header has a source and a destination.
func hasEnds(p field.Protocol) bool {
	_, src := field.ByName(p.Header().Prefix + "_src")
	return src && p.Header().Name != ""
}

// maxIface is the longest name of an interface, in bytes (Linux, IFNAMSIZ).
const maxIface = 15

// iface reads the interface behind redirect as it is written.
func (p *parser) iface(redirect token) string {
	t := p.peek()
	name := p.source[t.at.Start:t.at.End]
	_, rule := ruleName(p.source, t)
	switch {
	case t.text == "" || !t.word || rule:
		p.fail(redirect.at, "redirect eth1", "redirect needs an interface")
	case name[0] == '@':
		p.columnless(t, "redirect")
	case t.text == "to" && p.second().word && !isLanguage(p.second()) && !p.startsRule(p.second()):
		p.fail(t.at, "redirect "+p.words(p.second().at), "redirect takes the interface alone")
	case len(name) > maxIface:
		p.fail(t.at, "", "the name of an interface has %d bytes at most, %s has %d", maxIface, crop(name), len(name))
	case strings.ContainsAny(name, "/:") || name == "." || name == "..":
		p.fail(t.at, "redirect eth1", "%s is no name of an interface", name)
	}
	p.next()
	return name
}

// strayInActions is the error for a token that stands where an action, or the
// next rule, should.
func (p *parser) strayInActions(t token) {
	word := p.words(t.at)
	_, isProto := field.ProtocolByName(t.text)
	switch {
	case t.text == "tcp.ack":
		p.tcpAck(t)
	case t.text == "then":
		p.fail(t.at, "actions stand side by side: then udp_dest 8080 ip_ttl 64", "then stands twice in one rule")
	case t.text == "or" || t.text == "not":
		p.fail(t.at, "all actions of a rule are carried out; for another condition begin another rule: else if ...",
			"%s has no meaning among actions", word)
	case isProto:
		p.fail(t.at, behindHeader(t, p.after(t).text), "%s is a header, an action names a field", word)
	case t.text == "chance":
		p.fail(t.at, "chance is a test: if udp chance 5% then drop", "chance stands before then")
	case looksLikeValue(t.text):
		p.operandWord(p.tokens[max(0, p.pos-2)])
		p.fail(t.at, "an action sets one field to one value: udp_dest 8080", "%s is a value, and no field stands before it", word)
	case keywords[t.text] || !t.word:
		p.fail(t.at, "", "an action is missing before %s", word)
	default:
		p.fail(t.at, suggest(t.text, actionWords()), "unknown word %s", word)
	}
}

// operandWord refuses what was read as a value if a value that follows it shows
// that it was meant as another word.
func (p *parser) operandWord(t token) {
	word := nearest(t.text, []string{"random", "atleast", "atmost"})
	if word != "" && len(t.text) >= 4 && isLetter(t.text[0]) && !isLanguage(t) {
		p.fail(t.at, "did you mean "+word+"?", "unknown word %s", p.words(t.at))
	}
}
