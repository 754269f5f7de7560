package rule

import (
	"fmt"
	"strings"

	"repacket/internal/field"
)

// maxDepth is how deep brackets and not may be nested.
const maxDepth = 100

// parser reads tokens by recursive descent. After the first error it stands
// at the end of the source, so every loop ends.
type parser struct {
	source string
	tokens []token
	pos    int
	depth  int
	// draws are the random numbers that the rules so far may need.
	draws int
	// columns are those of the rule that is read.
	columns []columnNode
	err     *Diagnostic
}

// parse reads a whole program; draws is how many random numbers it may need.
func parse(source string) (rules []ruleNode, draws int, err *Diagnostic) {
	tokens, err := lex(source)
	if err != nil {
		return nil, 0, err
	}
	p := &parser{source: source, tokens: tokens}
	rules = p.program()
	return rules, p.draws, p.err
}

// draw numbers n random numbers and gives the first one's place.
func (p *parser) draw(n int) int {
	p.draws += n
	return p.draws - n
}

// fail keeps the first error and moves to the end.
func (p *parser) fail(at Span, hint, format string, args ...any) {
	if p.err == nil {
		p.err = &Diagnostic{Msg: fmt.Sprintf(format, args...), At: at, Hint: hint, Source: p.source}
	}
	p.pos = len(p.tokens) - 1
}

func (p *parser) peek() token { return p.tokens[p.pos] }

// second is the token behind the next one, or the end.
func (p *parser) second() token { return p.tokens[min(p.pos+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.peek()
	if p.pos < len(p.tokens)-1 {
		p.pos++
	}
	return t
}

// accept takes the next token if it is text.
func (p *parser) accept(text string) bool {
	if p.peek().text != text || text == "" {
		return false
	}
	p.next()
	return true
}

func (p *parser) atEnd() bool { return p.pos == len(p.tokens)-1 }

// from is the span from start to the end of the token last taken.
func (p *parser) from(start int) Span {
	return Span{start, p.tokens[max(p.pos-1, 0)].at.End}
}

// words is a piece of the source, cropped where it is long.
func (p *parser) words(at Span) string { return excerpt(p.source, at) }

func (p *parser) startsRule(t token) bool {
	_, named := ruleName(p.source, t)
	return named || t.text == "if"
}

func (p *parser) program() []ruleNode {
	if p.atEnd() {
		p.fail(Span{}, "if udp_dest 443 then udp_dest 8080", "no rule is given")
		return nil
	}
	var rules []ruleNode
	for p.err == nil {
		r := p.rule()
		end := false
		switch p.peek().text {
		case "":
			end = true
		case ";":
			p.next()
			end = p.atEnd()
		case "else":
			r.orElse = true
			if word := p.next(); p.startsAction(p.peek()) {
				rules, r, end = append(rules, r), p.closing(word), true
			} else {
				p.elseRule()
			}
		}
		rules = append(rules, r)
		if end {
			break
		}
	}
	return rules
}

// elseRule checks what stands behind else, if that is no action.
func (p *parser) elseRule() {
	switch t := p.peek(); t.text {
	case "":
		p.fail(t.at, "if udp_dest 443 then udp_dest 8080 else if udp then ip_ttl 64", "else needs a rule, or actions")
	case "then":
		p.fail(t.at, "else "+p.words(Span{p.second().at.Start, len(p.source)}), "leave out then behind else")
	}
}

// closing reads the actions behind the last else: a rule for all that is left.
func (p *parser) closing(word token) ruleNode {
	r := ruleNode{ifAt: word.at, cond: allNode{word.at}, then: true, closing: true}
	p.columns = nil
	p.actions(&r)
	p.noRows()
	p.accept(";")
	switch t := p.peek(); {
	case p.err != nil, t.text == "":
	case t.text == "else", t.text == ";", p.startsRule(t):
		p.fail(t.at, "put it before the last else, or write else if all then ...", "%s stands behind the actions for all that is left", p.words(t.at))
	default:
		p.ruleEnds(r)
	}
	r.at = Span{word.at.Start, r.does.End}
	return r
}

func (p *parser) rule() ruleNode {
	first := p.peek()
	r := ruleNode{}
	p.columns = nil
	if name, ok := ruleName(p.source, first); ok {
		r.name, r.nameAt = name, first.at
		p.next()
	}
	r.ifAt = p.peek().at
	if !p.accept("if") {
		p.noIf(r.name != "")
		return r
	}
	if p.peek().text == "then" || p.peek().text == "" {
		p.fail(p.peek().at, "for every packet: if all then ...", "if needs a condition")
		return r
	}
	r.cond = p.or()
	if r.then = p.peek().text == "then"; r.then {
		p.next()
		p.actions(&r)
	}
	p.rows(&r)
	p.ruleEnds(r)
	r.at = p.from(first.at.Start)
	return r
}

// noIf is the error for a rule that does not begin with if.
func (p *parser) noIf(named bool) {
	t := p.peek()
	rest := p.words(Span{t.at.Start, len(p.source)})
	_, ref := resolveField(t)
	_, proto := field.ProtocolByName(t.text)
	switch {
	case t.text == "":
		p.fail(t.at, "web: if tcp_dest 80", "the name has no rule behind it")
	case t.text == "else", t.text == ";":
		p.fail(t.at, "", "a rule is missing before %s", p.words(t.at))
	case t.text == "then":
		p.fail(t.at, "if all "+rest, "then without if")
	case !ref && t.text != "tcp.ack" && p.startsAction(t):
		p.fail(t.at, "if all then "+rest, "%s stands behind if and then, or behind the last else", p.words(t.at))
	case nearest(t.text, []string{"if"}) != "", t.text == "when":
		p.fail(t.at, "did you mean if?", "unknown word %s", p.words(t.at))
	case strings.Contains(t.text+p.second().text, ":") && !named && t.word:
		p.fail(t.at, "a name is letters, digits, _ and -, its colon attached, then a blank: web: if ...",
			"%s is no name of a rule", p.words(t.at))
	case ref || proto || t.text == "all" || t.text == "chance" || t.text == "not" || t.text == "(":
		p.fail(t.at, "if "+rest, "a rule begins with if")
	default:
		p.fail(t.at, "if udp_dest 443 then udp_dest 8080", "a rule begins with if, not %s", p.words(t.at))
	}
}

// ruleEnds checks that nothing stands between a rule and the next.
func (p *parser) ruleEnds(r ruleNode) {
	t := p.peek()
	switch {
	case p.err != nil, t.text == "", t.text == ";", t.text == "else", p.startsRule(t):
	case t.text == "from":
		p.fail(t.at, "", "from stands twice in one rule")
	case t.text == "then" && r.file.text != "":
		p.fail(t.at, "from and its file are the end of a rule: if ... then ... from "+p.words(r.file.at), "then stands behind from")
	case t.text == ")":
		p.fail(t.at, "", ") without (")
	case r.then:
		p.strayInActions(t)
	default:
		p.strayInCondition(t)
	}
}
