package hook

import "math"

// Never is the deadline, in jiffies, of rules that are confirmed.
const Never = math.MaxUint64

// Reverting is what is known of a program that goes back to the rules before unless its rules
// are confirmed.
type Reverting struct {
	// Deadline are the jiffies from which the rules before act, or Never; Now are those at which
	// the program was looked at.
	Deadline, Now uint64
	// Other are the metadata of the rules that do not act now.
	Other Meta
	// cell is the kernel's number of the map with the deadline, told of that with the word that
	// says whether somebody has been told; 0 where there is none.
	cell, told uint32
}

// Pending reports whether the rules are yet to be confirmed.
func (r *Reverting) Pending() bool { return r != nil && r.Deadline != Never && r.Now < r.Deadline }

// Over reports whether the rules before act again.
func (r *Reverting) Over() bool { return r != nil && r.Now >= r.Deadline }

// maps are the kernel's numbers of the maps of a set of rules; each may be 0.
type maps struct {
	counters uint32
	before   uint32 // the counters of the program before
	flows    uint32
	limit    word
	until    word
}

// word is a map of one word, and what it holds.
type word struct {
	id    uint32
	value uint64
}
