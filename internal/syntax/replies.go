package syntax

// ReplyMode says what becomes of the replies to the packets that a rule rewrites.
type ReplyMode uint8

// The modes.
const (
	NoReplies ReplyMode = iota // they are not touched
	Stateless                  // they get the old values, which follow from the new ones
	Tracked                    // they get the old values, which are kept for each flow
)

// The words of a rule that ask for replies.
const (
	repliesWord = "replies"
	trackedWord = "tracked"
)

var replyModes = [...]string{NoReplies: "", Stateless: repliesWord, Tracked: repliesWord + " " + trackedWord}

// String is the mode in the language, "" for none.
func (m ReplyMode) String() string { return replyModes[m] }

// putBehind is the hint for replies in another place.
const putBehind = "replies stands behind the actions: if CONDITION then ACTIONS replies"

// replies reads [ "replies" [ "tracked" ] ] behind the actions of a rule.
func (p *parser) replies(r *RuleNode) {
	word := p.peek()
	if p.err != nil || !p.accept(repliesWord) {
		return
	}
	r.Replies = Stateless
	if p.accept(trackedWord) {
		r.Replies = Tracked
	}
	r.RepliesAt = p.from(word.At.Start)
	switch t := p.peek(); {
	case r.Closing:
		p.fail(word.At, "put if and a condition behind else", "replies belongs to a rule that begins with if")
	case t.Text == repliesWord:
		p.fail(t.At, "", "replies stands twice in one rule").Propose(p.without(t).Whole())
	case t.Text == "," || t.Text == "and" || startsAction(t) || p.sets(t):
		p.fail(t.At, putBehind, "an action stands behind replies")
	}
}

// strayReplies is the error for replies, or tracked, where it cannot stand.
func (p *parser) strayReplies(t Token, r RuleNode) {
	switch {
	case t.Text == trackedWord:
		p.fail(t.At, "replies tracked", "tracked stands behind replies only").Propose(insert("", t.At.Start, "replies "))
	case r.File.Text != "":
		p.fail(t.At, "from and its file are the end of a rule", "replies stands behind from")
	default:
		p.fail(t.At, putBehind, "replies without then: nothing is rewritten that a reply could answer")
	}
}
