package syntax

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
	tokens []Token
	pos    int
	depth  int
	// draws are the random numbers that the rules so far may need.
	draws int
	// columns are those of the rule that is read.
	columns []ColumnNode
	err     *Diagnostic
}

// Parse reads a whole program; draws is how many random numbers it may need.
func Parse(source string) (rules []RuleNode, draws int, err *Diagnostic) {
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

func (p *parser) peek() Token { return p.tokens[p.pos] }

// second is the token behind the next one, or the end.
func (p *parser) second() Token { return p.tokens[min(p.pos+1, len(p.tokens)-1)] }

func (p *parser) next() Token {
	t := p.peek()
	if p.pos < len(p.tokens)-1 {
		p.pos++
	}
	return t
}

// accept takes the next token if it is text.
func (p *parser) accept(text string) bool {
	if p.peek().Text != text || text == "" {
		return false
	}
	p.next()
	return true
}

func (p *parser) atEnd() bool { return p.pos == len(p.tokens)-1 }

// from is the span from start to the end of the token last taken.
func (p *parser) from(start int) Span {
	return Span{start, p.tokens[max(p.pos-1, 0)].At.End}
}

// words is a piece of the source, cropped where it is long.
func (p *parser) words(at Span) string { return Excerpt(p.source, at) }

func (p *parser) startsRule(t Token) bool {
	_, named := ruleName(p.source, t)
	return named || t.Text == "if"
}

func (p *parser) program() []RuleNode {
	if p.atEnd() {
		p.fail(Span{}, "if udp_dest 443 then udp_dest 8080", "no rule is given")
		return nil
	}
	var rules []RuleNode
	for p.err == nil {
		r := p.rule()
		end := false
		switch p.peek().Text {
		case "":
			end = true
		case ";":
			p.next()
			end = p.atEnd()
		case "else":
			r.OrElse = true
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
	switch t := p.peek(); t.Text {
	case "":
		p.fail(t.At, "if udp_dest 443 then udp_dest 8080 else if udp then ip_ttl 64", "else needs a rule, or actions")
	case "then":
		p.fail(t.At, "else "+p.words(Span{p.second().At.Start, len(p.source)}), "leave out then behind else")
	}
}

// closing reads the actions behind the last else: a rule for all that is left.
func (p *parser) closing(word Token) RuleNode {
	r := RuleNode{IfAt: word.At, Cond: AllNode{word.At}, Then: true, Closing: true}
	p.columns = nil
	p.actions(&r)
	p.noRows()
	p.accept(";")
	switch t := p.peek(); {
	case p.err != nil, t.Text == "":
	case t.Text == "else", t.Text == ";", p.startsRule(t):
		p.fail(t.At, "put it before the last else, or write else if all then ...", "%s stands behind the actions for all that is left", p.words(t.At))
	default:
		p.ruleEnds(r)
	}
	r.At = Span{word.At.Start, r.Does.End}
	return r
}

func (p *parser) rule() RuleNode {
	first := p.peek()
	r := RuleNode{}
	p.columns = nil
	if name, ok := ruleName(p.source, first); ok {
		r.Name, r.NameAt = name, first.At
		p.next()
	}
	r.IfAt = p.peek().At
	if !p.accept("if") {
		p.noIf(r.Name != "")
		return r
	}
	if p.peek().Text == "then" || p.peek().Text == "" {
		p.fail(p.peek().At, "for every packet: if all then ...", "if needs a condition")
		return r
	}
	r.Cond = p.or()
	if r.Then = p.peek().Text == "then"; r.Then {
		p.next()
		p.actions(&r)
	}
	p.rows(&r)
	p.ruleEnds(r)
	r.At = p.from(first.At.Start)
	return r
}

// noIf is the error for a rule that does not begin with if.
func (p *parser) noIf(named bool) {
	t := p.peek()
	rest := p.words(Span{t.At.Start, len(p.source)})
	_, ref := ResolveField(t)
	_, proto := field.ProtocolByName(t.Text)
	switch {
	case t.Text == "":
		p.fail(t.At, "web: if tcp_dest 80", "the name has no rule behind it")
	case t.Text == "else", t.Text == ";":
		p.fail(t.At, "", "a rule is missing before %s", p.words(t.At))
	case t.Text == "then":
		p.fail(t.At, "if all "+rest, "then without if")
	case !ref && t.Text != "tcp.ack" && p.startsAction(t):
		p.fail(t.At, "if all then "+rest, "%s stands behind if and then, or behind the last else", p.words(t.At))
	case Nearest(t.Text, []string{"if"}) != "", t.Text == "when":
		p.fail(t.At, "did you mean if?", "unknown word %s", p.words(t.At))
	case strings.Contains(t.Text+p.second().Text, ":") && !named && t.word:
		p.fail(t.At, "a name is letters, digits, _ and -, its colon attached, then a blank: web: if ...",
			"%s is no name of a rule", p.words(t.At))
	case ref || proto || t.Text == "all" || t.Text == "chance" || t.Text == "not" || t.Text == "(":
		p.fail(t.At, "if "+rest, "a rule begins with if")
	default:
		p.fail(t.At, "if udp_dest 443 then udp_dest 8080", "a rule begins with if, not %s", p.words(t.At))
	}
}

// ruleEnds checks that nothing stands between a rule and the next.
func (p *parser) ruleEnds(r RuleNode) {
	t := p.peek()
	switch {
	case p.err != nil, t.Text == "", t.Text == ";", t.Text == "else", p.startsRule(t):
	case t.Text == "from":
		p.fail(t.At, "", "from stands twice in one rule")
	case t.Text == "then" && r.File.Text != "":
		p.fail(t.At, "from and its file are the end of a rule: if ... then ... from "+p.words(r.File.At), "then stands behind from")
	case t.Text == ")":
		p.fail(t.At, "", ") without (")
	case r.Then:
		p.strayInActions(t)
	default:
		p.strayInCondition(t)
	}
}
