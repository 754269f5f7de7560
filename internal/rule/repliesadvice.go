package rule

import (
	"fmt"
	"strings"

	"repacket/internal/field"
	"repacket/internal/syntax"
)

// ephemeral are the ports that Linux takes for connections that it opens, unless it is told
// otherwise (net.ipv4.ip_local_port_range).
var ephemeral = field.Set{{Lo: field.V(32768), Hi: field.V(60999)}}

// maxAdvised is the most inverses that are looked at for what they cannot tell apart.
const maxAdvised = 50

// repliesAdvice says what rules that keep no memory of flows cannot tell apart or see (semantics.md 5.3).
// Of each kind one warning is enough.
func (c *checker) repliesAdvice(nodes []syntax.RuleNode, all []inverse) (out []*syntax.Diagnostic) {
	all = all[:min(len(all), maxAdvised)]
	for _, of := range []func([]syntax.RuleNode, inverse, []inverse) *syntax.Diagnostic{c.direct, c.ephemeralPort, c.unanswered, c.elsewhere} {
		for _, inv := range all {
			if d := of(nodes, inv, all); d != nil {
				out = append(out, d)
				break
			}
		}
	}
	return out
}

// direct warns of packets that look like the rule's without having been changed by it: their
// replies are changed too, unless a rule drops or changes these packets.
func (c *checker) direct(_ []syntax.RuleNode, inv inverse, all []inverse) *syntax.Diagnostic {
	if len(inv.changes) == 0 {
		return nil
	}
	closing := closing(inv, all)
	open, closable := c.stillOpen(inv, closing)
	if !open {
		return nil
	}
	var to, old []string
	for _, ch := range inv.changes {
		to = append(to, inv.rows.printTest(ch.result))
		old = append(old, inv.rows.printValues(ch.old))
	}
	msg := "whoever talks to %s itself gets replies from %s too"
	if strings.HasSuffix(inv.changes[0].redo.Field.Name, "_src") {
		msg = "whoever talks from %s itself has its replies sent to %s too"
	}
	hint := "to close it: else " + closing.Print()
	if !closable || inv.rows != nil && len(inv.rows.Cells) > len(inv.rule.Rows.Cells) { // no column of the file has these values
		hint = ""
	}
	return c.diagnostic(syntax.Warning, inv.changes[0].redo.At, hint, msg, strings.Join(to, " and "), strings.Join(old, " and "))
}

// stillOpen reports whether packets arrive as an inverse undoes them and leave like that, and whether
// another rule directly behind that of the inverse closes this: it does not where one in front lets some
// of them pass.
func (c *checker) stillOpen(inv inverse, closing *Rule) (open, closable bool) {
	left := c.sets.packets(inv.result)
	closable = true
	for _, r := range c.program.Rules {
		closes := r.changesOrDrops(inv)
		if closes && r.Rows != nil && r.Rows.write(r.asked()) == inv.rows.write(closing.Cond) && r.Rows.File == inv.rows.File {
			return open, closable
		}
		if !closes && r.Rows != nil { // of a file that is not known to have such packets
			continue
		}
		if !closes && c.sets.Meets(left, c.where[r]) && !c.apartByRows(r, closing) {
			open, closable = true, closable && r.Index > inv.rule.Index
		}
		if left = c.sets.Intersect(left, c.outside(&reach{rules: []*Rule{r}})); left.Empty() {
			return open, closable
		}
	}
	return true, closable
}

// closing is the rule that drops what leaves as an inverse undoes it, and as the others of its rule do.
func closing(inv inverse, all []inverse) *Rule {
	var xs []Expr
	for _, o := range all {
		if o.rule.Index == inv.rule.Index {
			xs = append(xs, lean(o.result, &Rule{}))
		}
	}
	return &Rule{Cond: anyOf(xs, inv.rule.Cond.Span()), Verdict: Drop, Rows: inv.rows}
}

// changesOrDrops reports whether packets on which the rule acts do not leave with the values that an
// inverse undoes.
func (r *Rule) changesOrDrops(inv inverse) bool {
	if r.Verdict == Drop || r.Verdict == Reflect {
		return true
	}
	for _, a := range r.Actions {
		if a.Field == inv.changes[0].redo.Field && !a.Idle() {
			return true
		}
	}
	return false
}

