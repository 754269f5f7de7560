package syntax

import (
	"fmt"
	"slices"
	"strings"

	"repacket/internal/field"
)

// maxDepth is how deep brackets and not may be nested.
const maxDepth = 100

// parser reads tokens by recursive descent. After the first error it stands
// at the end of the source, so every loop ends.
type parser struct {
	text
	pos   int
	depth int
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
	p := &parser{text: text{source, tokens}}
	rules = p.program()
	return rules, p.draws, p.err
}

// draw numbers n random numbers and gives the first one's place.
func (p *parser) draw(n int) int {
	p.draws += n
	return p.draws - n
}

// fail keeps the first error and moves to the end. The hint is prose: what could be
// typed back is proposed to the diagnostic, which is nil behind the first error.
func (p *parser) fail(at Span, hint, format string, args ...any) *Diagnostic {
	p.pos = len(p.tokens) - 1
	if p.err != nil {
		return nil
	}
	p.err = &Diagnostic{Msg: fmt.Sprintf(format, args...), At: at, Hint: hint, Source: p.source}
	return p.err
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

// ends reports whether the next token, or one of some others, ends what is read.
func (p *parser) ends(others ...string) bool {
	t := p.peek()
	return slices.Contains([]string{"", "else", repliesWord, "from", ")", ";"}, t.Text) || slices.Contains(others, t.Text) || p.startsRule(t)
}

// conditionEnds reports whether the next token cannot begin a test. An unknown
// word can: test says what is wrong with it.
func (p *parser) conditionEnds() bool { return p.ends("then", "or", ",") }

// from is the span from start to the end of the token last taken.
func (p *parser) from(start int) Span {
	return Span{start, p.tokens[max(p.pos-1, 0)].At.End}
}

func (p *parser) program() []RuleNode {
	if p.peek().Text == "" {
		p.fail(Span{}, ruleForm, "no rule is given")
		return nil
	}
	var rules []RuleNode
	for p.err == nil {
		r := p.rule()
		word := p.peek()
		r.OrElse = p.accept("else")
		rules = append(rules, r)
		switch t := p.peek(); {
		case r.OrElse && (startsAction(t) || p.sets(t)):
			return append(rules, p.closing(word))
		case r.OrElse && t.Text == "":
			p.fail(t.At, "else if CONDITION then ACTIONS, or else ACTIONS", "else needs a rule, or actions")
		case r.OrElse && t.Text == "then":
			p.fail(t.At, "", "leave out then behind else").Propose(p.without(t).Whole())
		case !r.OrElse && p.accept(";") && p.peek().Text == "", t.Text == "":
			return rules
		}
	}
	return rules
}

// closing reads the actions behind the last else: a rule for all that is left.
func (p *parser) closing(word Token) RuleNode {
	r := RuleNode{IfAt: word.At, Cond: AllNode{word.At}, Then: true, Closing: true}
	p.columns = nil
	p.actions(&r)
	p.replies(&r)
	p.rows(&r)
	p.accept(";")
	switch t := p.peek(); {
	case p.err != nil, t.Text == "":
	case t.Text == "else", t.Text == ";", p.startsRule(t):
		p.fail(t.At, "put it before the last else", "%s stands behind the actions for all that is left", p.words(t.At))
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
		p.fail(p.peek().At, "a condition says which packets: if CONDITION then ACTIONS", "if needs a condition").
			Propose(insert("for every packet: ", r.IfAt.End, " all"))
		return r
	}
	r.Cond = p.or()
	if r.Then = p.peek().Text == "then"; r.Then {
		p.next()
		p.actions(&r)
		p.replies(&r)
	}
	p.rows(&r)
	p.ruleEnds(r)
	r.At = p.from(first.At.Start)
	return r
}

// noIf is the error for a rule that does not begin with if.
func (p *parser) noIf(named bool) {
	t := p.peek()
	_, ref := ResolveField(t)
	_, proto := field.ProtocolByName(t.Text)
	switch {
	case t.Text == "":
		p.fail(t.At, "a rule stands behind its name: NAME: "+ruleForm, "the name has no rule behind it")
	case t.Text == "else", t.Text == ";":
		p.fail(t.At, "", "a rule is missing before %s", p.words(t.At))
	case t.Text == "then":
		p.fail(t.At, ruleForm, "then without if").Propose(p.thenBehind(t)...)
	case !ref && t.Text != "tcp.ack" && startsAction(t):
		p.fail(t.At, ruleForm, "%s stands behind if and then, or behind the last else", p.words(t.At)).Propose(p.restructured(t)...)
	case !ref && !proto && (Nearest(t.Text, []string{"if"}) != "" || t.Text == "when"):
		p.fail(t.At, ruleForm, "unknown word %s", p.words(t.At)).Propose(Replace(didYouMean, t.At, "if", ""))
	case (strings.Contains(t.Text, ":") || strings.HasPrefix(p.second().Text, ":")) && !named && t.word:
		p.fail(t.At, "a name is letters, digits, _ and -, its colon attached, then a blank",
			"%s is no name of a rule", p.words(t.At)).Propose(p.renamed(t)...)
	case ref || proto || t.Text == "all" || t.Text == "chance" || t.Text == "not" || t.Text == "(":
		p.fail(t.At, ruleForm, "a rule begins with if").Propose(p.restructured(t)...)
	case wishes()[t.Text] != "":
		p.fail(t.At, wishes()[t.Text], "unknown word %s", p.words(t.At))
	default:
		p.fail(t.At, ruleForm, "a rule begins with if, not %s", p.words(t.At)).Propose(p.strange(t)...)
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
		p.fail(t.At, "from and its file are the end of a rule", "then stands behind from")
	case t.Text == repliesWord:
		p.strayReplies(t, r)
	case t.Text == ")":
		p.fail(t.At, "", ") without (")
	case r.Then:
		p.strayInActions(t)
	default:
		p.strayInCondition(t)
	}
}
