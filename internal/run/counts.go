package run

import "repacket/internal/rule"

// Count is what one rule did. Bytes are those of whole packets.
type Count struct {
	Matched      uint64 `json:"matched"`
	MatchedBytes uint64 `json:"matched_bytes"`
	// Rewritten is all on which the rule acted; of these, Dropped, Reflected and Redirected
	// did not pass.
	Rewritten      uint64 `json:"rewritten"`
	RewrittenBytes uint64 `json:"rewritten_bytes"`
	Dropped        uint64 `json:"dropped"`
	Reflected      uint64 `json:"reflected"`
	Redirected     uint64 `json:"redirected"`
	// Replies are the packets of the other direction that answer those that the rule has
	// rewritten, and were rewritten as well. They are none of Matched.
	Replies      uint64 `json:"replies"`
	RepliesBytes uint64 `json:"replies_bytes"`
}

// RuleText is a rule in the user's words.
type RuleText struct {
	Name string `json:"name,omitempty"`
	Text string `json:"text"`
}

// RuleCount is a rule and what it did.
type RuleCount struct {
	RuleText
	Count
	DryRun     bool         `json:"-"`              // it only counts
	Verdict    rule.Verdict `json:"-"`              // what becomes of the packets
	HasReplies bool         `json:"-"`              // replies are rewritten too
	Gone       bool         `json:"gone,omitempty"` // it has been replaced
	// Why is why it has not acted, where that is asked for.
	Why *Why `json:"why,omitempty"`
}

// Set sets the count to what a rule does that has acted on, or as a dry run matched, these
// packets. Its replies stay as they are counted.
func (c *RuleCount) Set(packets, bytes uint64) {
	c.Count = Count{Matched: packets, MatchedBytes: bytes, Replies: c.Replies, RepliesBytes: c.RepliesBytes}
	if c.DryRun {
		return
	}
	c.Rewritten, c.RewrittenBytes = packets, bytes
	switch c.Verdict {
	case rule.Drop:
		c.Dropped = packets
	case rule.Reflect:
		c.Reflected = packets
	case rule.ToInterface:
		c.Redirected = packets
	}
}

// Skipped is how many packets a rule matched and could not act on, and why.
type Skipped struct {
	Packets uint64 `json:"packets"`
	// Reason is the word for why, of live packets; Why says it in words.
	Reason SkipReason `json:"-"`
	Why    string     `json:"why"`
}

// Counts are what the rules of a run have done: first the rules that run, as written,
// then those that were replaced and had something to do.
type Counts struct {
	Rules   []RuleCount `json:"rules"`
	Skipped []Skipped   `json:"skipped,omitempty"`
	// Flows is how full the table of flows is, or nil where no rule tracks flows.
	Flows *FlowUsage `json:"flows,omitempty"`
}

// Total adds up all rules.
func (c Counts) Total() (all Count) {
	for _, r := range c.Rules {
		all.Matched += r.Matched
		all.MatchedBytes += r.MatchedBytes
		all.Rewritten += r.Rewritten
		all.RewrittenBytes += r.RewrittenBytes
		all.Dropped += r.Dropped
		all.Reflected += r.Reflected
		all.Redirected += r.Redirected
		all.Replies += r.Replies
		all.RepliesBytes += r.RepliesBytes
	}
	return all
}

// Verified is what a self-test at length has found.
type Verified struct {
	// Packets ran through the program, and on Acted of them a rule acted.
	Packets int `json:"packets"`
	Acted   int `json:"acted"`
	// Unreached are the rules, by number from 1, that acted on none of them.
	Unreached []int `json:"unreached,omitempty"`
	// Instructions is the length of the program as the kernel runs it.
	Instructions int `json:"instructions"`
	// Replies is what has been found of the program that rewrites replies, or nil.
	Replies *Verified `json:"replies,omitempty"`
	// Nanoseconds is what a packet takes that a rule acts on, over a program that does
	// nothing; 0 where no packet goes on matching when it is rewritten.
	Nanoseconds float64 `json:"nanoseconds,omitempty"`
}