// printValues writes what a test is for without its field.
func (rs *Rows) printValues(t Test) string {
	return strings.TrimPrefix(rs.printTest(t), t.Field.Name+" ")
}

// ephemeralPort warns of a new port that connections may have which this machine opens itself.
func (c *checker) ephemeralPort(_ []syntax.RuleNode, inv inverse, _ []inverse) *syntax.Diagnostic {
	for _, ch := range inv.changes {
		ports := ch.result.In
		if len(ch.result.Cells) > 0 {
			ports = c.column(inv.rows, ch.result.Cells[0])
		}
		if ch.redo.Field.Kind == field.Port && ports.Meets(ephemeral) {
			return c.diagnostic(syntax.Warning, ch.redo.At, "a port outside of it; or sysctl net.ipv4.ip_local_reserved_ports keeps one free",
				"%s is in the range of ephemeral ports, %s: connections that this machine opens from there look like replies",
				inv.rows.printTest(ch.result), printSet(ch.redo.Field, ephemeral))
		}
	}
	return nil
}

// unanswered notes an address that packets go to and that need be nobody's.
func (c *checker) unanswered(_ []syntax.RuleNode, inv inverse, _ []inverse) *syntax.Diagnostic {
	for _, ch := range inv.changes {
		protocol := map[field.Kind]string{field.Address4: "ARP", field.Address6: "neighbour discovery"}[ch.redo.Field.Kind]
		if protocol == "" {
			continue
		}
		kept := ch.old // the client asks for the old destination, and the server for the new source
		if strings.HasSuffix(ch.redo.Field.Name, "_src") {
			kept = ch.result
		}
		return c.diagnostic(syntax.Note, ch.redo.At, "a route to it by this machine, or the address on an interface of it",
			"%s has to be answered for by %s, or be routed here", inv.rows.printValues(kept), protocol)
	}
	return nil
}

// elsewhere notes the replies that do not come by.
func (c *checker) elsewhere(nodes []syntax.RuleNode, inv inverse, _ []inverse) *syntax.Diagnostic {
	return c.diagnostic(syntax.Note, nodes[inv.rule.Index].RepliesAt, "",
		"replies are seen on the same interface only: not those that leave by another one, nor those to clients on this machine, which go over lo")
}

// RepliesInfo says what becomes of the replies to a rule.
type RepliesInfo struct {
	// Mode is replies or replies tracked.
	Mode string `json:"mode"`
	// Complete are the rules for packets of the other direction that undo the rule, with full
	// names and all brackets.
	Complete []string `json:"complete"`
	// LeftOut are the tests of the rule that say nothing about a flow: they count as possibly true.
	LeftOut []string `json:"left_out,omitempty"`
	// Forward are the actions of the rule that replies do not undo.
	Forward []string `json:"forward_only,omitempty"`
}

// replies says what becomes of the replies to a rule, into which those of its copies are merged.
func (info *RuleInfo) replies(r *Rule) {
	if r.Replies == NoReplies {
		return
	}
	if info.Replies == nil {
		info.Replies = &RepliesInfo{Mode: r.Replies.String(), Complete: []string{}}
	}
	for _, x := range leftOut(r.asked()) {
		info.Replies.LeftOut = appendNew(info.Replies.LeftOut, r.Rows.write(x))
	}
	for _, a := range r.Actions {
		if flowFields[a.Field] == nil {
			info.Replies.Forward = appendNew(info.Replies.Forward, r.Rows.printAction(a))
		}
	}
}

// leftOut are the tests of a condition that say nothing about a flow.
func leftOut(e Expr) (out []Expr) {
	for _, x := range Leaves(e) {
		switch x := x.(type) {
		case Chance:
			out = append(out, x)
		case Test:
			if flowFields[x.Field] == nil {
				out = append(out, x)
			}
		}
	}
	return out
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// text is RepliesInfo as people read it.
func (info *RepliesInfo) text() string {
	if info == nil {
		return ""
	}
	var b strings.Builder
	for _, rule := range info.Complete {
		fmt.Fprintf(&b, "  replies: %s\n", rule)
	}
	if len(info.LeftOut) > 0 {
		fmt.Fprintf(&b, "  left out there, since it says nothing about a flow: %s\n", strings.Join(info.LeftOut, ", "))
	}
	if len(info.Forward) > 0 {
		fmt.Fprintf(&b, "  not undone there: %s\n", strings.Join(info.Forward, ", "))
	}
	return b.String()
}
