// Package run is the model of a run: what is asked for and where, what becomes of it,
// and what it counts. It knows neither the kernel nor the command, and builds on any
// system: the command speaks of runs in these types, and what carries rules out
// implements them.
package run

import (
	"time"

	"repacket/internal/rule"
	"repacket/internal/spelling"
)

// Target is the packets that rules are for: those of an interface in one direction.
type Target struct {
	Interface string    `json:"interface"`
	Direction Direction `json:"direction"`
}

// Flags are the flags that name the target on a command line.
func (t Target) Flags() string {
	flags := "-i " + spelling.InShell(t.Interface)
	if t.Direction == Out {
		flags += " -Q out"
	}
	return flags
}

// Options say what is to be attached, and where.
type Options struct {
	Target
	Program *rule.Program
	// Hook is where to attach; Auto chooses by what the interface is.
	Hook Hook
	// Limit is the number of packets to act on before all pass, or 0 for no limit.
	Limit uint64
	// For is how long packets are acted on before all pass, or 0 for no limit.
	For time.Duration
	// Flows is for how many flows the table is made where rules track flows; 0 is
	// DefaultFlows, or as many as that of the rules that are replaced.
	Flows int
	// Clang has clang compile the program; then neither Limit nor For is kept.
	Clang bool
	// Release is the version of Repacket that attaches the rules, or "".
	Release string
	// Broken makes the program wrong on purpose, to see that the self-test finds it.
	Broken bool
	// Record asks for the packets on which rules act, or is nil. It is for runs, without Clang.
	Record *Recording
	// Why has it counted why rules do not act, for the first why.MostRules. It is for runs,
	// without Clang.
	Why bool
	// Origin is who asks for it and by which command, or nil. It is kept with the program, with
	// the time at which that is made, unless it has one.
	Origin *Origin
	// Stay: the rules are to outlive the process.
	Stay bool
	// Replace: they are to take the place of rules that stay there, if there are any.
	Replace bool
	// RevertAfter is the time after which the interface does again what it did before, unless
	// the rules are confirmed by then; 0: they need no confirmation. Of a run that is not to
	// stay it is about rules that take the place of those it began with.
	RevertAfter time.Duration
}

// Advice is a warning, or a note, about rules and the interface that they are for.
type Advice struct {
	// Note: the run does as asked, in a way that may not be expected. Else it is a
	// warning.
	Note          bool
	Message, Hint string
}

// Prepared is a run whose target has been inspected; nothing has been attached.
type Prepared interface {
	// Target is the target, by the interface's primary name.
	Target() Target
	// Advice is what a user should know before the run begins.
	Advice() []Advice
	// Start attaches the program until the session is closed or the process dies.
	// Before it attaches anything, it calls ready and waits for it.
	Start(ready func()) (Session, error)
	// Attach attaches the program so that it outlives the process.
	Attach() (Attachment, error)
}

// Attachment is what attaching or replacing rules has led to.
type Attachment struct {
	Target
	Hook Hook
	// Note is the hook's word, a colon, and why it was chosen.
	Note string
	// Advice is what was not known before: about a hook that was taken because the
	// kernel refused the first choice, or about rules that have replaced others.
	Advice []Advice
	// Replaced: the rules took the place of others.
	Replaced bool
	// Replies is where replies are rewritten, or nil.
	Replies *RepliesAt
	// RevertAfter is when the rules go back unless they are confirmed, or 0.
	RevertAfter time.Duration
}

// RepliesAt is where the packets are rewritten that answer those of rules: in the other
// direction of the same interface, by a program of their own.
type RepliesAt struct {
	Direction Direction `json:"direction"`
	Hook      Hook      `json:"hook"`
	// Note is the hook's word, a colon, and why it was chosen, or "".
	Note string `json:"note,omitempty"`
}

// Part is one of the two programs of rules that have replies, as JSON calls it; "" is none.
type Part string

// The parts.
const (
	RulesPart   Part = "rules"
	RepliesPart Part = "replies"
)

// RepliesLonger is for how long replies are rewritten after a limit is reached: what was sent
// before is answered.
const RepliesLonger = 3 * time.Second

