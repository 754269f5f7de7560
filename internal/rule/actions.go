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
		a.operand = p.operand(ref)
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
	case len(name) > maxIface:
		p.fail(t.at, "", "the name of an interface has %d bytes at most, %s has %d", maxIface, crop(name), len(name))
	case strings.ContainsAny(name, "/:") || name == "." || name == "..":
		p.fail(t.at, "redirect eth1", "%s is no name of an interface", name)
	}
	p.next()
	return name
}

// operand reads what becomes of the field: a value, fix or bad.
func (p *parser) operand(ref fieldRef) token {
	t := p.peek()
	name, f := ref.name.text, ref.fields[0]
	plain := "a plain value works: " + name + " " + example(f)
	_, copied := resolveField(t)
	switch {
	case t.text == "fix" || t.text == "bad":
		if f.Kind != field.Checksum {
			p.fail(t.at, "", "%s is for checksums: %s is none", t.text, name)
		}
	case t.text == "eq" || t.text == "ne" || t.text == "lt" || t.text == "le" || t.text == "gt" || t.text == "ge":
		p.fail(t.at, "the field and its new value: "+name+" "+p.words(p.second().at),
			"an action sets a field, %s compares", p.words(t.at))
	case t.text == "atleast" || t.text == "atmost" || t.text == "random":
		p.notYet(t.at, t.text, plain)
	case t.word && t.text[0] == '@':
		p.notYet(t.at, "columns of a file", "write the value itself")
	case len(t.text) > 1 && (t.text[0] == '+' || t.text[0] == '-') && isDigit(t.text[1]):
		p.notYet(t.at, "adding and taking away ("+p.words(t.at)+")", plain)
	case p.isValue(ref, t):
	case copied && p.copyFollows():
		p.notYet(t.at, "copying a field ("+p.words(Span{ref.name.at.Start, t.at.End})+")", plain)
	case fillers[t.text]:
		p.fail(t.at, p.leaveOut(ref, t), "%s needs a value", name)
	default:
		p.fail(t.at, "", "%s needs a value", name)
	}
	return p.next()
}

// copyFollows tells whether the field that comes next is an operand, and not
// an action with a value of its own.
func (p *parser) copyFollows() bool {
	after := p.second()
	if after.text == "fix" || after.text == "bad" || after.text == "=" {
		return false
	}
	return !after.word || p.startsRule(after) || isLanguage(after)
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
		p.fail(t.at, "", "%s is a header, an action names a field", word)
	case t.text == "chance":
		p.notYet(t.at, "chance", "")
	case looksLikeValue(t.text):
		p.fail(t.at, "an action sets one field to one value: udp_dest 8080", "%s is a value, and no field stands before it", word)
	case keywords[t.text] || !t.word:
		p.fail(t.at, "", "an action is missing before %s", word)
	default:
		p.fail(t.at, suggest(t.text, actionWords()), "unknown word %s", word)
	}
}
