package cli

import (
	"time"

	"repacket/internal/rule"
)

// Kernel is what the commands ask of the layers that touch the kernel. Its
// errors are Failures where they mean another exit status than 1.
type Kernel interface {
	// DefaultInterface is the interface of the default route.
	DefaultInterface() (string, error)
	// Interface is the name proper of an interface that there is.
	Interface(name string) (string, error)
	// Number is the kernel's number of an interface that there is.
	Number(name string) (int, error)
	// Interfaces are the names of all interfaces.
	Interfaces() ([]string, error)
	// Look looks at where a job is to be done, which it does not begin. Its errors
	// are those that are known before.
	Look(Job) (Site, error)
	// Detach takes ours off an interface, all sets of rules where there are more than
	// one.
	Detach(iface, direction string) (Detached, error)
	// List finds the programs of ours on all interfaces.
	List() ([]Attached, error)
	// Verify proves in the kernel that a program does what its rules say.
	Verify(proofJob) (Verified, error)
	// Doctor examines the machine and an interface, or with "" all of them.
	Doctor(iface string) ([]Finding, error)
}

// Detached is what detaching has done.
type Detached struct {
	// Found: rules were there.
	Found bool
	// Unsure is why it is not known whether all is gone, or nil: the rules were taken
	// off, but then the interface could not be inspected once more.
	Unsure error
}

// Advice is a warning, or a note, about rules and the interface that they are
// for.
type Advice struct {
	Note          bool
	Message, Hint string
}

// Job is what is to be attached, and where.
type Job struct {
	Program   *rule.Program
	Interface string
	// Direction is in or out.
	Direction string
	// Hook is what --hook said: auto, xdp, xdp-generic or tc.
	Hook string
	// Limit is the number of packets that are acted on before all pass; 0 is no limit.
	Limit uint64
	// For is how long packets are acted on before all pass; 0 is no limit.
	For time.Duration
	// Clang has clang compile the program.
	Clang bool
	// Broken makes the program wrong on purpose.
	Broken bool
	// Stay: the rules are to outlive the process.
	Stay bool
	// Replace: they take the place of those that were attached, if there are any.
	Replace bool
}

// Site is where a job is to be done.
type Site interface {
	// InterfaceName is the name proper of the interface.
	InterfaceName() string
	// Advice is what a user should know before the job is done.
	Advice() []Advice
	// Start attaches the program until the session is closed or the process dies.
	// Before it attaches anything, it calls ready and waits for it.
	Start(ready func()) (Session, error)
	// Attach gives the program to the interface, where it outlives the process.
	Attach() (Attached, error)
}

// Session is a program that is attached as long as it is open.
type Session interface {
	// InterfaceName is the name that the interface has now: it may have another one
	// than when the session began.
	InterfaceName() (string, error)
	// Hook is where the program sits: xdp, xdp-generic or tc.
	Hook() string
	// Note is a line about that choice: the hook's word, a colon, the reason.
	Note() string
	// Late is what to tell about the hook if it is not the one that the site's
	// advice spoke of.
	Late() []Advice
	// Counts are the counts so far, by rule as written; behind them those of
	// rules that were replaced.
	Counts() ([]tally, error)
	// Replace puts other rules in the place of those that run, in one step and
	// at the same hook; after an error the old ones go on. Other methods may be
	// called meanwhile.
	Replace(*rule.Program) error
	// Done is closed when the limit or the time of the job is reached, Over says
	// then which: count or time.
	Done() <-chan struct{}
	Over() string
	// LeftAlone are the packets that rules took and that were left alone so far,
	// behind Close the final ones.
	LeftAlone() ([]LeftAlone, error)
	// Close detaches the program and returns the final counts.
	Close() ([]tally, error)
}

// tally is what a rule of a run did.
type tally struct {
	ruleCount
	Look bool `json:"-"`              // it only counts
	Gone bool `json:"gone,omitempty"` // it was replaced
}

// LeftAlone is how many packets were left alone, and why.
type LeftAlone struct {
	Packets uint64 `json:"packets"`
	Why     string `json:"why"`
}

// Count is what one rule did. Bytes are those of whole packets.
type Count struct {
	Matched        uint64 `json:"matched"`
	MatchedBytes   uint64 `json:"matched_bytes"`
	Rewritten      uint64 `json:"rewritten"`
	RewrittenBytes uint64 `json:"rewritten_bytes"`
}

// Attached is a program of ours on an interface, with or without a process
// that holds it there.
type Attached struct {
	Interface string   `json:"interface"`
	Direction string   `json:"direction"` // "in" or "out"
	Hook      string   `json:"hook"`      // as Session.Hook
	Note      string   `json:"note,omitempty"`
	Late      []Advice `json:"-"` // as Session.Late
	// Replaced: they have taken the place of others.
	Replaced bool `json:"-"`
	// PID is the process with which the program goes, or 0 where it belongs to
	// the interface.
	PID int `json:"pid,omitempty"`
	// PIDElsewhere: PID is a number of another PID namespace.
	PIDElsewhere bool `json:"pid_elsewhere,omitempty"`
	// Over says which limit was reached, count or time; from then on all packets
	// pass untouched.
	Over string `json:"over,omitempty"`
	// PacketsLeft and SecondsLeft are what is left of limits that are not
	// reached; 0 is no limit.
	PacketsLeft uint64      `json:"packets_left,omitempty"`
	SecondsLeft float64     `json:"seconds_left,omitempty"`
	Rules       []ruleCount `json:"rules,omitempty"`
	LeftAlone   []LeftAlone `json:"left_alone,omitempty"`
}

// hookTitles say what people call a hook.
var hookTitles = map[string]string{"xdp": "native XDP", "xdp-generic": "generic XDP", "tc": "tc"}