// Session is rules that act as long as it is open. Its methods may be called at the
// same time.
type Session interface {
	// Attachment is how the session began.
	Attachment() Attachment
	// Counts are the counts so far.
	Counts() (Counts, error)
	// Replace has other rules take the place of those that run, in one step and at the
	// same hook; after an error the old ones go on. The attachment names the target as it
	// is called by now, and says what is to be known about the new rules and was not
	// about the old ones, also beside an error.
	Replace(*rule.Program) (Attachment, error)
	// Done is closed when a limit is reached, with replies RepliesLonger after that, or when
	// the rules are gone, which Close then reports. Over is the limit, once Done is closed.
	Done() <-chan struct{}
	Over() Limit
	// Settled tells what becomes of rules that Replace has been given and that were to be confirmed.
	Settled() <-chan Settled
	// Reached tells the limit that is reached while replies are still rewritten.
	Reached() <-chan Limit
	// Close detaches the rules and returns the final counts.
	Close() (Counts, error)
	// Traffic is what is known of the packets of the interface when the session has been
	// closed. After an error nothing is known.
	Traffic() (Traffic, error)
}

// Confinable is a session that can go on without the privileges of its start.
type Confinable interface {
	// Confine closes the descriptors of programs, which only Replace needs: whoever has one can attach it
	// without any privilege. It reports whether Close still takes CAP_NET_ADMIN. No Replace may follow.
	Confine() (netAdmin bool, err error)
}

// Limit is what ends a run by itself, as JSON calls it; "" is nothing.
type Limit string

// The limits.
const (
	LimitCount Limit = "count" // the number of packets
	LimitTime  Limit = "time"
	LimitEnd   Limit = "end" // of a capture file
)

// Attached is rules that were found on an interface.
type Attached struct {
	Target
	Hook Hook `json:"hook"`
	// PID is the process with which the rules go, or 0 where they stay.
	PID int `json:"pid,omitempty"`
	// PIDElsewhere: PID is a number of another PID namespace.
	PIDElsewhere bool `json:"pid_elsewhere,omitempty"`
	// Replies is where replies are rewritten, or nil.
	Replies *RepliesAt `json:"replies,omitempty"`
	// Missing is what is not attached of rules that have replies, as where an attach was
	// interrupted.
	Missing Part `json:"missing,omitempty"`
	// Over is the limit that was reached; from then on all packets pass unchanged.
	Over Limit `json:"over,omitempty"`
	// PacketsLeft and SecondsLeft are what is left of limits that are not reached; 0
	// is no limit.
	PacketsLeft uint64  `json:"packets_left,omitempty"`
	SecondsLeft float64 `json:"seconds_left,omitempty"`
	// Revert is when the rules go back to those before, or when they have gone back; or nil.
	Revert *Revert `json:"revert,omitempty"`
	// Origin is who attached the rules that act, or nil where that was not kept; Program is what the
	// kernel says of their program, or nil where it says nothing.
	Origin  *Origin  `json:"origin,omitempty"`
	Program *Program `json:"program,omitempty"`
	Counts
	// Release is the version of Repacket that attached the rules, or "" where that is not known.
	Release string `json:"release,omitempty"`
	// ProgramID is the kernel's number of the program of the rules, and Namespace names its network
	// namespace where rules of several were asked for.
	ProgramID uint32 `json:"-"`
	Namespace string `json:"-"`
}

// Revert is what becomes of rules that are to be confirmed, or what has become of them.
type Revert struct {
	// At is when the rules before act again, or since when they do, in which case Over is true and
	// the rules that were found are those. The time stands still while the machine is suspended.
	At   time.Time `json:"at"`
	Over bool      `json:"over,omitempty"`
	// SecondsLeft is the time until then.
	SecondsLeft float64 `json:"seconds_left,omitempty"`
	// Before are the rules before, while those that were found act; none, where nothing was there.
	Before []RuleText `json:"before,omitempty"`
	// Origin is, once it is over, who attached the rules that nobody has confirmed, or nil.
	Origin *Origin `json:"origin,omitempty"`
}

// Settled is what has become of rules that were to be confirmed.
type Settled struct {
	// Confirmed: they stay. Else those before act again.
	Confirmed bool
	// Program are the rules that act now.
	Program *rule.Program
}

// Confirmed is what confirming rules has come to: they stay.
type Confirmed struct {
	// Target is by the interface's primary name.
	Target
	// Advice is what is to be known about them.
	Advice []Advice
}

// Detached is what detaching has done.
type Detached struct {
	// Target is by the interface's primary name.
	Target
	// Found: rules were there.
	Found bool
	// Replies: so was the program that rewrites their replies, in the other direction.
	Replies bool
	// Missing is as that of Attached.
	Missing Part
	// Other are rules on the same interface in the other direction that are a set of their
	// own, or nil.
	Other *Attached
	// Unsure is why it is not known whether all is gone, or nil: the rules were
	// detached, but then the interface could not be inspected again.
	Unsure error
}
